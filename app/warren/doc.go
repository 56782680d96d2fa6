// Warren is the command line of a machine's private network: it asks warrend over its socket (package ipc) and
// shows what it says.
//
//	main.go    start and end           up.go      up, login
//	root.go    the verbs together      login.go   the way through a login
//	                                   status.go  status, and its table
//	exit.go    the exit codes          watch.go   status --watch
//	text.go    all that people read    switch.go, ping.go, set.go, ip.go, down.go, version.go
//	host.go    what is seen of this host, and doctor.go  what is wrong with it
//	bugreport.go  all that in an archive, and scrub.go  what is taken out of it
//
// Exit codes and the fields of --json are stable: scripts count on them ("warren help exit-codes", "warren help
// status"). Text may change. What comes from other machines is made harmless before it is printed (package say).
package main
