package server

import (
	"context"
	"net/http"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/policy"
)

// maxPolicyBody bounds a request with a policy file, in bytes: JSON and forms make its characters longer.
const maxPolicyBody = 4*policy.MaxText + 4<<10

// PolicyText is a policy file to look at.
type PolicyText struct {
	Text string `json:"text" maxLength:"1048576" doc:"the policy file: HuJSON"`
}

// PolicyVersions is the history of the policy file.
type PolicyVersions struct {
	Versions []Policy `json:"versions" doc:"the newest first, without their texts"`
}

// IfMatch names the version that is to be replaced.
type IfMatch struct {
	Match string `header:"If-Match" maxLength:"64" doc:"the ETag of the version that was read: another's change is then not overwritten"`
}

// policyOperations are those on the access rules.
func (s *Server) policyOperations() []operation {
	on := func(id, method, path, about string, right account.Right) operation {
		return operation{id: id, method: method, path: "/policy" + path, about: about, scope: account.ScopePolicy, right: right}
	}
	long := func(o operation) operation {
		o.body = maxPolicyBody
		return o
	}
	get, post := http.MethodGet, http.MethodPost
	return []operation{
		marked(on("getPolicy", get, "", "Show the policy file in force", account.See),
			func(ctx context.Context, _ caller, _ *none) (Policy, error) { return s.Policy(ctx) }),
		marked(long(on("setPolicy", http.MethodPut, "", "Put a policy file in force, if its tests pass", account.Change)), func(ctx context.Context, by caller, in *struct {
			IfMatch
			Body PolicyText
		},
		) (Policy, error) {
			return s.setPolicy(ctx, by, in.Body.Text, in.Match, "")
		}),
		gives(long(on("checkPolicy", post, "/check", "Check a policy file and run its tests; nothing changes", account.See)),
			func(ctx context.Context, _ caller, in *struct{ Body PolicyText }) (PolicyReport, error) {
				c, err := s.checkPolicy(ctx, in.Body.Text)
				return c.PolicyReport, err
			}),
		gives(long(on("previewPolicy", post, "/preview", "Say what a policy file would change for whom; nothing changes", account.See)),
			func(ctx context.Context, _ caller, in *struct{ Body PolicyText }) (PolicyPreview, error) {
				return s.previewPolicy(ctx, in.Body.Text)
			}),
		gives(on("explainPolicy", get, "/explain", "Say whether a machine may reach another, and by which rule", account.See),
			func(ctx context.Context, _ caller, in *AccessQuestion) (Access, error) { return s.explain(ctx, in) }),
		gives(on("listPolicyVersions", get, "/versions", "List the policy files that were in force", account.See),
			func(ctx context.Context, _ caller, _ *none) (l PolicyVersions, err error) {
				l.Versions, err = s.policyVersions(ctx)
				return l, err
			}),
		marked(on("getPolicyVersion", get, "/versions/{id}", "Show a policy file that was in force", account.See),
			func(ctx context.Context, _ caller, in *IDPath) (Policy, error) { return s.policyVersion(ctx, in.ID) }),
		marked(on("restorePolicy", post, "/versions/{id}/restore", "Put a policy file in force again", account.Change), func(ctx context.Context, by caller, in *struct {
			IDPath
			IfMatch
		},
		) (Policy, error) {
			return s.restorePolicy(ctx, by, in.ID, in.Match)
		}),
	}
}
