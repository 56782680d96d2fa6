// Package store keeps what the daemon must not forget, as files in its state directory:
//
//	DIR/lock             held (flock) while a daemon, or warrend recover, uses the directory
//	DIR/state.json       State: preferences, port, logins with their keys. Its loss is the loss of the machine's identity
//	DIR/state-N.json     state.json as version N wrote it, before a newer program changed it
//	DIR/netmap-ID.json   the last netmap of login ID. Its loss costs one download
//	DIR/starts.json      starts that did not prove healthy yet, see RecordStart
//	DIR/journal          changes to the host, see package journal
//
// The directory is 0700 and the files are 0600. Every file is replaced whole: written beside, synced, renamed, and
// the directory synced. So a kill or a power cut at any point leaves the old file or the new one.
//
// What is damaged is handled by what its loss would cost. A damaged state.json is never written to: Load fails and says
// what to do, and Save refuses. A damaged netmap is set aside as netmap-ID.damaged and counts as absent.
package store
