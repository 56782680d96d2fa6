package engine

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/ipc"
)

// explain words an error of the coordination server, or of the way to it, for people.
func explain(err error) error {
	var refusal *coord.Error
	var trouble *coord.Trouble
	var said *ipc.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said):
		return err
	case errors.As(err, &refusal):
		reason, about := ipc.OfServer(refusal.Code)
		return &ipc.Error{Status: 502, Code: ipcCode(refusal.Code), Reason: reason, About: about, Message: refusal.Message}
	case errors.Is(err, context.Canceled):
		return err
	}
	e := &ipc.Error{Status: 502, Code: ipc.CodeCoord, Message: err.Error()}
	if errors.As(err, &trouble) {
		e.Reason, e.About = ipc.OfServer(trouble.Code, append([]string{trouble.Host}, trouble.About...)...)
	}
	if errors.Is(err, coord.ErrWrongServer) {
		e.Status, e.Code = 409, ipc.CodeIdentity
	}
	return e
}

// otherServer words that a server is not the one that a person was invited to. This machine has never met either.
func otherServer(err error) error {
	var trouble *coord.Trouble
	if !errors.As(err, &trouble) || trouble.Code != coord.TroubleWrongServer || len(trouble.About) != 2 {
		return explain(err)
	}
	host, shows, named := trouble.Host, trouble.About[0], trouble.About[1]
	return &ipc.Error{
		Status: 409, Code: ipc.CodeIdentity, Reason: ipc.ReasonOtherServer, About: []string{host, named, shows},
		Message: host + " is not the server that you were invited to: the invite link (or --server-key) names the identity " + named + ", and this one shows " + shows + ".",
		Fix: "Ask whoever gave you the link for a new one: the server may have been set up anew, or the link be of another. " +
			"Compare what it names with 'warren-coord invite' on the server; until they agree, log in nowhere.",
	}
}

// refused reports whether the server itself has refused, so that asking again is of no use.
func refused(err error) bool {
	var refusal *coord.Error
	return errors.As(err, &refusal) && (ipcCode(refusal.Code) != ipc.CodeCoord || refusal.Status/100 == 4)
}

// away reports whether the server cannot answer now, and may soon.
func away(err error) bool {
	var refusal *coord.Error
	return errors.Is(err, coord.ErrUnreachable) || errors.As(err, &refusal) && refusal.Status/100 == 5
}

func ipcCode(code string) string {
	switch code {
	case coord.CodeKeyUnknown, coord.CodeKeyUsed, coord.CodeKeyExpired:
		return ipc.CodeKey
	case coord.CodeLoginUnknown, coord.CodeLoginExpired, coord.CodeLoginDenied:
		return ipc.CodeLogin
	case coord.CodeExpired, coord.CodeNotRegistered:
		return ipc.CodeNeedsLogin
	default:
		return ipc.CodeCoord
	}
}

// hostError words an error of this machine (a full disk, a damaged file), whose text is a sentence already.
func hostError(err error) error {
	var said *ipc.Error
	if err == nil || errors.As(err, &said) || errors.Is(err, context.Canceled) {
		return err
	}
	return &ipc.Error{Status: 500, Code: ipc.CodeHost, Message: oneLine(err)}
}

// oneLine words errors that were joined: one behind the other, each once.
func oneLine(err error) string {
	var said []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(said, line) {
			said = append(said, line)
		}
	}
	return strings.Join(said, "; ")
}

var errPortalLong = &ipc.Error{
	Status: 400, Code: ipc.CodeBadRequest, Message: "That is too long to be open: a person who forgets it would stay open.",
	Fix: "warren exit-node portal --for 10m (30m at the most)",
}

func lockdownProblem(err error) ipc.Problem {
	return ipc.Problem{
		Code: ipc.ProblemLockdown, Level: ipc.ProblemUrgent, Text: "Lockdown is not as wished: " + oneLine(err),
		Fix: "It is tried again every few seconds. The way out, if this machine is cut off: sudo warrend recover --unlock, while warrend is stopped.",
	}
}
