package server

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// webhookRow is a webhook as the console shows it.
type webhookRow struct {
	WebhookInfo
	SentAgo, TriedAgo, NextIn string
}

type webhookPage struct {
	Rows   []webhookRow
	Groups []auditGroup
	Chosen map[string]bool
	Done   string // good news
}

func (s *Server) webhooksPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.showWebhooks(w, r, http.StatusOK, v, "", "")
}

func (s *Server) showWebhooks(w http.ResponseWriter, r *http.Request, status int, v *visit, done, problem string) error {
	all, err := s.webhooks(r.Context())
	if err != nil {
		return err
	}
	p := webhookPage{Groups: auditGroups(), Chosen: map[string]bool{}, Done: done}
	for _, name := range r.PostForm["event"] {
		p.Chosen[name] = true
	}
	now := s.now()
	for _, i := range all {
		row := webhookRow{WebhookInfo: i, SentAgo: ago(now, i.Sent), TriedAgo: ago(now, i.Tried)}
		if i.Problem != "" {
			row.NextIn = max(i.Next.Sub(now), 0).Round(time.Second).String()
		}
		p.Rows = append(p.Rows, row)
	}
	return s.showConsole(w, status, "webhooks", "/webhooks", v, page{
		Title: textWebhooks, Problem: problem, Typed: cleanText(r.PostForm.Get("url"), maxHookURL), Body: p,
	})
}

func (s *Server) addWebhookPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	n, err := s.addWebhook(r.Context(), v.caller(), WebhookRequest{URL: r.PostForm.Get("url"), Events: r.PostForm["event"]})
	var e *coord.Error
	switch {
	case errors.Is(err, coord.ErrInvalid):
		return s.showWebhooks(w, r, http.StatusUnprocessableEntity, v, "", sentence(err))
	case errors.Is(err, errManyWebhooks) && errors.As(err, &e):
		return s.showWebhooks(w, r, e.Status, v, "", e.Message+".")
	case err != nil:
		return err
	}
	return s.showConsole(w, http.StatusOK, "secret", "/webhooks", v, page{Title: textHookReady, Body: secretShown{
		Title: textHookReady, What: textHookReadyWhat, Secret: n.Secret, Back: "/webhooks", BackName: textWebhooks,
	}})
}

func (s *Server) removeWebhookPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	err := s.removeWebhook(r.Context(), v.caller(), pathNumber(r))
	if err != nil && !errors.Is(err, errNoWebhook) { // it is gone: as wished
		return err
	}
	return redirect(w, r, "/webhooks")
}

func (s *Server) testWebhookPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	t, err := s.testWebhook(r.Context(), v.caller(), pathNumber(r))
	switch {
	case err != nil:
		return err
	case t.OK:
		return s.showWebhooks(w, r, http.StatusOK, v, fmt.Sprintf(textHookTested, t.Status), "")
	}
	return s.showWebhooks(w, r, http.StatusOK, v, "", fmt.Sprintf(textHookFailed, t.Problem))
}
