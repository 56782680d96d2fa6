package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxProblems is how many problems of a file are told at once; who has mended these, hears of the next.
const MaxProblems = 20

// Pos is a place in a file; both count from 1, columns in characters.
type Pos struct {
	Line int `json:"line"`
	Col  int `json:"col"`
}

func (p Pos) String() string { return fmt.Sprintf("%d:%d", p.Line, p.Col) }

func (p Pos) compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Col, q.Col))
}

// Problem is one thing wrong with a file: where, and in one sentence what, and what to do.
type Problem struct {
	Pos
	Text string `json:"text"`
}

func (p Problem) String() string { return p.Pos.String() + ": " + p.Text }

// Problems are all that is wrong with a file, ordered by place; the error of Parse.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return a.compare(b.Pos)
	})
	return slices.Compact(ps)
}

// TooLarge is the problem with a file that Largest finds.
func TooLarge(machine string, prefixes int) Problem {
	return Problem{Pos{1, 1}, fmt.Sprintf(textTooLarge, machine, prefixes, MaxLargest)}
}
