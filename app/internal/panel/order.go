package panel

import (
	"context"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Turns asks the icon on a bus for the properties of its menu, many times at once, as libdbusmenu does for each list, and gives the
// numbers of the questions in the order in which they were answered.
func Turns(ctx context.Context, address string, questions int) ([]int, error) {
	serials := make(chan uint32, questions) // of the questions answered
	conn, err := dbus.Connect(address, dbus.WithContext(ctx), dbus.WithIncomingInterceptor(func(m *dbus.Message) {
		if of, ok := m.Headers[dbus.FieldReplySerial].Value().(uint32); ok && m.Type == dbus.TypeMethodReply {
			select {
			case serials <- of:
			default:
			}
		}
	}))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	var names []string
	if err := conn.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
		return nil, err
	}
	item := ""
	for _, name := range names {
		if strings.HasPrefix(name, itemInterface+"-") {
			item = name
		}
	}
	for len(serials) > 0 {
		<-serials
	}
	menu, calls := conn.Object(item, "/StatusNotifierItem/menu"), make(chan *dbus.Call, questions)
	for range questions {
		menu.GoWithContext(ctx, menuInterface+".GetGroupProperties", 0, calls, []int32{0}, []string{})
	}
	for range questions {
		if call := <-calls; call.Err != nil {
			return nil, fmt.Errorf("the menu's properties: %w", call.Err)
		}
	}
	var turns []int
	for range questions {
		turns = append(turns, int(<-serials))
	}
	return turns, nil
}
