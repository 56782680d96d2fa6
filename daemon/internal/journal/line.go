package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
)

// castagnoli is the polynomial that CPUs compute (RFC 3720, section 12.1).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const crcLen = 8

// line is one line's JSON: an Entry, or done.
type line struct {
	Entry
	Done []ID `json:"done,omitempty"`
}

func appendLine(dst []byte, l line) ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return dst, err
	}
	dst = fmt.Appendf(dst, "%08x ", crc32.Checksum(text, castagnoli))
	dst = append(dst, text...)
	return append(dst, '\n'), nil
}

func parseLine(text []byte) (l line, ok bool) {
	if len(text) < crcLen+1 || text[crcLen] != ' ' {
		return l, false
	}
	sum, err := strconv.ParseUint(string(text[:crcLen]), 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum(text[crcLen+1:], castagnoli) {
		return l, false
	}
	if json.Unmarshal(text[crcLen+1:], &l) != nil {
		return l, false
	}
	return l, (l.ID > 0 && l.Kind != "") != (len(l.Done) > 0)
}

// replay gives what is live in the file's text, in the order of recording; the highest ID; how many lines are damaged; and
// the length of the text up to its last whole line. What follows that is torn.
func replay(text []byte) (live []Entry, last ID, damaged, whole int) {
	whole = bytes.LastIndexByte(text, '\n') + 1
	seen := make(map[ID]bool)
	for row := range bytes.Lines(text[:whole]) {
		l, ok := parseLine(bytes.TrimSuffix(row, []byte("\n")))
		switch {
		case !ok:
			damaged++
		case len(l.Done) > 0:
			live = slices.DeleteFunc(live, func(e Entry) bool { return slices.Contains(l.Done, e.ID) })
		case !seen[l.ID]:
			seen[l.ID] = true
			live = append(live, l.Entry)
			last = max(last, l.ID)
		}
	}
	return live, last, damaged, whole
}
