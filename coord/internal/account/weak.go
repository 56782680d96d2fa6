package account

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// common are passwords that everybody who guesses tries first; its head says whose list it is.
//
//go:embed common.txt
var commonText string

var common = sync.OnceValue(func() map[string]bool {
	words := map[string]bool{}
	for line := range strings.Lines(commonText) {
		if !strings.HasPrefix(line, "#!comment") {
			words[strings.TrimSpace(line)] = true
		}
	}
	return words
})

// Rows of keyboards, and the alphabet, as fingers run along them.
var runs = []string{
	"qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn", "abcdefghijklmnopqrstuvwxyz", "12345678901234567890",
	"1qaz2wsx3edc4rfv5tgb6yhn7ujm", "1q2w3e4r5t6y7u8i9o0p",
}

// unleet takes digits and signs for the letters that they are written for.
var unleet = strings.NewReplacer("0", "o", "1", "i", "!", "i", "3", "e", "4", "a", "@", "a", "5", "s", "$", "s", "7", "t")

// weak says why a password would be guessed early; empty: it would not. names are words that a guesser knows: the
// account's, the network's. It never says more than the kind: what it compares with is no secret, the password is.
func weak(password string, names ...string) string {
	forms := formsOf(password)
	for _, f := range forms {
		if common()[f] || common()[unit(f)] {
			return "it is one of those that are guessed first, or nearly"
		}
	}
	lower := forms[0]
	letters := map[rune]bool{}
	for _, r := range lower {
		letters[r] = true
	}
	if len(letters) < 4 || utf8.RuneCountInString(unit(lower)) <= 4 {
		return "it is the same few characters over and over"
	}
	for _, run := range runs {
		for _, r := range []string{run, reverse(run)} {
			if slices.ContainsFunc(forms, func(f string) bool { return len(f) >= 5 && strings.Contains(r+r, f) }) {
				return "it is a run of neighbours"
			}
		}
	}
	for _, n := range append(names, "warren") {
		n = onlyLetters(strings.ToLower(n))
		if len(n) < 3 {
			continue
		}
		for _, f := range forms {
			f = onlyLetters(f)
			if strings.Contains(f, n) || strings.Contains(f, reverse(n)) {
				if rest := strings.ReplaceAll(strings.ReplaceAll(f, n, ""), reverse(n), ""); len(rest) < 4 {
					return "it is little more than a name"
				}
			}
		}
	}
	return ""
}

// formsOf are the ways to read a password that guessers know: as it is (in lower case), without what stands before and
// behind its letters, without what stands between them, and each with letters for the digits that look like them.
func formsOf(password string) []string {
	lower := strings.ToLower(password)
	notLetter := func(r rune) bool { return !unicode.IsLetter(r) }
	forms := []string{lower}
	for _, f := range []string{lower, unleet.Replace(lower), unleet.Replace(strings.TrimRightFunc(lower, notLetter))} {
		forms = append(forms, f, strings.TrimFunc(f, notLetter), onlyLetters(f))
	}
	return slices.DeleteFunc(forms, func(f string) bool { return f == "" })
}

func onlyLetters(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) {
			return r
		}
		return -1
	}, text)
}

// unit is the shortest text that, written again and again, makes the whole; its end may be cut off.
func unit(text string) string {
	for n := 1; n <= len(text)/2; n++ {
		if strings.HasPrefix(text, text[n:]) {
			return text[:n]
		}
	}
	return text
}

func reverse(text string) string {
	runes := []rune(text)
	slices.Reverse(runes)
	return string(runes)
}

// CheckNew refuses a login or a password that no account should have. names are what else a guesser knows, such as the
// network's name. Its errors wrap ErrPassword.
func CheckNew(login, password string, names ...string) error {
	if err := CheckLogin(login); err != nil {
		return err
	}
	switch n := utf8.RuneCountInString(password); {
	case n < MinPassword:
		return fmt.Errorf("password %w: it needs %d characters at the least", ErrPassword, MinPassword)
	case len(password) > MaxPassword:
		return fmt.Errorf("password %w: it may have %d bytes at the most", ErrPassword, MaxPassword)
	}
	local, _, _ := strings.Cut(login, "@")
	if why := weak(password, append(names, login, local)...); why != "" {
		return fmt.Errorf("password %w: %s; a few unrelated words are good", ErrPassword, why)
	}
	return nil
}
