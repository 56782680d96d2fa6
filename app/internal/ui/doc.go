// Package ui draws the window with Fyne: what package view says, and nothing of its own. A person's clicks go out as
// Intents; what they lead to comes back with the next drawing. Only a plot keeps what it has drawn (view.Trace): it begins
// when a person looks, and goes back two minutes at the most.
//
// It does not import Fyne's own driver (fyne.io/fyne/v2/app): only the program does, which needs a display and cgo. So the
// window is tested in memory, and its pictures are looked at.
package ui
