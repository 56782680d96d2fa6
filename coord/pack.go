package coord

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// minPack is the size of a body, in bytes, from which it is worth compressing: one node, whose keys are most of it,
// gets no smaller; three do, and a thousand take a fifth.
const minPack = 1 << 10

// packMagic begins every packed body (Zstandard, RFC 8878, section 3.1.1) and no other, which begins with a brace.
var packMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

var packer = sync.OnceValue(func() *zstd.Encoder {
	e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false)) // fails only on bad options
	return e
})

var unpacker = sync.OnceValue(func() *zstd.Decoder {
	d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxLine)) // as above
	return d
})

// Pack compresses the body of a line for readers that take packed ones (QueryPacked). It gives the body itself where
// that is as short.
func Pack(body []byte) []byte {
	if len(body) < minPack {
		return body
	}
	if packed := packer().EncodeAll(body, make([]byte, 0, len(body)/4)); len(packed) < len(body) {
		return packed
	}
	return body
}

// Text is the body in JSON, unpacked if it was packed. Errors wrap ErrInvalid.
func (l *Line) Text() ([]byte, error) {
	if !bytes.HasPrefix(l.Body, packMagic) {
		return l.Body, nil
	}
	text, err := unpacker().DecodeAll(l.Body, nil)
	if err != nil {
		return nil, fmt.Errorf("%w line %d: it cannot be unpacked: %w", ErrInvalid, l.Seq, err)
	}
	return text, nil
}
