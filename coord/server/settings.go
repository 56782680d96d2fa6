package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// SignUp says who may make an account without being invited. Whoever has an invitation may in any case.
type SignUp string

// The ways to sign up.
const (
	SignUpInvitation SignUp = "invitation" // nobody
	SignUpOpen       SignUp = "open"       // everybody who reaches the page
	SignUpDomains    SignUp = "domains"    // who has a verified e-mail address in one of the domains
)

var signUps = []SignUp{SignUpInvitation, SignUpOpen, SignUpDomains}

// keyLife is how long the key of a person's machine is good, unless the settings say otherwise. Tagged machines' keys
// do not expire.
const keyLife = 180 * 24 * time.Hour

// Bounds of settings.
const (
	maxKeyDays = 730
	maxDomains = 32
)

// metaSettings is the settings' name in the store's meta table.
const metaSettings = "settings"

// Settings are what owners decide for the whole network.
type Settings struct {
	SignUp  SignUp   `json:"signUp"`
	Domains []string `json:"domains,omitempty"` // for SignUpDomains: lower-case, without those below them
	// Approval: a new machine of a person waits until an admin lets it in.
	Approval bool `json:"approval"`
	// KeyDays is how many days a person's machine is good without another login, 1 to 730; 0 is forever.
	KeyDays int `json:"keyDays"`
	// SecondFactor: owners and admins must take a second step when they sign in.
	SecondFactor bool `json:"secondFactor"`
}

// DefaultSettings are those of a network in which nobody has changed any.
func DefaultSettings() Settings {
	return Settings{SignUp: SignUpInvitation, KeyDays: int(keyLife / (24 * time.Hour))}
}

// Validate says what is wrong with settings, in words for people; its errors wrap coord.ErrInvalid.
func (c *Settings) Validate() error {
	if !slices.Contains(signUps, c.SignUp) {
		return fmt.Errorf("%w way to sign up: it is %s, %s or %s", coord.ErrInvalid, SignUpInvitation, SignUpOpen, SignUpDomains)
	}
	if c.KeyDays < 0 || c.KeyDays > maxKeyDays {
		return fmt.Errorf("%w number of days: a machine's key lives 1 to %d days, or 0 for without end", coord.ErrInvalid, maxKeyDays)
	}
	if c.SignUp == SignUpDomains && len(c.Domains) == 0 {
		return fmt.Errorf("%w list of domains: name one at the least", coord.ErrInvalid)
	}
	return validDomains(c.Domains)
}

func validDomains(domains []string) error {
	if len(domains) > maxDomains {
		return fmt.Errorf("%w list of domains: %d at the most", coord.ErrInvalid, maxDomains)
	}
	for i, d := range domains {
		if !validDomain(d) {
			return fmt.Errorf("%w domain %q: write it as in example.org", coord.ErrInvalid, bounded(d, 80))
		}
		if slices.Contains(domains[:i], d) {
			return fmt.Errorf("%w list of domains: %s is in it twice", coord.ErrInvalid, d)
		}
	}
	return nil
}

// validDomain takes a lower-case host name of two labels or more (RFC 1123, section 2.1), and no address.
func validDomain(d string) bool {
	if _, err := netip.ParseAddr(d); err == nil || len(d) > 253 {
		return false
	}
	labels := strings.Split(d, ".")
	return len(labels) >= 2 && !slices.ContainsFunc(labels, func(l string) bool { return !coord.ValidName(l) })
}

// keyEnd is when a key that a person's machine gets now expires; the zero time is never.
func (c *Settings) keyEnd(now time.Time) time.Time {
	if c.KeyDays == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(c.KeyDays) * 24 * time.Hour)
}

// settingsOf reads the settings within a transaction. What an older version did not write has its default.
func settingsOf(tx store.Tx) (Settings, error) {
	c := DefaultSettings()
	text, err := tx.Meta(metaSettings)
	if errors.Is(err, store.ErrNotFound) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &c)
	}
	return c, err
}

// Settings reads the settings.
func (s *Server) Settings(ctx context.Context) (c Settings, err error) {
	err = s.store.Read(ctx, func(tx store.Tx) error {
		c, err = settingsOf(tx)
		return err
	})
	return c, err
}

// SetSettings changes settings, as the host's administrator.
func (s *Server) SetSettings(ctx context.Context, change func(*Settings)) (Settings, error) {
	return s.setSettings(ctx, operator, change)
}

// setSettings changes settings in one transaction, so that two who change different ones at once both do. change may
// run more than once. Nothing is changed where the whole would not be valid.
func (s *Server) setSettings(ctx context.Context, by caller, change func(*Settings)) (next Settings, err error) {
	err = s.store.Write(ctx, func(tx store.Tx) error {
		if err := authorizeNow(tx, by, account.Govern, false); err != nil {
			return err
		}
		if next, err = settingsOf(tx); err != nil {
			return err
		}
		was := next
		next.Domains = slices.Clone(next.Domains)
		change(&next)
		if err := next.Validate(); err != nil {
			return err
		}
		text, err := json.Marshal(&next)
		if err != nil {
			return err
		}
		if err := tx.SetMeta(metaSettings, string(text)); err != nil {
			return err
		}
		changed := next.changes(was)
		if len(changed) == 0 {
			return nil
		}
		return s.record(tx, by, actSettings, "settings", changed)
	})
	return next, err
}

// changes are the settings that differ from what was, each from and to what.
func (c *Settings) changes(was Settings) facts {
	all := facts{}
	for name, pair := range map[string][2]any{
		"signUp": {was.SignUp, c.SignUp}, "approval": {was.Approval, c.Approval}, "keyDays": {was.KeyDays, c.KeyDays}, "secondFactor": {was.SecondFactor, c.SecondFactor},
		"domains": {strings.Join(was.Domains, " "), strings.Join(c.Domains, " ")},
	} {
		if pair[0] != pair[1] {
			all[name] = facts{"from": pair[0], "to": pair[1]}
		}
	}
	return all
}

// settingsView is the page of settings.
type settingsView struct {
	Settings
	Ways       []SignUp
	DomainList string
	MaxKeyDays int
	Change     bool
	Waiting    int // machines that wait for an approval, though new ones would not
}

func (s *Server) settingsPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	c, err := s.Settings(r.Context())
	if err != nil {
		return err
	}
	return s.showSettings(w, http.StatusOK, v, c, "")
}

func (s *Server) showSettings(w http.ResponseWriter, status int, v *visit, c Settings, problem string) error {
	waiting := 0
	if !c.Approval {
		waiting = s.waiting()
	}
	return s.showConsole(w, status, "settings", "/settings", v, page{Title: textSettings, Problem: problem, Body: settingsView{
		Waiting: waiting, Settings: c, Ways: signUps, DomainList: strings.Join(c.Domains, " "), MaxKeyDays: maxKeyDays,
		Change: authorize(v.caller(), account.Govern, false) == nil,
	}})
}

func (s *Server) changeSettingsPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	f := r.PostForm
	days, err := strconv.Atoi(f.Get("days"))
	if err != nil {
		days = -1
	}
	c, err := s.setSettings(r.Context(), v.caller(), func(c *Settings) {
		c.SignUp, c.Approval, c.KeyDays = SignUp(f.Get("signup")), f.Get("approval") == "yes", days
		c.SecondFactor = f.Get("second") == "yes"
		c.Domains = splitWords(strings.ToLower(f.Get("domains")))
	})
	if errors.Is(err, coord.ErrInvalid) {
		return s.showSettings(w, http.StatusUnprocessableEntity, v, c, sentence(err))
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/settings")
}

// splitWords takes words apart that blanks or commas part.
func splitWords(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\r' || r == '\t' })
}
