package attacks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/verdict"
)

// signed has a good signature attached, which an attack then hides or spoils.
func (w *world) signed() *ocitest.Artifact {
	w.Helper()
	return w.attach(w.sign())
}

// Registry: threats 30 to 43.
func TestRegistry(t *testing.T) {
	t.Parallel()
	var attacks []attack
	add := func(a ...attack) { attacks = append(attacks, a...) }
	add(
		attack{
			threat: "31 Docker-Content-Digest lies",
			do: func(w *world) {
				w.signed()
				w.server.On(registrytest.Manifest(tag), registrytest.LieDigest(ocitest.Digest([]byte("another"))))
			},
			decision: verdict.Deny, reason: evidence.CodeDigestMismatch, beside: verdict.Deny,
		},
		attack{
			threat: "31 other bytes under the digest that was asked for",
			do: func(w *world) {
				w.signed()
				w.ask.Image = w.server.Image(repo, w.digest())
				w.server.Serve(repo, w.digest(), ocitest.Image(ocitest.ImageOptions{Content: "evil"}))
			},
			decision: verdict.Deny, reason: evidence.CodeDigestMismatch, beside: verdict.Deny,
		},
		attack{
			threat: "32 an image that the registry calls an index",
			do: func(w *world) {
				w.signed()
				w.server.On(registrytest.Manifest(tag), registrytest.ContentType(ocitest.MediaTypeIndex))
			},
			decision: verdict.Deny, reason: evidence.CodeManifestAmbiguous, beside: verdict.Deny,
		},
		attack{
			threat: "32 layers and manifests in one",
			do: func(w *world) {
				both := must(sigstack.WithMember(w.image.Raw, false, "manifests", []any{}))(w)
				w.image = ocitest.Raw(ocitest.MediaTypeManifest, both, w.image.Blobs...)
				w.server.PutManifest(repo, tag, ocitest.MediaTypeManifest, both)
				w.server.Serve(repo, tag, w.image)
			},
			decision: verdict.Deny, reason: evidence.CodeManifestAmbiguous, beside: verdict.Deny,
		},
		attack{
			threat: "32 an index in an index",
			do: func(w *world) {
				inner := ocitest.Index(w.image)
				w.image = ocitest.Index(inner)
				w.server.Push(repo, tag, w.image)
			},
			decision: verdict.Deny, reason: evidence.CodeManifestAmbiguous, beside: verdict.Deny,
		},
		attack{
			threat: "34 the image is not there",
			do: func(w *world) {
				w.ask.Image = w.server.Image(repo, "no-such-tag")
			},
			decision: verdict.Unknown, reason: evidence.CodeImageNotFound, beside: verdict.Unknown,
		},
		attack{
			threat: "34 one referrer cannot be fetched now",
			do: func(w *world) {
				m := w.signed()
				w.server.On(registrytest.Manifest(m.Digest()), registrytest.RetryAfter(http.StatusTooManyRequests, 600))
			},
			// The default policy is monotone: what is seen may be enough.
			decision: verdict.Unknown, reason: evidence.CodeRateLimited, beside: verdict.Allow,
			check: func(w *world, v verdict.Verdict, _ facts.Facts) {
				if v.RetryAfter != 600 {
					w.Errorf("ask again in %d s, and the registry said 600", v.RetryAfter)
				}
			},
		},
		attack{
			threat: "34 one bundle needs credentials",
			do: func(w *world) {
				m := w.signed()
				w.server.On(registrytest.Blob(ocitest.Digest(m.Blobs[len(m.Blobs)-1])), registrytest.Status(http.StatusForbidden))
			},
			decision: verdict.Unknown, reason: evidence.CodeUnauthorized, beside: verdict.Allow,
		},
		attack{
			threat: "34 the .sig tag cannot be read now",
			do: func(w *world) {
				w.server.Legacy(repo, w.digest(), w.sign(legacy))
				w.server.On(registrytest.Manifest(ocitest.Tag(w.digest(), ".sig")), registrytest.RetryAfter(http.StatusServiceUnavailable, 600))
			},
			decision: verdict.Unknown, reason: evidence.CodeUnavailable, beside: verdict.Allow,
		},
		attack{
			threat: "34 the registry hangs while listing",
			do: func(w *world) {
				w.signed()
				w.limits.RequestTimeout = 100 * time.Millisecond
				w.server.On(registrytest.Referrers(""), registrytest.Hang())
			},
			decision: verdict.Unknown, reason: evidence.CodeUnavailable, beside: verdict.Unknown,
		},
	)
	for _, broken := range []struct {
		name   string
		action registrytest.Action
		code   string
	}{
		{"429", registrytest.RetryAfter(http.StatusTooManyRequests, 600), evidence.CodeRateLimited},
		{"503", registrytest.RetryAfter(http.StatusServiceUnavailable, 600), evidence.CodeUnavailable},
		{"401", registrytest.Status(http.StatusUnauthorized), evidence.CodeUnauthorized},
		{"403", registrytest.Status(http.StatusForbidden), evidence.CodeUnauthorized},
		{"a page of HTML", registrytest.Body("text/html", []byte("<html>please sign in</html>")), evidence.CodeUnavailable},
		{"a list cut short", registrytest.Truncate(100), evidence.CodeUnavailable},
		{"no list", registrytest.Body(ocitest.MediaTypeIndex, []byte(`{"schemaVersion":2}`)), evidence.CodeUnavailable},
	} {
		add(attack{
			threat: "34 listing answers with " + broken.name,
			do: func(w *world) {
				w.signed()
				w.server.On(registrytest.Referrers(""), broken.action)
			},
			decision: verdict.Unknown, reason: broken.code, beside: verdict.Unknown,
		})
	}
	add(
		attack{
			threat: "35 an empty list, and a fallback tag",
			do: func(w *world) {
				w.fallback = []*ocitest.Artifact{}
				w.server.On(registrytest.Referrers(""), registrytest.EmptyIndex())
				w.signed()
			},
			decision: verdict.Allow, signatures: 1,
			check: func(w *world, _ verdict.Verdict, _ facts.Facts) {
				s := w.record.last().Frames[w.signet.State.Policies[0].Name].Search
				if s.ReferrersAPI != string(evidence.ProbeEmpty) || s.FallbackTag != string(evidence.ProbeFound) || !s.Complete {
					w.Errorf("search %+v, want both probes recorded", s)
				}
			},
		},
		attack{
			threat: "35 no referrers API", options: registrytest.Options{NoReferrers: true},
			do:       func(w *world) { w.signed() },
			decision: verdict.Allow, signatures: 1,
		},
		attack{
			threat: "36 the signature is on the third page", options: registrytest.Options{PageSize: 1},
			do: func(w *world) {
				// Referrers come sorted by digest: put enough before whatever is good.
				for i := range 4 {
					w.push(w.plain("application/spdx+json", fmt.Appendf(nil, `{"spdxVersion":"SPDX-2.3","n":%d}`, i)))
				}
				w.signed()
			},
			decision: verdict.Allow, signatures: 1, rejections: slices.Repeat([]string{facts.CodeNoSignature}, 4),
		},
		attack{
			threat: "36 content type with a charset", options: registrytest.Options{ReferrersType: ocitest.MediaTypeIndex + "; charset=utf-8"},
			do:       func(w *world) { w.signed() },
			decision: verdict.Allow, signatures: 1,
		},
		attack{
			threat: "37 the registry withholds everything",
			do: func(w *world) {
				w.signed()
				w.server.On(registrytest.Referrers(""), registrytest.EmptyIndex())
			},
			// Nothing that could be withheld is needed to deny.
			decision: verdict.Deny, reason: "unsigned", beside: verdict.Deny,
		},
		attack{
			threat: "38 more referrers than may be",
			do: func(w *world) {
				w.limits.Referrers = 3
				for i := range 4 {
					w.push(w.plain("application/spdx+json", fmt.Appendf(nil, `{"n":%d}`, i)))
				}
			},
			decision: verdict.Unknown, reason: evidence.CodeEvidenceTooLarge,
			rejections: slices.Repeat([]string{facts.CodeNoSignature}, 3), beside: cutOff,
		},
		attack{
			threat: "38 more than a policy can be asked about",
			do: func(w *world) {
				w.limits.PolicyInputBytes = 20_000
				w.attach(w.sign(w.stating(sigstack.PredicateSPDX, map[string]any{"spdxVersion": "SPDX-2.3", "comment": strings.Repeat("x", 30_000)})))
			},
			decision: verdict.Unknown, reason: evidence.CodeEvidenceTooLarge, attestations: 1, beside: verdict.Unknown,
		},
		attack{
			threat: "38 pages without end",
			do: func(w *world) {
				n := 0
				w.limits.ReferrerPages = 5
				w.server.On(registrytest.Referrers(""), func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
					n++
					registrytest.Link(fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, n))(rw, r, next)
				})
			},
			// A signature on the pages that were read is enough for a monotone policy.
			decision: verdict.Unknown, reason: evidence.CodeEvidenceTooLarge, beside: verdict.Allow,
		},
		attack{
			threat: "38 a next page that is the page itself",
			do: func(w *world) {
				w.server.On(registrytest.Referrers(""), func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
					registrytest.Link("<"+r.URL.Path+`>; rel="next"`)(rw, r, next)
				})
			},
			decision: verdict.Unknown, reason: evidence.CodeUnavailable,
		},
		attack{
			threat: "38 more layers than may be",
			do: func(w *world) {
				w.limits.Layers = 3
				var layers []sigstack.Layer
				for i := range 5 {
					layers = append(layers, must(w.sign(legacy, func(r *sigstack.SignRequest) {
						r.Identity = sigstack.URI(issuer, fmt.Sprint("https://evil.test/", i))
					}).Layer())(w))
				}
				w.server.Push(repo, ocitest.Tag(w.digest(), ".sig"), ocitest.Cosign(layers...))
			},
			decision: verdict.Unknown, reason: evidence.CodeEvidenceTooLarge, signatures: 3,
		},
		attack{
			threat: "38 more pieces of evidence than may be",
			do: func(w *world) {
				w.limits.Items = 2
				for i := range 3 {
					w.push(w.plain("application/spdx+json", fmt.Appendf(nil, `{"n":%d}`, i)))
				}
			},
			decision: verdict.Unknown, reason: evidence.CodeEvidenceTooLarge,
			rejections: slices.Repeat([]string{facts.CodeNoSignature}, 2), beside: cutOff,
		},
		attack{
			threat: "38 more subjects than may be",
			do: func(w *world) {
				subjects := []sigstack.Subject{sigstack.SubjectOf("", w.digest())}
				for i := range 1100 {
					subjects = append(subjects, sigstack.SubjectOf(fmt.Sprint(i), ocitest.Digest(fmt.Append(nil, i))))
				}
				w.attach(w.sign(func(r *sigstack.SignRequest) {
					r.Image, r.Statement = "", &sigstack.Statement{PredicateType: sigstack.PredicateCosignSign, Subjects: subjects}
				}))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeTooLarge},
		},
		attack{
			threat: "38 more log entries than may be",
			do: func(w *world) {
				ev := w.sign()
				for range 20 {
					ev.Entries = append(ev.Entries, must(w.stack.LogEntry(ev, sigstack.RekorV1()))(w))
				}
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeTooLarge},
		},
		attack{
			threat: "38 more keys in scope than may be tried",
			do: func(w *world) {
				var signers []any
				for i := range 70 {
					signers = append(signers, w.keySigner(fmt.Sprint("k", i)))
				}
				w.policy = w.threshold(1, append(signers, map[string]any{"type": "keyless", "issuer": issuer, "subject": release})...)
				ev := w.byKey("k7")
				ev.Hint = ""
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeTooManyCandidateKeys},
		},
		attack{
			threat: "39 a layer that says it has 5 GB",
			do: func(w *world) {
				m := parse(w, w.server.Attach("scratch", w.image, w.sign()).Raw)
				m.Layers[0].Size = 5 << 30
				w.push(ocitest.New(m, []byte("{}")))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeTooLarge},
		},
		attack{
			threat: "39 a layer that is longer than it says",
			do: func(w *world) {
				m := parse(w, w.signedElsewhere())
				m.Layers[0].Size -= 10
				w.push(ocitest.New(m, []byte("{}")))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeContentMismatch},
		},
		attack{
			threat: "39 a body without end",
			do: func(w *world) {
				m := w.signed()
				w.server.On(registrytest.Blob(ocitest.Digest(m.Blobs[len(m.Blobs)-1])), registrytest.Endless("application/octet-stream"))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeContentMismatch},
		},
		attack{
			threat: "39 a body that drips",
			do: func(w *world) {
				m := w.signed()
				w.limits.RequestTimeout = 2 * time.Second
				w.server.On(registrytest.Blob(ocitest.Digest(m.Blobs[len(m.Blobs)-1])), registrytest.Drip(10, 50*time.Millisecond))
			},
			decision: verdict.Unknown, reason: evidence.CodeUnavailable,
		},
		attack{
			threat: "39 other bytes under the digest of a layer",
			do: func(w *world) {
				m := w.signed()
				body := m.Blobs[len(m.Blobs)-1]
				w.server.On(registrytest.Blob(ocitest.Digest(body)), registrytest.Body("application/octet-stream", bytes.Repeat([]byte(" "), len(body))))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeContentMismatch},
		},
		attack{
			threat: "40 a bundle's manifest without layers",
			do: func(w *world) {
				m := parse(w, w.signedElsewhere())
				m.Layers = []ocitest.Descriptor{}
				w.push(ocitest.New(m, []byte("{}")))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeMalformed},
		},
		attack{
			threat: "40 a layer of another type in the .sig tag, and an intoto entry",
			do: func(w *world) {
				ev := w.sign(legacy)
				att := w.sign(legacy, w.stating(sigstack.PredicateSLSA1, nil), func(r *sigstack.SignRequest) {
					r.Log = sigstack.RekorV1SET().As(sigstack.KindInToto, "0.0.1")
				})
				ev.Entries = att.Entries
				w.server.Legacy(repo, w.digest(), ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		attack{
			threat: "41 ten bad ones",
			do: func(w *world) {
				for i := range 10 {
					w.attachBytes(fmt.Appendf(nil, `{"n":%d}`, i))
				}
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: slices.Repeat([]string{facts.CodeMalformed}, 10),
		},
		attack{
			threat: "43 a chain of eleven certificates",
			do: func(w *world) {
				ev := w.sign(func(r *sigstack.SignRequest) { r.Cert.ExtraIntermediates = 11 })
				w.attachBytes(must(ev.BundleWith(sigstack.V02, sigstack.MaterialChain))(w))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeChainTooLong},
		},
		attack{
			threat: "43 a chain of eleven certificates, old format",
			do: func(w *world) {
				w.server.Legacy(repo, w.digest(), w.sign(legacy, func(r *sigstack.SignRequest) { r.Cert.ExtraIntermediates = 11 }))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeChainTooLong},
		},
	)
	for name, spoil := range spoiled() {
		add(attack{
			threat: name,
			do: func(w *world) {
				w.attachBytes(spoil(must(w.sign().Bundle(sigstack.V03))(w)))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeMalformed},
		})
	}
	play(t, attacks)
}

// spoiled are ways to make a bundle unreadable: threats 40 and 42.
func spoiled() map[string]func([]byte) []byte {
	return map[string]func([]byte) []byte{
		"40 truncated":     func(b []byte) []byte { return b[:len(b)/2] },
		"40 empty":         func([]byte) []byte { return []byte(" ") },
		"40 null":          func([]byte) []byte { return []byte("null") },
		"40 an array":      func([]byte) []byte { return []byte("[]") },
		"40 full of nulls": nulled,
		"42 deep": func(b []byte) []byte {
			return append(append([]byte(`{"a":`+strings.Repeat("[", 2000)), bytes.Repeat([]byte("]"), 2000)...), '}')
		},
		"42 a member twice": func(b []byte) []byte { return append([]byte(`{"mediaType":"x",`), bytes.TrimPrefix(b, []byte("{"))...) },
		"42 invalid UTF-8": func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"mediaType"`), []byte("\"media\xffType\":1,\"mediaType\""), 1)
		},
		"42 NUL": func(b []byte) []byte { return append(b, 0) },
		"42 a giant integer": func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"logIndex":"`), []byte(`"logIndex":"`+strings.Repeat("9", 400)), 1)
		},
		"42 trailing bytes": func(b []byte) []byte { return append(b, []byte("{}")...) },
	}
}

// nulled sets every member of a bundle to null but its type.
func nulled(b []byte) []byte {
	var m map[string]any
	if json.Unmarshal(b, &m) != nil {
		return b
	}
	for k := range m {
		if k != "mediaType" {
			m[k] = nil
		}
	}
	out, err := json.Marshal(m)
	if err != nil {
		return b
	}
	return out
}

// signedElsewhere is the manifest of a good signature that is not in the image's
// repository yet; its bundle is.
func (w *world) signedElsewhere() []byte {
	w.Helper()
	m := w.server.Attach("scratch", w.image, w.sign())
	w.server.PutBlob(repo, m.Blobs[len(m.Blobs)-1])
	return m.Raw
}

func parse(w *world, raw []byte) ocitest.Manifest {
	w.Helper()
	var m ocitest.Manifest
	w.ok(json.Unmarshal(raw, &m))
	return m
}

// The tag moves between two questions of one request: the digest was named once,
// everything is about it, and the verdict says which (threat 30).
func TestThreat30TagMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, registrytest.Options{})
	w.signed()
	evil := ocitest.Image(ocitest.ImageOptions{Content: "evil"})
	w.server.Push(repo, "", evil)
	w.server.Serve(repo, tag, w.image, evil)
	_, v := w.decide(w.ask)
	if v.Decision != verdict.Allow || v.Digest != w.digest() || v.Pinned != w.server.Image(repo, w.digest()) {
		t.Errorf("%s for %s, pinned %s; want the signed image %s", v.Decision, v.Digest, v.Pinned, w.digest())
	}
	if n := w.server.Count("", "/manifests/"+tag); n != 1 {
		t.Errorf("the tag was asked for %d times", n)
	}
	req := w.ask
	req.Refresh = true
	if _, v := w.decide(req); v.Decision != verdict.Deny || v.Digest != evil.Digest() {
		t.Errorf("after it moved: %s for %s", v.Decision, v.Digest)
	}
}

// A digest in any odd spelling is the caller's mistake (threat 33).
func TestThreat33OddDigests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, registrytest.Options{})
	w.start()
	hex := strings.TrimPrefix(w.digest(), "sha256:")
	for _, digest := range []string{
		"md5:" + hex[:32], "sha1:" + hex[:40], "sha512:" + hex, "SHA256:" + hex, "sha256:" + strings.ToUpper(hex), "sha256:" + hex[:63], "sha256:" + hex + "0",
		"sha256:../../../etc/passwd", "sha256:" + hex[:60] + "/../", "sha256:", "sha256:" + hex + "@sha256:" + hex, "sha256+x:" + hex, "sha256:" + hex + "%00",
	} {
		req := w.ask
		req.Image = w.server.Image(repo, "") + "@" + digest
		_, err := w.signet.Engine.Decide(t.Context(), w.signet.State, req)
		if !errors.Is(err, engine.ErrInvalid) {
			t.Errorf("%q: %v, want an invalid request", digest, err)
		}
	}
	if n := len(w.server.Requests()); n != 0 {
		t.Errorf("%d requests were sent for them", n)
	}
	if len(w.record.all) != 0 {
		t.Errorf("%d verdicts were recorded for them", len(w.record.all))
	}
}

// Order never decides: the same evidence in any order gives the same facts
// (threat 41).
func TestThreat41OrderNeverDecides(t *testing.T) {
	t.Parallel()
	w := newWorld(t, registrytest.Options{PlainReferrers: true})
	w.signed()
	w.attachBytes([]byte(`{"a":1}`))
	w.attach(w.sign(about(w.other().Digest())))
	w.server.Legacy(repo, w.digest(), w.sign(legacy))
	digests := map[string]bool{}
	for range 5 {
		req := w.ask
		req.Refresh = true
		if _, v := w.decide(req); v.Decision != verdict.Allow {
			t.Fatalf("%s: %+v", v.Decision, v.Reasons)
		}
		digests[w.record.last().Facts.Digest()] = true
	}
	if len(digests) != 1 {
		t.Errorf("%d different facts", len(digests))
	}
}
