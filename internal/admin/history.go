package admin

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/signet-policy/signet/client"
)

// historyPage is what a policy was.
type historyPage struct {
	Policy   string
	Versions []client.PolicyVersion
	// Removed is its removal, where it is not there any more.
	Removed *client.PolicyVersion
	// From and To are the states that are chosen to be compared; Problem says why they
	// could not be.
	From, To int64
	Diff     *client.PolicyDiff
	Problem  string
	Mine     bool
}

// Is says of an entry whether there was a policy, which can be compared.
func (h historyPage) Is(one client.PolicyVersion) bool { return one.Change != "removed" }

// Several says whether there are two to compare.
func (h historyPage) Several() bool { return h.From > 0 && h.To > 0 }

// Returns says whether an entry can be put back: it is not what is in force.
func (h historyPage) Returns(i int, one client.PolicyVersion) bool {
	return h.Mine && h.Is(one) && (i > 0 || h.Removed != nil)
}

// choose marks the two newest states, where nothing else is asked for.
func (h *historyPage) choose() {
	for _, one := range h.Versions {
		switch {
		case !h.Is(one):
		case h.To == 0:
			h.To = one.ActiveRevision
		case h.From == 0 && one.ActiveRevision != h.To:
			h.From = one.ActiveRevision
		}
	}
}

// diffLines are the lines of a unified diff.
func diffLines(text string) []diffLine {
	var out []diffLine
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		kind := ""
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
		case strings.HasPrefix(line, "+"):
			kind = "ins"
		case strings.HasPrefix(line, "-"):
			kind = "del"
		}
		out = append(out, diffLine{kind, line})
	}
	return out
}

type diffLine struct{ Kind, Text string }

// mostVersions of a policy are shown, the latest.
const mostVersions = 100

func policyHistory(v *view) error {
	ctx := v.Request().Context()
	h := historyPage{Policy: v.Param("name")}
	for version, err := range v.api.AllPolicyHistory(ctx, h.Policy) {
		if err != nil {
			return err
		}
		if h.Versions = append(h.Versions, version); len(h.Versions) == mostVersions {
			break
		}
	}
	policy, err := v.api.Policy(ctx, h.Policy)
	switch {
	case err == nil:
		h.Mine = v.who.MayWrite(policy.Owner, policy.Images) && policy.Source != "configuration"
	case !client.IsNotFound(err):
		return err
	case len(h.Versions) > 0 && !h.Is(h.Versions[0]):
		h.Removed, h.Mine = &h.Versions[0], v.who.MayPolicy()
	}
	status := http.StatusOK
	h.From, _ = strconv.ParseInt(v.QueryParam("from"), 10, 64) // 0 is none
	h.To, _ = strconv.ParseInt(v.QueryParam("to"), 10, 64)
	if h.From > 0 && h.To > 0 {
		diff, err := v.api.DiffPolicy(ctx, h.Policy, h.From, h.To)
		switch {
		case err == nil:
			h.Diff = &diff
		case anonymous(err) || mistake(err) == "":
			return err
		default:
			status, h.Problem = http.StatusUnprocessableEntity, mistake(err)
			h.From, h.To = 0, 0
		}
	}
	h.choose()
	return v.render(status, "history", "policy", "History of "+h.Policy, h)
}
