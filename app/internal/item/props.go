package item

import (
	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
)

// readable are the properties of one interface, which the panel reads. They are made anew at each question: none is kept twice.
type readable struct {
	name string
	all  func() map[string]any
}

const propsInterface = "org.freedesktop.DBus.Properties"

// Get is org.freedesktop.DBus.Properties'.
func (r readable) Get(of, name string) (dbus.Variant, *dbus.Error) {
	if v, ok := r.all()[name]; ok && of == r.name {
		return dbus.MakeVariant(v), nil
	}
	return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", []any{"there is no such property"})
}

// GetAll is org.freedesktop.DBus.Properties'.
func (r readable) GetAll(of string) (map[string]dbus.Variant, *dbus.Error) {
	all := map[string]dbus.Variant{}
	if of == r.name {
		for name, v := range r.all() {
			all[name] = dbus.MakeVariant(v)
		}
	}
	return all, nil
}

// Set is org.freedesktop.DBus.Properties'.
func (r readable) Set(string, string, dbus.Variant) *dbus.Error {
	return dbus.NewError("org.freedesktop.DBus.Error.PropertyReadOnly", []any{"this property cannot be set"})
}

// export puts an object on the bus: its methods, its properties, and a description of both.
func export(conn *dbus.Conn, path dbus.ObjectPath, methods any, r readable, signals []introspect.Signal) error {
	described := introspect.Interface{Name: r.name, Methods: introspect.Methods(methods), Signals: signals}
	for name, v := range r.all() {
		described.Properties = append(described.Properties, introspect.Property{
			Name: name, Type: dbus.SignatureOf(v).String(), Access: "read",
		})
	}
	props := introspect.Interface{Name: propsInterface, Methods: introspect.Methods(r)}
	node := introspect.NewIntrospectable(&introspect.Node{Interfaces: []introspect.Interface{introspect.IntrospectData, props, described}})
	for _, part := range []struct {
		v    any
		name string
	}{{methods, r.name}, {r, propsInterface}, {node, "org.freedesktop.DBus.Introspectable"}} {
		if err := conn.Export(part.v, path, part.name); err != nil {
			return err
		}
	}
	return nil
}
