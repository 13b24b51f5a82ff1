package main

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// printer writes a verdict for a person.
type printer struct {
	w     io.Writer
	color bool
}

func newPrinter(w io.Writer) printer {
	f, ok := w.(*os.File)
	color := false
	if ok && os.Getenv("NO_COLOR") == "" {
		info, err := f.Stat()
		color = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return printer{w: w, color: color}
}

func (p printer) line(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = printable(s, false)
		}
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}

func (p printer) paint(code, s string) string {
	if !p.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

var decisionWords = map[verdict.Decision]struct{ word, color string }{
	verdict.Allow:   {"ALLOW", "1;32"},
	verdict.Deny:    {"DENY", "1;31"},
	verdict.Unknown: {"UNKNOWN", "1;33"},
}

// verdict shows the decision first, then why, then what each signature proves.
func (p printer) verdict(x engine.Examination) {
	v := x.Verdict
	d := decisionWords[v.Decision]
	fmt.Fprintf(p.w, "%s  %s\n", p.paint(d.color, d.word), printable(v.Image, false))
	if v.Decision != verdict.Allow && v.Allowed {
		p.line("  (not blocked: no enforcing policy says so)")
	}
	if v.Pinned != "" {
		p.line("  %s", v.Pinned)
	}
	if v.SLSA.Builder != nil {
		p.line("  SLSA level %d, built by %s", v.SLSA.Level, *v.SLSA.Builder)
	}
	for _, r := range v.Reasons {
		p.reason("Reason", r)
	}
	for _, r := range v.Warnings {
		p.reason("Warning", r)
	}
	for _, name := range sortedNames(x.Inputs) {
		p.document(x.Inputs[name], v)
		break // one policy's view of the facts is enough for a person
	}
	p.coverage(v)
	p.attestation(v.Attestation)
	if v.RetryAfter > 0 && v.Decision == verdict.Unknown {
		p.line("\nAsk again in %d seconds.", v.RetryAfter)
	}
}

func sortedNames(m map[string]facts.Input) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func (p printer) reason(kind string, r verdict.Reason) {
	p.line("\n%s: %s", kind, r.Message)
	if r.Nearest != nil {
		p.line("  nearest   %s", r.Nearest.Why)
		if r.Nearest.Want != "" || r.Nearest.Have != "" {
			p.line("            wanted %s: %s", r.Nearest.Field, r.Nearest.Want)
			p.line("            found  %s: %s", r.Nearest.Field, r.Nearest.Have)
		}
	}
	if r.Remediation != "" {
		p.line("  to mend   %s", r.Remediation)
	}
	if r.Rule != "" {
		p.line("  rule      %s (%s)", r.Rule, r.Code)
	}
}

func (p printer) document(in facts.Input, v *verdict.Verdict) {
	if len(in.Signatures) > 0 {
		p.line("\nSignatures")
		for _, s := range in.Signatures {
			p.signature(s.Signature, s.TrustedSigners, v)
		}
	}
	if len(in.Attestations) > 0 {
		p.line("\nAttestations")
		for _, a := range in.Attestations {
			p.line("  %s", a.PredicateType)
			p.signature(a.Signature, a.TrustedSigners, v)
			p.build(a.Build)
		}
	}
	if len(in.Rejections) > 0 {
		p.line("\nRejected evidence")
		for _, r := range in.Rejections {
			p.line("  %s: %s", r.Code, r.Message)
			p.line("    found at    %s", r.Where)
		}
	}
	s := in.Search
	if v.Decision != verdict.Allow {
		state := "complete"
		if !s.Complete {
			state = "incomplete"
		}
		p.line("\nSearch %s: %d items; referrers API %s, fallback tag %s, cosign tags %s", state, s.Items, s.ReferrersAPI, s.FallbackTag, s.CosignTags)
		if len(s.Repositories) > 0 {
			p.line("  looked in     %s", strings.Join(s.Repositories, ", "))
		}
	}
}

func (p printer) signature(s facts.Signature, trusted []string, v *verdict.Verdict) {
	who := s.Signer.Subject
	if s.Signer.Kind == facts.KindKey {
		who = "key " + s.Signer.Fingerprint
	}
	mark := p.paint("33", "-")
	if len(trusted) > 0 {
		mark = p.paint("32", "+")
	}
	fmt.Fprintf(p.w, "  %s %s\n", mark, printable(who, false))
	if s.Signer.Issuer != "" {
		p.line("    issuer      %s", s.Signer.Issuer)
	}
	if len(trusted) > 0 {
		p.line("    trusted as  %s", strings.Join(trusted, ", "))
	} else {
		p.line("    trusted as  nobody: no trusted signer matches")
	}
	if s.SubjectDigest != v.Digest {
		p.line("    signed      %s", s.SubjectDigest+platformOf(s.SubjectDigest, v))
	}
	if s.SignedAt != nil {
		p.line("    signed at   %s", s.SignedAt.UTC().Format(time.RFC3339))
	} else {
		p.line("    signed at   unknown: no verified time")
	}
	for _, e := range s.Transparency {
		p.line("    log entry   %s index %d, %s", e.Log, e.Index, e.Proof)
	}
	if len(s.Transparency) == 0 {
		p.line("    log entry   none")
	}
	for _, t := range s.Timestamps {
		p.line("    timestamp   %s by %s", t.Time.UTC().Format(time.RFC3339), t.Authority)
	}
	if s.TrustRoot != "" {
		p.line("    trust root  %s", s.TrustRoot)
	}
	for _, k := range []string{"source_repository_uri", "source_repository_ref", "build_trigger", "runner_environment"} {
		if c := s.Signer.Claims[k]; c != "" {
			p.line("    %-11s %s", claimLabels[k], c)
		}
	}
	for _, k := range sortedKeys(s.Annotations) {
		p.line("    annotation  %s=%s", k, s.Annotations[k])
	}
}

var claimLabels = map[string]string{
	"source_repository_uri": "source",
	"source_repository_ref": "ref",
	"build_trigger":         "trigger",
	"runner_environment":    "runner",
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func platformOf(digest string, v *verdict.Verdict) string {
	for _, c := range v.Coverage {
		if c.Digest == digest && c.Platform != "" {
			return " (" + c.Platform + ")"
		}
	}
	return ""
}

func (p printer) coverage(v *verdict.Verdict) {
	if len(v.Coverage) < 2 {
		return
	}
	p.line("\nCovered by a signature that counts")
	for _, c := range v.Coverage {
		label, state := c.Platform, "no"
		if label == "" {
			label = "index"
		}
		if c.Signed {
			state = "yes"
		}
		p.line("  %-3s  %-16s %s", state, label, c.Digest)
		for _, r := range c.Requirements {
			state := "lacks"
			if r.Met {
				state = "meets"
			}
			p.line("         %s %s (policy %s)", state, r.Requirement, r.Policy)
		}
	}
}
