package view

import (
	"regexp"
	"strings"

	"github.com/warren-mesh/warren/ipc"
)

// obstacles are the daemon's sentences on what keeps two machines from a direct path, by words that are in no other of them, and
// what they are about. What is not here is shown as the daemon says it: that is English, and may name commands.
var obstacles = []struct {
	words string
	about *regexp.Regexp // its first group; nil: nothing
	says  text
}{
	{"Let UDP out in its firewall", nil, textObstacleBlocked},
	{"has said no address", nil, textObstacleNothing},
	{"No relay is connected", nil, textObstacleRelay},
	{"neither can guess", nil, textObstacleBothHard},
	{"ports are being searched for", nil, textObstacleSearching},
	{"no port was found in", regexp.MustCompile(`in (\d+) searches`), textObstacleSearched},
	{"have the same address on the internet", regexp.MustCompile(`\(([0-9a-f.:]+)\)`), textObstacleShared},
	{"addresses answers: a firewall", nil, textObstacleSilent},
}

// obstacles says what keeps a machine from being reached directly, and what a person could change, where the daemon was asked.
func (d *drawer) obstacles(p *ipc.Peer) (all []string) {
	w := d.in.Whys[p.ID]
	switch {
	case w == nil, !here(p), p.Path.Kind == ipc.PathDirect:
		return nil
	case p.Path.Kind == ipc.PathRelay && d.udpBlocked(): // why says the same
		return nil
	}
	for _, a := range w.Advice {
		all = append(all, d.obstacle(a))
	}
	return all
}

func (d *drawer) obstacle(words string) string {
	for _, o := range obstacles {
		if !strings.Contains(words, o.words) {
			continue
		}
		about := ""
		if o.about != nil {
			if m := o.about.FindStringSubmatch(words); m != nil {
				about = m[1]
			}
		}
		return d.say(o.says, d.say(textObstacleEither), about)
	}
	return bare(words, 2*maxText)
}
