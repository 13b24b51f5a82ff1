package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/verdict"
)

// sumUp fills in the parts of a verdict that repeat the facts for a reader:
// the signature that counted (or the first that verified), and the log.
func sumUp(v *verdict.Verdict, st *State, b *Basis, f facts.Facts, counting map[string]bool, base facts.Frame) {
	sigs := f.Signatures()
	var best *facts.Signature
	for i := range sigs {
		if _, withheld := base.Withhold(sigs[i]); withheld {
			continue
		}
		if best == nil || (counting[facts.FactKey(sigs[i])] && !counting[facts.FactKey(*best)]) {
			best = &sigs[i]
		}
	}
	v.Signature.Found = len(sigs) > 0 || rejectedSignature(b, f)
	if best != nil {
		v.Signature.Valid = true
		v.Signature.Signer, v.Signature.Issuer, v.Signature.SignedAt = best.Signer.Subject, best.Signer.Issuer, best.SignedAt
		if best.Signer.Kind == facts.KindKey {
			v.Signature.Signer = best.Signer.Fingerprint
		}
	}
	v.TransparencyLog = logInfo(best, st)
}

// rejectedSignature says whether there was evidence that wanted to be a signature.
func rejectedSignature(b *Basis, f facts.Facts) bool {
	if b.OldSignature {
		return true
	}
	for _, r := range f.Rejections() {
		if r.Code != facts.CodeNoSignature {
			return true
		}
	}
	return false
}

func logInfo(s *facts.Signature, st *State) verdict.LogInfo {
	switch {
	case s == nil:
		return verdict.LogInfo{Reason: "no verified signature"}
	case len(s.Transparency) > 0:
		return verdict.LogInfo{Verified: true}
	}
	for _, r := range st.Roots {
		if r.Name == s.TrustRoot && !r.HasLog {
			return verdict.LogInfo{Reason: fmt.Sprintf("trust root %s has no transparency log", r.Name)}
		}
	}
	if s.TrustRoot == "" && len(st.Roots) > 0 && !slices.ContainsFunc(st.Roots, func(r Root) bool { return r.HasLog }) { // a key's
		return verdict.LogInfo{Reason: "no trust root in use has a transparency log"}
	}
	return verdict.LogInfo{Reason: "the signature has no entry of a log that we know"}
}

// coverage lists the subject and its platforms; a signature that counts on the
// index speaks for each of them, unless a policy asks for them apart.
func coverage(s facts.Subject, sigs []facts.Signature, counting map[string]bool, apart bool, required map[string][]verdict.Requirement) []verdict.Coverage {
	if s.Digest == "" {
		return []verdict.Coverage{}
	}
	signed := signedDigests(sigs, counting)
	out := []verdict.Coverage{{Digest: s.Digest, Signed: signed[s.Digest]}}
	for _, p := range s.Platforms {
		out = append(out, verdict.Coverage{Digest: p.Digest, Platform: p.String(), Signed: signed[p.Digest] || !apart && signed[s.Digest]})
	}
	for i, o := range out {
		out[i].Requirements = required[o.Digest]
	}
	return out
}

func signedDigests(sigs []facts.Signature, counting map[string]bool) map[string]bool {
	signed := map[string]bool{}
	for _, s := range sigs {
		if counting[facts.FactKey(s)] {
			signed[s.SubjectDigest] = true
		}
	}
	return signed
}

// onlySigned says that the platform that was asked for is signed by itself, and the
// index is not, or a policy has judged the platform alone: pinning the index would let
// other platforms in.
func onlySigned(s facts.Subject, platform string, sigs []facts.Signature, counting map[string]bool, alone bool) bool {
	signed := signedDigests(sigs, counting)
	return signed[s.PlatformDigest(platform)] && (alone || !signed[s.Digest])
}

// explain adds to a denial what came nearest, and the command that mends it.
func explain(reasons []verdict.Reason, p Policy, in facts.Input, now time.Time) {
	var sigs []facts.Signature
	for _, s := range in.Signatures {
		sigs = append(sigs, s.Signature)
	}
	for i := range reasons {
		switch reasons[i].Code {
		case "no_trusted_signer", "signer_not_trusted", "threshold_not_met", "group_not_met":
		default:
			continue
		}
		if near, ok := p.Signers.Nearest(sigs, in.Subject.Name(), now); ok && reasons[i].Nearest == nil {
			reasons[i].Nearest = &verdict.Nearest{
				Fact: near.Fact, Principal: near.Principal, Signer: near.Signer,
				Field: near.Field, Want: near.Want, Have: near.Have, Why: near.Why,
			}
		}
		if reasons[i].Code == "group_not_met" { // who is to sign is in the policy already
			if gone := notInForce(p, in, now); len(gone) > 0 {
				reasons[i].Remediation += fmt.Sprintf(" (Not in force for this image now: %s.)", strings.Join(gone, ", "))
			}
			continue
		}
		if cmd := trustCommand(p, sigs, in.Request.Image); cmd != "" {
			reasons[i].Remediation = "If you trust this signer: " + cmd
		}
	}
}

// notInForce are the signers of groups that are not met who could not sign at all:
// not registered, disabled, out of their time, or of other images.
func notInForce(p Policy, in facts.Input, now time.Time) []string {
	var gone []string
	for _, g := range p.Groups {
		short := func(m facts.Match) bool {
			return m.Requirement == signers.GroupRequirement(g.Name) && m.Count < g.Threshold
		}
		if len(in.Matches) > 0 && !slices.ContainsFunc(in.Matches, short) {
			continue
		}
		for _, name := range g.Signers {
			if !p.Signers.Trusts(name, in.Subject.Name(), now) && !slices.Contains(gone, name) {
				gone = append(gone, name)
			}
		}
	}
	return gone
}

// trustCommand is the command that would trust the first keyless identity among
// sigs, quoted for a shell: identities come from strangers. It is "" when no
// identity was seen.
func trustCommand(p Policy, sigs []facts.Signature, image string) string {
	for _, s := range sigs {
		if s.Signer.Kind != facts.KindCertificate {
			continue
		}
		identity := "--issuer " + shellQuote(s.Signer.Issuer) + " --subject " + shellQuote(s.Signer.Subject)
		if p.Registered {
			return "signet signers add " + identity
		}
		return fmt.Sprintf("signet verify %s %s; in a policy: - {type: keyless, issuer: %q, subject: %q}",
			identity, shellQuote(image), s.Signer.Issuer, s.Signer.Subject)
	}
	return ""
}

// shellQuote makes one word of s for a POSIX shell. Characters that do not print
// have no business in an identity; they are shown as \u and break nothing.
func shellQuote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		switch {
		case r == '\'':
			b.WriteString(`'\''`)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// problemReason puts a failure to resolve into words.
func problemReason(p *evidence.Problem, image string) verdict.Reason {
	say := func(message, remediation string) verdict.Reason { return engineReason(p.Code, message, remediation) }
	what := p.Error()
	if p.Where == image { // it is in the sentence already
		what = p.Message
	}
	switch p.Code {
	case evidence.CodeImageNotFound:
		return say(fmt.Sprintf("Image %s was not found in its registry.", image),
			"Check the name and tag; a private image may also look absent without credentials.")
	case evidence.CodeUnauthorized:
		return say(fmt.Sprintf("The registry refused us access to image %s: %s.", image, p.Message),
			"Give Signet credentials for this registry (docker config, or registries in the configuration).")
	case evidence.CodeRateLimited:
		return say(fmt.Sprintf("The registry asks us to slow down: %s.", p.Message), "Ask again later; credentials often raise the limit.")
	case evidence.CodeAddressRefused, evidence.CodeNotAllowed, evidence.CodeRedirectRefused:
		return say(fmt.Sprintf("Image %s was not asked for: %s.", image, what),
			"An operator can allow this registry in the configuration (registries, or --insecure-registry HOST[:PORT]).")
	case evidence.CodeDigestMismatch, evidence.CodeManifestAmbiguous:
		return say(fmt.Sprintf("The registry's answer for image %s contradicts itself: %s.", image, what),
			"Do not run this image; ask the registry's operator.")
	case evidence.CodeManifestUnsupported:
		return say(fmt.Sprintf("Image %s is of a type that cannot be judged: %s.", image, what),
			"Push it as an OCI or Docker schema 2 image; no signature can speak for what has several meanings.")
	case evidence.CodePlatformNotFound, evidence.CodeEvidenceTooLarge:
		return say(p.Error()+".", "See the message; limits are in the configuration under limits.")
	}
	if p.Code == ReasonPlatformsNotSearched {
		return say(p.Message, "Ask for the image anew, by a name or digest whose manifest the registry has; what was kept does not answer it.")
	}
	return say(fmt.Sprintf("Image %s could not be looked up: %s.", image, what), "Ask again; if it stays so, check the registry and the network.")
}
