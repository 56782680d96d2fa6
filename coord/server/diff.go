package server

import "strings"

// Bounds of a comparison of two texts, in lines.
const (
	maxDiffed   = 3000 // on each side between what is alike at both ends; of more, all is shown as other
	diffContext = 3    // alike, around what is not
)

// The comparison is our own: what the kept libraries make is text for patch(1), which would have to be read again to be
// shown; from the bare edits that one of them gives there is as far to go as from here.

// diffLine is a line of a comparison.
type diffLine struct {
	Kind string // "gone", "new", "same", or "skip" for what is left out
	Text string
}

// diffLines compares two texts line by line.
func diffLines(old, now string) (out []diffLine) {
	a, b := strings.Split(old, "\n"), strings.Split(now, "\n")
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	for _, l := range a[:head] {
		out = append(out, diffLine{"same", l})
	}
	out = append(out, between(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for _, l := range a[len(a)-tail:] {
		out = append(out, diffLine{"same", l})
	}
	return nearChanges(out)
}

// between compares by the longest common subsequence.
func between(a, b []string) (out []diffLine) {
	if len(a) > maxDiffed || len(b) > maxDiffed {
		for _, l := range a {
			out = append(out, diffLine{"gone", l})
		}
		for _, l := range b {
			out = append(out, diffLine{"new", l})
		}
		return out
	}
	width := len(b) + 1
	best := make([]int16, (len(a)+1)*width) // of the rests
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				best[i*width+j] = best[(i+1)*width+j+1] + 1
			} else {
				best[i*width+j] = max(best[(i+1)*width+j], best[i*width+j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, diffLine{"same", a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && best[(i+1)*width+j] >= best[i*width+j+1]:
			out = append(out, diffLine{"gone", a[i]})
			i++
		default:
			out = append(out, diffLine{"new", b[j]})
			j++
		}
	}
	return out
}

// nearChanges leaves out what is alike and far from what is not.
func nearChanges(all []diffLine) (out []diffLine) {
	near := make([]bool, len(all))
	for i, l := range all {
		if l.Kind == "same" {
			continue
		}
		for k := max(0, i-diffContext); k <= min(len(all)-1, i+diffContext); k++ {
			near[k] = true
		}
	}
	for i, l := range all {
		switch {
		case near[i]:
			out = append(out, l)
		case len(out) == 0 || out[len(out)-1].Kind != "skip":
			out = append(out, diffLine{Kind: "skip"})
		}
	}
	return out
}
