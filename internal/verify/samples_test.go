package verify_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verify"
)

const samplesDir = "../../test/testdata/samples"

// seen is what a case of the samples says about one signature or attestation.
type seen struct {
	Issuer, Subject, Key, PredicateType, Log, Format string
	TSA                                              bool
	Annotations                                      map[string]string
}

// The 22 images that the cosign CLI signed: what must verify, and nothing else.
func TestSamples(t *testing.T) {
	var cases []struct {
		Name, Layout, Digest string
		Signatures           []struct {
			Issuer, Subject, Key, Format string
			Log                          *string
			TSA                          bool
			Annotations                  map[string]string
		}
		Attestations []struct {
			Issuer, Subject, Key, Format string
			PredicateType                string `json:"predicate_type"`
		}
	}
	b, err := os.ReadFile(filepath.Join(samplesDir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 22 {
		t.Fatalf("%d cases, want 22", len(cases))
	}
	v := newVerifier(t, rootFile(t, filepath.Join(samplesDir, "trusted-root.json"))...)
	signer := publicKey(t, filepath.Join(samplesDir, "signer.pub"))
	other := publicKey(t, filepath.Join(samplesDir, "other.pub"))
	wantKey := fingerprint(t, signer)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			s, items := layout{t, filepath.Join(samplesDir, c.Layout)}.image(c.Digest)
			s.Platforms = nil // the cases speak of the image itself
			f, err := v.Image(t.Context(), s, ofDigest(items, c.Digest), verify.KeyList(other, signer))
			if err != nil {
				t.Fatal(err)
			}
			var want, got []seen
			for _, x := range c.Signatures {
				log := ""
				if x.Log != nil {
					log = *x.Log
				}
				want = append(want, seen{Issuer: x.Issuer, Subject: x.Subject, Key: x.Key, Log: log, TSA: x.TSA, Annotations: x.Annotations})
			}
			for _, x := range f.Signatures() {
				d := describe(x, wantKey)
				// A case says where a timestamp is the only time, not where there
				// is none: with Rekor v1 cosign may have asked for one, too.
				d.TSA = d.TSA && d.Log != "rekor v1" || d.TSA && c.Name == "old-keyless-tsa"
				got = append(got, d)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), unordered); diff != "" {
				t.Errorf("signatures: %s", diff)
			}
			want, got = nil, nil
			for _, x := range c.Attestations {
				want = append(want, seen{Issuer: x.Issuer, Subject: x.Subject, Key: x.Key, PredicateType: x.PredicateType})
			}
			for _, x := range f.Attestations() {
				d := describe(x.Signature, wantKey)
				got = append(got, seen{Issuer: d.Issuer, Subject: d.Subject, Key: d.Key, PredicateType: x.PredicateType})
				if x.Predicate == nil || x.PayloadDigest == "" {
					t.Errorf("an attestation without predicate: %+v", x)
				}
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), unordered); diff != "" {
				t.Errorf("attestations: %s", diff)
			}
			if n := len(items) - len(f.Signatures()) - len(f.Attestations()); c.Name == "copied-sig" && (n != 1 || f.Rejections()[0].Code != facts.CodeSubjectMismatch) {
				t.Errorf("rejections: %+v", f.Rejections())
			} else if c.Name != "copied-sig" && len(f.Rejections()) != 0 {
				t.Errorf("rejections: %+v", f.Rejections())
			}
		})
	}
}

var unordered = cmpopts.SortSlices(func(a, b seen) bool { return a.Issuer+a.PredicateType < b.Issuer+b.PredicateType })

func describe(s facts.Signature, signer string) seen {
	d := seen{Issuer: s.Signer.Issuer, Subject: s.Signer.Subject, TSA: len(s.Timestamps) > 0, Annotations: s.Annotations}
	if s.Signer.Kind == facts.KindKey {
		d.Key = s.Signer.Fingerprint
		if d.Key == signer {
			d.Key = "signer.pub"
		}
	}
	for _, e := range s.Transparency {
		d.Log = "rekor v2"
		if e.IntegratedAt != nil {
			d.Log = "rekor v1"
		}
	}
	return d
}
