package coord

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/warren-mesh/warren/coord/key"
)

// MaxLine bounds one line of the stream, in bytes: a whole netmap of 10,000 machines is about 8 MiB.
const MaxLine = 32 << 20

// ErrForged is wrapped by errors about lines and hellos that the pinned server did not sign for this session.
var ErrForged = errors.New("not signed by the pinned coordination server")

// Stream names the one reader that a line is signed for.
type Stream struct {
	Machine key.MachinePublic
	Nonce   []byte // the session's, from its Hello
}

// Line is one line of the stream: "seq prev signature body", in decimal, decimal, base64 and JSON.
type Line struct {
	Seq  uint64 // the number of the last change in the body
	Prev uint64 // Seq of this machine's line before; 0 where the body is a whole netmap
	Body []byte // an Update
}

func (l *Line) signed(s Stream) [][]byte {
	var numbers [16]byte
	binary.BigEndian.PutUint64(numbers[:8], l.Seq)
	binary.BigEndian.PutUint64(numbers[8:], l.Prev)
	return [][]byte{s.Nonce, s.Machine[:], numbers[:], l.Body}
}

// Append appends the line, signed for s, and its line feed to dst. The body must hold no line feed.
func (l *Line) Append(dst []byte, k key.Server, s Stream) []byte {
	dst = strconv.AppendUint(dst, l.Seq, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, l.Prev, 10)
	dst = append(dst, ' ')
	dst = base64.StdEncoding.AppendEncode(dst, k.Sign(ContextLine, l.signed(s)...))
	dst = append(dst, ' ')
	dst = append(dst, l.Body...)
	return append(dst, '\n')
}

// ParseLine reads a line and verifies that the server signed it for s. Errors wrap ErrForged or ErrInvalid.
func ParseLine(line []byte, server key.ServerPublic, s Stream) (*Line, error) {
	fields := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 4)
	if len(fields) != 4 {
		return nil, fmt.Errorf("%w line: it has %d fields, not 4", ErrInvalid, len(fields))
	}
	var l Line
	var err error
	if l.Seq, err = strconv.ParseUint(string(fields[0]), 10, 64); err != nil {
		return nil, fmt.Errorf("%w line: its number is none", ErrInvalid)
	}
	if l.Prev, err = strconv.ParseUint(string(fields[1]), 10, 64); err != nil {
		return nil, fmt.Errorf("%w line: the number before is none", ErrInvalid)
	}
	sig, err := base64.StdEncoding.DecodeString(string(fields[2]))
	if err != nil {
		return nil, fmt.Errorf("%w line: its signature is no base64", ErrInvalid)
	}
	l.Body = fields[3]
	if !server.Verify(sig, ContextLine, l.signed(s)...) {
		return nil, fmt.Errorf("line %d: %w", l.Seq, ErrForged)
	}
	return &l, nil
}

// ErrGap is returned by Advance for a line that does not follow the netmap: ask again from its Seq.
var ErrGap = errors.New("a line of the netmap stream is missing")

// Advance gives the netmap after the line, validated; m (nil at first) must be valid, and is left as it is.
func (l *Line) Advance(m *Netmap) (*Netmap, error) {
	var u Update
	if err := json.Unmarshal(l.Body, &u); err != nil {
		return nil, fmt.Errorf("%w line %d: %w", ErrInvalid, l.Seq, err)
	}
	var next *Netmap
	var err error
	switch {
	case u.Full != nil && l.Prev == 0:
		next, err = u.Full, u.Full.Validate()
	case u.Full != nil || l.Prev == 0:
		return nil, fmt.Errorf("%w line %d: only a whole netmap follows nothing", ErrInvalid, l.Seq)
	case m == nil || m.Seq != l.Prev:
		return nil, ErrGap
	default:
		next = Apply(m, u.Changes)
		err = next.validateChanged(u.Changes)
	}
	if err != nil {
		return nil, err
	}
	next.Seq = l.Seq
	return next, nil
}
