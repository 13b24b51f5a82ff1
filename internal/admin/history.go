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
	Version  int64
	Versions []client.PolicyVersion
	From, To int64
	Diff     *client.PolicyDiff
	Mine     bool
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
	if err == nil {
		h.Mine = v.who.MayWrite(policy.Owner, policy.Images) && policy.Source != "configuration"
	} else if !client.IsNotFound(err) {
		return err
	}
	h.From, _ = strconv.ParseInt(v.QueryParam("from"), 10, 64) // 0 is none
	h.To, _ = strconv.ParseInt(v.QueryParam("to"), 10, 64)
	if h.From > 0 && h.To > 0 {
		diff, err := v.api.DiffPolicy(ctx, h.Policy, h.From, h.To)
		if err != nil {
			return err
		}
		h.Diff = &diff
	}
	return v.render(http.StatusOK, "history", "policy", "History of "+h.Policy, h)
}
