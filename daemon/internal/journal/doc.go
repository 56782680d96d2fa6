// Package journal remembers how to undo what the daemon changes on its host, across a kill -9 and a power cut.
//
// It is a room of its own because several write to it (router, tunnel, and whoever changes the packet filter or the
// host's DNS) and none of them can undo the others' part, while a crash needs all of it undone in one order: the reverse.
//
// A change goes: Record (the undo record is on disk when it returns), then the change itself, and when it is taken back
// the undoing, then Done. So a record may stand for a change that was never made, or for one undone already: every
// undo must find either to be fine, and must touch only exactly what its record names.
//
// The file has one line for each event, appended and synced:
//
//	crc32c {"id":7,"kind":"route","data":{…},"boot":"…"}
//	crc32c {"done":[7]}
//
// A line that a crash tore is the last one, and its change was never made: it is ignored. Damage elsewhere costs that
// line only, and Recover reports it. The file is rewritten, with what is live, when it grows.
//
// The journal has no lock of its own: its owner holds the state directory's.
package journal
