package server

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/state"
)

// headerLive marks what an open page asks by itself.
const headerLive = "X-Live"

// networkView is the page with the picture of the network.
type networkView struct {
	Total, Online, Ex int
	Single            bool // each machine is drawn
	Groups            []*netGroup
	Hidden, HiddenIn  int // machines that are not in the picture, and in how many groups
	Wide, Narrow      *drawing
	Says              string // the picture, in words
}

// networkPage draws the machines that the visitor may see.
func (s *Server) networkPage(w http.ResponseWriter, _ *http.Request, v *visit) error {
	view := s.hub.view()
	var members []state.Member
	for m := range view.Members() {
		if authorize(v.caller(), account.See, m.Node.User.ID == v.user.ID) == nil {
			members = append(members, m)
		}
	}
	groups := groupsOf(s.now(), members, view.Relays)
	p := networkView{Total: len(members), Single: len(members) <= maxDrawn}
	for _, g := range groups {
		p.Online += g.Online
		p.Ex += g.Ex
	}
	homes := homesOf(groups, view.Relays)
	if !p.Single { // the largest first
		slices.SortStableFunc(groups, func(a, b *netGroup) int { return b.Total() - a.Total() })
	}
	if len(groups) > maxBoxes && !p.Single {
		for _, g := range groups[maxBoxes:] {
			p.Hidden += g.Total()
			p.HiddenIn++
		}
		groups = groups[:maxBoxes]
	}
	p.Groups = groups
	if p.Total > 0 {
		p.Wide, p.Narrow = draw(wideFrame, groups, homes, p.Single), draw(narrowFrame, groups, homes, p.Single)
		p.Says = fmt.Sprintf(textNetPicture, fmt.Sprintf(textNetOnline, p.Online, p.Total), s.network.Name)
	}
	return s.showConsole(w, http.StatusOK, "network", "/network", v, page{Title: textNetwork, Body: p, Live: true})
}
