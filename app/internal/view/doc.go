// Package view decides what the tray shows: a pure function of what the daemon says (Input) to a Menu. It draws nothing
// and asks nobody, so that every state of the machine can be looked at in a table.
//
//	ipc.Status, Prefs, Profiles ──▶ Input ──Draw──▶ Menu ──▶ the panel
//	                                                  │ click
//	                        ipc.Client ◀── Intent ◀───┘
//
// A Menu has two levels at the most: some desktops show no third. Each Item has a key that stands for the same thing
// for as long as the program runs, so that whoever shows it changes items in place, and a click means what was under
// the pointer.
//
// The names of machines, people and networks are other people's words: they come out in one line, short, without
// characters that move, hide or turn text around. A list is cut where it would not fit on a screen.
//
// All words for people are in texts.go and the language files beside it, one table for each language.
package view
