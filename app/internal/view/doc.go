// Package view decides what the tray shows: a pure function of what the daemon says (Input) to a Menu and a Window. It
// draws nothing and asks nobody, so that every state of the machine can be looked at in a table.
//
//	                                   ┌─Draw────────▶ Menu ────▶ the panel
//	ipc.Status, Prefs, Profiles ──▶ Input                │ click
//	                                   └─DrawWindow──▶ Window ──▶ Fyne
//	                        ipc.Client ◀── Intent ◀──────┘
//
// A Menu has two levels at the most: GNOME shows no third, and no menu that is taller than the screen. So the first machines
// stand in the menu itself, each with a menu of what can be done. Each Item has a key that stands for the same thing
// for as long as the program runs, so that whoever shows it changes items in place, and a click means what was under
// the pointer.
//
// The names of machines, people and networks are other people's words: they come out in one line, short, without
// characters that move, hide or turn text around. A list is cut where it would not fit on a screen.
//
// All words for people are in texts.go and the language files beside it, one table for each language.
package view
