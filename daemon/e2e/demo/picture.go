package main

import (
	"strings"
	"unicode/utf8"
)

// The columns that the picture's two halves are centred on.
const (
	leftColumn  = 22
	rightColumn = 48
)

// picture draws the network with its addresses: servers above the internet, homes below it.
func (d *demo) picture() string {
	var b strings.Builder
	row := func(left, right string) {
		b.WriteString(centred(centred("", left, leftColumn), right, rightColumn) + "\n")
	}
	row("warren-coord", "warren-relay")
	row(d.mesh.Coord.Addr().String(), d.mesh.Relay.Addr().String())
	row("│", "│")
	b.WriteString(internet() + "\n")
	row("│", "│")
	row(d.homeA.Addr().String(), d.homeB.Addr().String())
	row(d.homeA.Name()+" (NAT)", d.homeB.Name()+" (NAT)")
	row(d.homeA.Gateway().String(), d.homeB.Gateway().String())
	row("│", "│")
	row(d.laptop.Addr().String(), d.server.Addr().String())
	row("alice, a laptop", "bob, a server")
	return b.String()
}

// internet is the line that they all hang on.
func internet() string {
	line := []rune(strings.Repeat("─", rightColumn+12))
	for i := range 10 {
		line[i] = ' '
	}
	line[leftColumn], line[rightColumn] = '┼', '┼'
	word := []rune(" internet ")
	copy(line[(leftColumn+rightColumn-len(word))/2+1:], word)
	return string(line)
}

// centred puts text behind a line, with its middle in a column.
func centred(line, text string, column int) string {
	at := column - utf8.RuneCountInString(text)/2
	return line + strings.Repeat(" ", max(0, at-utf8.RuneCountInString(line))) + text
}
