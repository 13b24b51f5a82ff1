package verify_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/require"
	"github.com/signet-policy/signet/internal/verify"
)

// check is one expectation of the corpus, see its README.
type check struct {
	What, Expect, SAN, Issuer, Key, Tlog, TSA, Trust, PredicateType, Reason string
	SANRE                                                                   string `json:"san_re"`
	ArtifactDigest                                                          string `json:"artifact_digest"`
	Artifact                                                                string
}

type corpusCase struct {
	Name, Kind, Path, Digest, Trust, Artifact string
	ArtifactDigest                            string `json:"artifact_digest"`
	Checks                                    []check
}

// Artefacts of the public-good, GitHub and private instances, with the
// expectations of the projects that made them. Expectations about branches, tags
// and builders ("policy") are not for the verifier.
func TestCorpus(t *testing.T) {
	dir := require.Corpus(t)
	b, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []corpusCase
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	done := 0
	for _, c := range cases {
		for i, k := range c.Checks {
			if k.What == "policy" {
				continue
			}
			done++
			name := c.Name + "/" + k.What + "-" + k.Expect + "-" + string(rune('a'+i))
			t.Run(name, func(t *testing.T) { c.run(t, dir, k) })
		}
	}
	if done < 60 {
		t.Errorf("%d checks, want 60 at least", done)
	}
}

func (c corpusCase) run(t *testing.T, dir string, k check) {
	rootPath := c.Trust
	if k.Trust != "" {
		rootPath = k.Trust
	}
	v := newVerifier(t, rootFile(t, filepath.Join(dir, rootPath))...)
	var scope []string
	if k.Key != "" {
		scope = append(scope, filepath.Join(dir, strings.Split(c.Path, "/")[0], k.Key))
	}
	f := c.facts(t, dir, v, k, scope)
	ok := false
	for _, s := range f.Signatures() {
		ok = ok || (k.What == "signature" || k.What == "bundle") && k.PredicateType == "" && k.matches(t, s, scope)
	}
	for _, a := range f.Attestations() {
		ok = ok || (k.What == "attestation" || k.What == "bundle") && (k.PredicateType == "" || k.PredicateType == a.PredicateType) && k.matches(t, a.Signature, scope)
	}
	if ok != (k.Expect == "ok") {
		t.Errorf("want %s (%s), facts: %+v %+v, rejections: %+v", k.Expect, k.Reason, f.Signatures(), len(f.Attestations()), f.Rejections())
	}
	for _, r := range f.Rejections() {
		if r.Code == facts.CodePanic || r.Message == "" {
			t.Errorf("%+v", r)
		}
		t.Logf("%s: %s", r.Code, r.Message)
	}
}

func (c corpusCase) facts(t *testing.T, dir string, v *verify.Verifier, k check, keyFiles []string) facts.Facts {
	var (
		f   facts.Facts
		err error
	)
	scope := keys()
	for _, file := range keyFiles {
		scope = append(scope, keys(publicKey(t, file))...)
	}
	if c.Kind == "oci-layout" {
		s, items := layout{t, filepath.Join(dir, c.Path)}.image(c.Digest)
		f, err = v.Image(t.Context(), s, items, verify.KeyList(scope...))
	} else {
		b, rerr := os.ReadFile(filepath.Join(dir, c.Path))
		if rerr != nil {
			t.Fatal(rerr)
		}
		f, err = v.Artifact(t.Context(), c.artifact(t, dir, k), []evidence.Item{{Kind: evidence.KindBundle, Bytes: b}}, verify.KeyList(scope...))
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// artifact is the file, else the digest; a bundle that comes with neither is
// about the empty file.
func (c corpusCase) artifact(t *testing.T, dir string, k check) verify.Artifact {
	switch {
	case k.ArtifactDigest != "":
		alg, hexa, _ := strings.Cut(k.ArtifactDigest, ":")
		return verify.Artifact{Digests: map[string]string{alg: hexa}}
	case c.Artifact != "":
		b, err := os.ReadFile(filepath.Join(dir, c.Artifact))
		if err != nil {
			t.Fatal(err)
		}
		return verify.Artifact{Bytes: b}
	}
	return verify.Artifact{Bytes: []byte{}}
}

func (k check) matches(t *testing.T, s facts.Signature, keyFiles []string) bool {
	if k.Tlog == "required" && len(s.Transparency) == 0 || k.TSA == "required" && len(s.Timestamps) == 0 {
		return false
	}
	if k.Key != "" {
		for _, file := range keyFiles {
			if key := publicKey(t, file); key != nil && s.Signer.Fingerprint == fingerprint(t, key) {
				return true
			}
		}
		return false
	}
	if s.Signer.Kind != facts.KindCertificate || s.SignedAt == nil {
		return false
	}
	san, issuer := k.SANRE, k.Issuer
	if san == "" {
		san = regexp.QuoteMeta(k.SAN)
		if k.SAN == ".*" {
			san = k.SAN
		}
	}
	if issuer != ".*" {
		issuer = regexp.QuoteMeta(issuer)
	}
	return regexp.MustCompile(`\A(?:`+strings.TrimSuffix(strings.TrimPrefix(san, "^"), "$")+`.*)\z`).MatchString(s.Signer.Subject) &&
		regexp.MustCompile(`\A(?:`+issuer+`)\z`).MatchString(s.Signer.Issuer)
}
