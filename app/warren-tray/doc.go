// Command warren-tray is Warren on a person's desktop: an icon in the panel, whose menu connects and disconnects, logs in,
// switches between accounts, and shows the other machines.
//
// It runs as that person and asks the daemon through its socket, as warren does. It needs a session bus, and a panel that
// shows icons (StatusNotifierItem): KDE, Xfce, Cinnamon, LXQt, Waybar, or GNOME with the extension AppIndicator.
package main
