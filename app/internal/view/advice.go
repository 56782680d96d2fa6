package view

import "github.com/warren-mesh/warren/ipc"

// advices are the words for the daemon's advice, by its codes, without its commands.
var advices = map[string]text{
	ipc.AdviceUDP: textAdviceBlocked, ipc.AdvicePortal: textAdvicePortal, ipc.AdvicePortalPage: textAdvicePortal,
	ipc.AdviceNoInternet: textAdviceOffline, ipc.AdviceMapping: textAdviceMapping, ipc.AdviceMTU: textAdviceMTU, ipc.AdviceMTUDirect: textAdviceSmall,

	ipc.AdviceUDPBlocked: textObstacleBlocked, ipc.AdviceNoAddress: textObstacleNothing, ipc.AdviceNoRelay: textObstacleRelay,
	ipc.AdviceBothHard: textObstacleBothHard, ipc.AdviceSearching: textObstacleSearching, ipc.AdviceSearched: textObstacleSearched,
	ipc.AdviceSameAddress: textObstacleShared, ipc.AdviceSilent: textObstacleSilent,
	ipc.AdviceNoAnswer: textObstacleAway, ipc.AdviceNeverAnswered: textObstacleNever,
}

// advise says what a person could change. What a later daemon has a code for that is not known here, and all of one from before there
// were codes, it says in English.
func (d *drawer) advise(all []ipc.Advice, sentences []string) (said []string) {
	for _, a := range all {
		t, known := advices[a.Code]
		if !known || len(a.About) != ipc.Advices[a.Code] {
			said = append(said, bare(a.Text, 2*maxText))
			continue
		}
		with := []string{d.say(textObstacleEither)}
		for _, about := range a.About {
			with = append(with, bare(about, maxShort))
		}
		said = append(said, d.say(t, with...))
	}
	if len(all) > 0 {
		return said
	}
	for _, s := range sentences {
		said = append(said, bare(s, 2*maxText))
	}
	return said
}

// obstacles says what keeps a machine from being reached directly, and what a person could change, where the daemon was asked.
func (d *drawer) obstacles(p *ipc.Peer) []string {
	w := d.in.Whys[p.ID]
	switch {
	case w == nil, !here(p), p.Path.Kind == ipc.PathDirect:
		return nil
	case p.Path.Kind == ipc.PathRelay && d.udpBlocked(): // why says the same
		return nil
	}
	return d.advise(w.Advised, w.Advice)
}
