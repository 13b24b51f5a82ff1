package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/verdict"
)

// mostSecond is about how many signers another verifier is asked, at most.
const mostSecond = 16

// SecondVerifier verifies the same evidence by another program, for the questions
// that the operator wants that for.
type SecondVerifier interface {
	// Wanted names the policy whose signers are asked about, for a question with this
	// context; "" for none.
	Wanted(context map[string]string) (policy string)
	// Verify says for each signer whether the other program finds its signature. An
	// error means that it could not be found out.
	Verify(ctx context.Context, q SecondQuestion) ([]SecondAnswer, error)
}

// SecondQuestion is about the evidence of one image.
type SecondQuestion struct {
	// Policy is the one that Wanted named.
	Policy  string
	Image   string
	Subject facts.Subject
	// Digests are those whose signatures speak for the image, the subject's own first.
	Digests []string
	Items   []evidence.Item
	Signers []signers.Identity
	// KeysWithoutLog says that a key's signature needs no log entry.
	KeysWithoutLog bool
	Roots          []RootFile
}

// RootFile is a trust root as other programs read it.
type RootFile struct {
	Name string
	// Body is a trusted_root.json.
	Body []byte
	// SCT, Log and Timestamp are the floor of its proofs.
	SCT, Log, Timestamp bool
}

// SecondAnswer is about one signer.
type SecondAnswer struct {
	Signer string `json:"signer"`
	// Narrow says that the signer has conditions which the program was not told.
	Narrow   bool `json:"narrow,omitempty"`
	Verified bool `json:"verified"`
	// Output is what the program said, cut short.
	Output string `json:"output,omitempty"`
}

// Second is what another verifier found, as a verdict rests on it.
type Second struct {
	// Policy is the one whose signers were asked about.
	Policy  string         `json:"policy"`
	Answers []SecondAnswer `json:"answers,omitempty"`
	// Failed is why it was not found out, "" where it was.
	Failed string `json:"failed,omitempty"`
}

// second asks the other verifier, where the question wants that. What could not be
// resolved is not asked about: it is unknown already.
func (e *Engine) second(ctx context.Context, st *State, req Request, g *gathered) *Second {
	if e.cfg.Second == nil || g.Problem != nil {
		return nil
	}
	name := e.cfg.Second.Wanted(req.Context)
	i := slices.IndexFunc(st.Policies, func(p Policy) bool { return name != "" && p.Name == name })
	if i < 0 {
		if name == "" || slices.ContainsFunc(st.Shadows, func(p Policy) bool { return p.Name == name }) {
			return nil
		}
		return &Second{Policy: name, Failed: "its policy is not in force"}
	}
	p, image := st.Policies[i], g.Subject.Name()
	if p.Mode == verdict.Disabled {
		return nil
	}
	out := &Second{Policy: name}
	identities, more := p.Signers.Identities(image, e.now(), mostSecond)
	if more {
		out.Failed = fmt.Sprintf("more than %d signers are trusted for this image; a policy with a second opinion names few", mostSecond)
		return out
	}
	if st.RootFiles == nil || len(identities) == 0 {
		return out // nobody is trusted, so there is nobody to ask about
	}
	digests := []string{g.Subject.Digest}
	for d := range g.Subject.Accepts("", req.Platform) {
		if d != g.Subject.Digest {
			digests = append(digests, d)
		}
	}
	answers, err := e.cfg.Second.Verify(ctx, SecondQuestion{
		Policy: name, Image: req.Image, Subject: g.Subject, Digests: digests, Items: g.items, Signers: identities,
		KeysWithoutLog: p.KeysWithoutLog, Roots: st.RootFiles(image),
	})
	if err != nil {
		e.cfg.Log.ErrorContext(ctx, "second opinion", "image", req.Image, "policy", name, "error", err.Error())
		out.Failed = err.Error()
		return out
	}
	out.Answers = answers
	return out
}

// secondOpinion makes a policy's part unknown where another verifier finds
// something else, or could not be asked about what would be let in.
func (j *judged) secondOpinion(p Policy, b *Basis, f facts.Facts, now time.Time) {
	if b.Second == nil || b.Second.Policy != p.Name {
		return
	}
	if b.Second.Failed != "" {
		if j.verdict.Decision == verdict.Allow {
			j.verdict.Decision = verdict.Unknown
			j.verdict.Reasons = []verdict.Reason{engineReason(ReasonSecondUnavailable,
				fmt.Sprintf("The second opinion on image %s could not be had: %s.", b.Image, strings.TrimSuffix(b.Second.Failed, ".")),
				"The operator finds the cause in the server's log; the program is named in the plugin file (cosign.path).")}
		}
		return
	}
	var differ []verdict.Reason
	for _, a := range b.Second.Answers {
		if r, ok := j.differs(p, b, f, a, now); ok {
			differ = append(differ, r)
		}
	}
	if len(differ) > 0 && j.verdict.Decision != verdict.Unknown {
		j.verdict.Decision, j.verdict.Reasons = verdict.Unknown, differ
	}
}

// differs compares what was found for one signer. Where Signet is the stricter one
// for a reason that is documented, they do not differ.
func (j *judged) differs(p Policy, b *Basis, f facts.Facts, a SecondAnswer, now time.Time) (verdict.Reason, bool) {
	accept := b.Subject.Accepts("", b.Platform)
	var matched, counts bool
	fact, principal, own := "", "", "no signature by this signer"
	for _, s := range f.Signatures() {
		if !accept[s.SubjectDigest] || !slices.Contains(p.Signers.Match(s, b.Subject.Name(), now), a.Signer) {
			continue
		}
		matched = true
		if _, withheld := j.frame.Withhold(s); !withheld && p.Counts(s, j.frame.Trust) {
			counts, fact, principal = true, s.ID, s.Principal
			own = "a signature by " + s.Principal + " (" + s.ID + ")"
		}
	}
	switch {
	case counts == a.Verified:
		return verdict.Reason{}, false
	case a.Verified && (matched || a.Narrow || stricter(f)):
		return verdict.Reason{}, false
	}
	finds := map[bool]string{true: "finds a signature by it", false: "finds none"}
	if !counts {
		own += rejected(f)
	}
	r := engineReason(ReasonVerifiersDisagree,
		fmt.Sprintf("Two verifiers disagree about trusted signer %s on image %s: Signet %s, and cosign %s.", a.Signer, b.Image, finds[counts], finds[a.Verified]),
		"Nothing is let in on one of two opinions. Find out which is right: signet facts shows what Signet verified; then report it.")
	r.Nearest = &verdict.Nearest{
		Fact: fact, Principal: principal, Signer: a.Signer, Field: "verifier", Want: own, Have: a.Output,
		Why: "want is what Signet found, have is what cosign printed",
	}
	return r, true
}

// stricter says that evidence was rejected for what Signet alone looks at, so that
// another verifier may find good what Signet does not. docs/gateway.md lists them.
func stricter(f facts.Facts) bool {
	return slices.ContainsFunc(f.Rejections(), func(r facts.Rejection) bool {
		switch r.Code {
		case facts.CodeCertificateIdentity, facts.CodeTooManyCandidateKeys, facts.CodeTooLarge, facts.CodeChainTooLong,
			facts.CodeLogEntryInvalid, facts.CodeTimestampInvalid, facts.CodeTimestampMissing, facts.CodeSignedInFuture, facts.CodeTrustRootStale, facts.CodeUnsupported:
			return true
		}
		return false
	})
}

// rejected names what was rejected, for people, cut short.
func rejected(f facts.Facts) string {
	var list []string
	for _, r := range f.Rejections() {
		if len(list) == 4 {
			list = append(list, "…")
			break
		}
		list = append(list, r.Code+": "+r.Message)
	}
	if len(list) == 0 {
		return ""
	}
	return "; rejected: " + strings.Join(list, "; ")
}
