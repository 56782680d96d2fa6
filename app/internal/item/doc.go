// Package item is the program's icon in the desktop's panel, with its menu, over D-Bus: the StatusNotifierItem that
// KDE, Xfce, Cinnamon, LXQt, Waybar and GNOME's AppIndicator extension show, and the com.canonical.dbusmenu behind it.
// It needs neither a display nor cgo.
//
//	view.Menu ──Show──▶ Item ──properties, signals──▶ the panel
//	                      └──◀── Event(id, "clicked") ── a person
//
// It speaks the two protocols itself, because what matters to a person is how a menu changes: an item of the view keeps
// its number as long as it is there, whatever comes and goes around it; a changed label is told as a changed label
// (ItemsPropertiesUpdated), so that an open menu stays open, and only where lines come, go or move is the list told
// anew (LayoutUpdated), for that list alone. A menu that did not change costs nothing. No number is used twice: a click
// on a line that has just gone does nothing.
package item
