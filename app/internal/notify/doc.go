// Package notify tells a person what happened while nobody looked at the menu: in few words, once, and with a button for what
// there is to do about it.
//
//	Status ──Next──▶ notices, and topics that are over ──▶ Notifier ──▶ org.freedesktop.Notifications
//	                                        Intent ◀── a person's button ──┘
//
// Next decides, and is a pure function. The Notifier shows one notice for each Topic: a newer one takes its place, one that
// is not true any more is taken back, and what changes back and forth is told every few seconds at the most.
package notify
