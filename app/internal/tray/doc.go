// Package tray is the tray itself, between the daemon and the desktop: it follows the daemon's status, shows the menu
// that package view makes of it, and passes on what a person asks for.
//
//	warrend ──Watch──▶ follow ─┐                        ┌─▶ item (the panel)
//	                           ├─▶ loop: view.Draw ─────┤
//	orders, logins ── ends ────┘      ▲                 └─▶ desktop (notifications, browser, clipboard)
//	                                  └── clicks
//
// One goroutine, the loop, owns all that is shown. It has no clock: nothing happens where nothing changes. Orders go
// to the daemon one at a time, in a goroutine of their own, and so does a login, which may wait for a person for minutes.
// While the window shows what changes by the second, follow asks for the daemon's live watch instead (ipc.Client.WatchLive).
package tray
