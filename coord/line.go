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

// Line is one line of the stream: "seq prev signature body", in decimal, decimal, base64 and JSON. A packed body
// stands behind the line: the line itself ends with "#" and the body's length, and a line feed follows the body, too.
type Line struct {
	Seq  uint64 // the number of the last change in the body
	Prev uint64 // Seq of this machine's line before; 0 where the body is a whole netmap
	Body []byte // an Update, as it is sent and signed: see Text
}

func (l *Line) signed(s Stream) [][]byte {
	var numbers [16]byte
	binary.BigEndian.PutUint64(numbers[:8], l.Seq)
	binary.BigEndian.PutUint64(numbers[8:], l.Prev)
	return [][]byte{s.Nonce, s.Machine[:], numbers[:], l.Body}
}

// Append appends the line, signed for s, and its line feed to dst. The body must hold no line feed, or be packed.
func (l *Line) Append(dst []byte, k key.Server, s Stream) []byte {
	dst = strconv.AppendUint(dst, l.Seq, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, l.Prev, 10)
	dst = append(dst, ' ')
	dst = base64.StdEncoding.AppendEncode(dst, k.Sign(ContextLine, l.signed(s)...))
	dst = append(dst, ' ')
	if bytes.HasPrefix(l.Body, packMagic) {
		dst = append(strconv.AppendInt(append(dst, '#'), int64(len(l.Body)), 10), '\n')
	}
	dst = append(dst, l.Body...)
	return append(dst, '\n')
}

// ParseLine reads a line and verifies that the server signed it for s. Errors wrap ErrForged or ErrInvalid.
func ParseLine(line []byte, server key.ServerPublic, s Stream) (*Line, error) {
	fields := bytes.SplitN(line, []byte(" "), 4)
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
	l.Body = bytes.TrimSuffix(fields[3], []byte("\n"))
	if n, packed, err := packedLength(fields[3]); err != nil {
		return nil, err
	} else if packed {
		_, l.Body, _ = bytes.Cut(fields[3], []byte("\n"))
		if len(l.Body) == n+1 && l.Body[n] == '\n' {
			l.Body = l.Body[:n]
		}
		if len(l.Body) != n || !bytes.HasPrefix(l.Body, packMagic) {
			return nil, fmt.Errorf("%w line %d: its body is not as announced", ErrInvalid, l.Seq)
		}
	}
	if !server.Verify(sig, ContextLine, l.signed(s)...) {
		return nil, fmt.Errorf("line %d: %w", l.Seq, ErrForged)
	}
	return &l, nil
}

// packedLength reads the length of the packed body, if one stands behind the line whose last field this is.
func packedLength(last []byte) (n int, packed bool, err error) {
	digits, packed := bytes.CutPrefix(last, []byte("#"))
	if !packed {
		return 0, false, nil
	}
	digits, _, _ = bytes.Cut(digits, []byte("\n"))
	if n, err = strconv.Atoi(string(digits)); err != nil || n <= 0 || n > MaxLine {
		return 0, true, fmt.Errorf("%w line: the length of its body is none, or more than %d", ErrInvalid, MaxLine)
	}
	return n, true, nil
}

// ErrGap is returned by Advance for a line that does not follow the netmap: ask again from its Seq.
var ErrGap = errors.New("a line of the netmap stream is missing")

// Advance gives the netmap after the line, validated; m (nil at first) must be valid, and is left as it is. A whole
// netmap that does not say who is Self yet (Self.ID is 0) is not: it is for the next Advance alone.
func (l *Line) Advance(m *Netmap) (*Netmap, error) {
	text, err := l.Text()
	if err != nil {
		return nil, err
	}
	var u Update
	if err := json.Unmarshal(text, &u); err != nil {
		return nil, fmt.Errorf("%w line %d: %w", ErrInvalid, l.Seq, err)
	}
	var next *Netmap
	switch {
	case u.Full != nil && l.Prev == 0:
		if next = u.Full; next.Self.ID != 0 {
			err = next.Validate()
		}
	case u.Full != nil || l.Prev == 0:
		return nil, fmt.Errorf("%w line %d: only a whole netmap follows nothing", ErrInvalid, l.Seq)
	case m == nil || m.Seq != l.Prev:
		return nil, ErrGap
	default:
		if next = Apply(m, u.Changes); m.Self.ID == 0 {
			err = next.Validate()
		} else {
			err = next.validateChanged(u.Changes)
		}
	}
	if err != nil {
		return nil, err
	}
	next.Seq = l.Seq
	return next, nil
}
