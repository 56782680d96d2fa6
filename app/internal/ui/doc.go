// Package ui draws the window with Fyne: what package view says, and nothing of its own. A person's clicks go out as
// Intents; what they lead to comes back with the next drawing.
//
// It does not import Fyne's own driver (fyne.io/fyne/v2/app): only the program does, which needs a display and cgo. So the
// window is tested in memory, and its pictures are looked at.
package ui
