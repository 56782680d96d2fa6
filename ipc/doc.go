// Package ipc is the vocabulary between warrend and the programs of the people on its machine (warren, warren-tray):
// what they can ask (Ops), who may ask it (Level), what they see (Status), the Client and the Handler.
//
// It is HTTP/1.1 with JSON bodies over the Unix socket at DefaultSocket, and never over TCP:
//
//	GET   /v1/status          read     Status
//	GET   /v1/watch           read     one Status now and one after every change, a line each
//	GET   /v1/watch/live      read     the same, and one each second: what is measured all the time is no change
//	GET   /v1/prefs           read     Prefs
//	GET   /v1/profiles        read     Profiles
//	POST  /v1/ping            read     PingRequest    -> PingReply
//	POST  /v1/why             read     WhyRequest     -> Why
//	PATCH /v1/prefs           operate  PrefsEdit      -> Prefs
//	POST  /v1/up              operate  UpRequest      -> UpReply
//	POST  /v1/down            operate
//	POST  /v1/portal          operate  PortalRequest  -> PortalReply
//	POST  /v1/switch          operate  SwitchRequest  -> UpReply
//	POST  /v1/login/wait      operate  LoginWait      -> UpReply
//	POST  /v1/login/finish    operate  LoginFinish    -> UpReply
//	POST  /v1/logout          operate
//
// A field may ask for more than its operation: a PrefsEdit with Port, with what concerns routes, Relay, Lockdown or ShieldsUp, also inside
// UpRequest, is admin. Bodies are
// application/json, "{}" where nothing is to be said; a field that the daemon does not know is refused, not ignored.
//
// Who asks is told by the kernel (SO_PEERCRED and SO_PEERGROUPS), never by the request: root is admin, members of the group
// "warren" operate, every local user reads. Whom that does not let pass, an Authority (polkit) may: the person who sits at
// this machine, or who knows an administrator's password. It may show a dialog for that only to a request with the header
// Warren-Ask (Client.Asking).
//
// Requests with an Origin or
// a Referer, or another Host than "warrend", come from a web page and are refused. One user may have 16 connections.
//
// An error answers with its HTTP status and {"error":{"code":"…","reason":"…","about":["…"],"message":"…","fix":"…"}}: Error.
// Message and Fix are English; a program that speaks another language has words of its own for Reason and About.
//
// The JSON of Status is stable: fields are added, never renamed or removed.
package ipc
