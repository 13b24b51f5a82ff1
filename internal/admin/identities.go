package admin

import (
	"context"
	"regexp"
	"strings"

	"github.com/signet-policy/signet/client"
)

// seen tells what an identity would match among those of recent verdicts.
type seen struct {
	// Pattern is as it is compared: anchored at both ends.
	Pattern         string
	Matches, Others []seenIdentity
	Verdicts        int
	Problem         string
}

type seenIdentity struct {
	Issuer, Subject string
	Count           int
}

// recentVerdicts is how many are looked at, and mostSeen how many identities are
// shown of each kind.
const (
	recentVerdicts = 1000
	mostSeen       = 6
)

// identities counts who signed what was asked for lately.
func (v *view) identities(ctx context.Context) ([]seenIdentity, int, error) {
	page, err := v.api.Verdicts(ctx, client.VerdictFilter{Limit: recentVerdicts})
	if err != nil {
		return nil, 0, err
	}
	var out []seenIdentity
	at := map[seenIdentity]int{}
	for _, r := range page.Items {
		key := seenIdentity{Issuer: r.SignerIssuer, Subject: strings.TrimPrefix(r.SignerIdentity, r.SignerIssuer+" ")}
		if r.SignerIssuer == "" || key.Subject == "" {
			continue
		}
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, key)
		}
		out[i].Count++
	}
	return out, len(page.Items), nil
}

func (v *view) seen(ctx context.Context, s client.Signer) (seen, error) {
	all, n, err := v.identities(ctx)
	if err != nil {
		return seen{}, err
	}
	out := seen{Verdicts: n}
	match := func(subject string) bool { return subject == s.Subject }
	if s.SubjectRegex != "" {
		if _, err := regexp.Compile(s.SubjectRegex); err != nil { // alone first, so that a)|(b is none
			out.Problem = "That is no RE2 pattern: " + strings.TrimPrefix(err.Error(), "error parsing regexp: ") + "."
			return out, nil
		}
		out.Pattern = `\A(?:` + s.SubjectRegex + `)\z`
		re, err := regexp.Compile(out.Pattern)
		if err != nil {
			out.Problem = "That is no RE2 pattern."
			return out, nil //nolint:nilerr // it is told in the page
		}
		match = re.MatchString
	}
	for _, i := range all {
		to := &out.Others
		if i.Issuer == s.Issuer && match(i.Subject) {
			to = &out.Matches
		}
		if len(*to) < mostSeen {
			*to = append(*to, i)
		}
	}
	return out, nil
}
