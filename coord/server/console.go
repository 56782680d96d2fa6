package server

import (
	"net/http"
	"strings"
	"unicode"

	"github.com/warren-mesh/warren/coord/internal/account"
)

// The console: what people see and do with an account. Every page is complete without scripts; every change is a form
// of its own that leads back to a page.

// navItem is a link to a part of the console.
type navItem struct {
	Name, Path string
	Here       bool
}

// confirmation asks before something that cannot be undone.
type confirmation struct {
	Ask, What, Action, Button, Back string
	Plain                           bool // it takes nothing away
}

// showConsole writes a page of the console, with the links to those that the visitor may see.
func (s *Server) showConsole(w http.ResponseWriter, status int, name, part string, v *visit, p page) error {
	for _, it := range []struct {
		name, path string
		right      account.Right
		own        bool // everybody has some
	}{
		{textMachines, "/", account.See, true},
		{textNetwork, "/network", account.See, true},
		{textPeople, "/users", account.See, false},
		{textKeys, "/keys", account.See, true},
		{textRelays, "/relays", account.See, false},
		{textRules, "/policy", account.See, false},
		{textDNS, "/dns", account.See, false},
		{textSettings, "/settings", account.See, false},
		{textAudit, "/audit", account.See, false},
		{textWebhooks, "/webhooks", account.Govern, false},
	} {
		if authorize(v.caller(), it.right, it.own) == nil {
			p.Nav = append(p.Nav, navItem{Name: it.name, Path: it.path, Here: it.path == part})
		}
	}
	return s.show(w, status, name, v, p)
}

func (s *Server) confirm(w http.ResponseWriter, part string, v *visit, c confirmation) error {
	return s.showConsole(w, http.StatusOK, "confirm", part, v, page{Title: c.Ask, Body: c})
}

// cleanText keeps of what somebody typed what can be shown back: printable, and not too long.
func cleanText(text string, bytes int) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(bounded(text, bytes), ""))
}
