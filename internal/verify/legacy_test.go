package verify_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

func (b *bench) legacySignature() evidence.Item {
	b.t.Helper()
	return b.layer(b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1SET(), Legacy: true}))
}

// with copies an item with one annotation changed.
func with(item evidence.Item, name, value string) evidence.Item {
	ann := map[string]string{}
	for k, v := range item.Annotations {
		ann[k] = v
	}
	ann[name] = value
	item.Annotations = ann
	return item
}

func TestLegacyAnnotations(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	good := b.legacySignature()
	b.signature(good)
	log := good.Annotations[evidence.AnnotationBundle]
	for name, tt := range map[string]struct{ annotation, value, code string }{
		"no signature":              {evidence.AnnotationSignature, "", facts.CodeNoSignature},
		"signature not base64":      {evidence.AnnotationSignature, "*", facts.CodeMalformed},
		"certificate not PEM":       {evidence.AnnotationCertificate, "x", facts.CodeMalformed},
		"two certificates":          {evidence.AnnotationCertificate, strings.Repeat(good.Annotations[evidence.AnnotationCertificate], 2), facts.CodeMalformed},
		"certificate not DER":       {evidence.AnnotationCertificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", facts.CodeMalformed},
		"log bundle not JSON":       {evidence.AnnotationBundle, "x", facts.CodeMalformed},
		"log bundle twice":          {evidence.AnnotationBundle, log + log, facts.CodeMalformed},
		"log bundle without SET":    {evidence.AnnotationBundle, strings.Replace(log, `"SignedEntryTimestamp":"`, `"Signed":"`, 1), facts.CodeMalformed},
		"other case of the payload": {evidence.AnnotationBundle, strings.Replace(log, `"Payload"`, `"payload"`, 1), facts.CodeMalformed},
		"log id not hexadecimal":    {evidence.AnnotationBundle, strings.Replace(log, `"logID":"`, `"logID":"x`, 1), facts.CodeMalformed},
		"body not base64":           {evidence.AnnotationBundle, strings.Replace(log, `"body":"`, `"body":"*`, 1), facts.CodeMalformed},
		"body not JSON":             {evidence.AnnotationBundle, strings.Replace(log, `"body":"`, `"body":"AAAA`, 1), facts.CodeMalformed},
		"no log bundle":             {evidence.AnnotationBundle, "", facts.CodeLogEntryMissing},
		"timestamp not JSON":        {evidence.AnnotationRFC3161, "x", facts.CodeMalformed},
		"timestamp not a token":     {evidence.AnnotationRFC3161, `{"SignedRFC3161Timestamp":"AAAA"}`, facts.CodeTimestampInvalid},
		"empty timestamp":           {evidence.AnnotationRFC3161, `{}`, facts.CodeTimestampInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{Stack: b.Stack, t: t, v: b.v}
			item := with(good, tt.annotation, tt.value)
			if tt.value == log {
				t.Fatal("nothing was changed")
			}
			b.rejected(tt.code, item)
		})
	}
	// An empty annotation is how cosign writes that there is none.
	b.signature(with(with(good, evidence.AnnotationChain, ""), evidence.AnnotationRFC3161, ""))
	b.signature(with(good, evidence.AnnotationChain, "not PEM at all"))
}

// The payload is read strictly: what a second reader could take for the digest
// makes it malformed, signed or not.
func TestSimpleSigningPayload(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	good := `{"critical":{"identity":{"docker-reference":"x"},"image":{"docker-manifest-digest":"` + image + `"},"type":"cosign container image signature"},"optional":null}`
	sign := func(payload string) evidence.Item {
		return b.layer(b.Sign(sigstack.SignRequest{Artifact: []byte(payload), Identity: dev, Log: sigstack.RekorV1SET()}))
	}
	b.signature(sign(good))
	b.signature(sign(strings.TrimSuffix(good, `,"optional":null}`) + "}"))
	replaced := func(from, to string) string {
		t.Helper()
		out := strings.Replace(good, from, to, 1)
		if out == good {
			t.Fatalf("no %s in the payload", from)
		}
		return out
	}
	for _, tt := range []struct{ name, code, payload string }{
		{"another type", facts.CodeUnsupported, replaced("cosign container", "atomic container")},
		{"no type", facts.CodeUnsupported, replaced(`,"type":"cosign container image signature"`, "")},
		{"another digest", facts.CodeSubjectMismatch, replaced(image, otherImage)},
		{"no digest", facts.CodeSubjectMismatch, replaced(`"docker-manifest-digest":"`+image+`"`, "")},
		{"digest in capitals", facts.CodeSubjectMismatch, replaced(image[7:], strings.ToUpper(image[7:]))},
		{"two digests", facts.CodeMalformed, replaced(`"docker-manifest-digest"`, `"docker-manifest-digest":"`+otherImage+`","docker-manifest-digest"`)},
		{"a digest in other case", facts.CodeMalformed, replaced(`"docker-manifest-digest"`, `"Docker-Manifest-Digest":"`+otherImage+`","docker-manifest-digest"`)},
		{"an unknown critical member", facts.CodeMalformed, replaced(`"critical":{`, `"critical":{"more":1,`)},
		{"an unknown member", facts.CodeMalformed, replaced(`{"critical"`, `{"more":1,"critical"`)},
		{"trailing bytes", facts.CodeMalformed, good + "{}"},
		{"not JSON", facts.CodeMalformed, "x"},
		{"null", facts.CodeUnsupported, "null"},
		{"nothing", facts.CodeMalformed, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &bench{Stack: b.Stack, t: t, v: b.v}
			if tt.payload == "" {
				item := sign(good)
				item.Bytes = nil
				b.rejected(tt.code, item)
				return
			}
			b.rejected(tt.code, sign(tt.payload))
		})
	}
}

// An old attestation's timestamp is over the envelope as it is stored.
func TestLegacyAttestationTimestamp(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	req := attestationOf(sigstack.PredicateSLSA1, sigstack.SignRequest{Identity: dev, Log: sigstack.RekorV1(), Timestamps: 1})
	req.Legacy = true
	item := b.layer(b.Sign(req))
	if a := oneAttestation(t, b.facts([]evidence.Item{item})); len(a.Timestamps) != 1 {
		t.Errorf("%+v", a.Timestamps)
	}
	other := b.layer(b.Sign(req))
	b.rejected(facts.CodeTimestampInvalid, with(item, evidence.AnnotationRFC3161, other.Annotations[evidence.AnnotationRFC3161]))
}

func TestLegacyEnvelope(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	req := attestationOf("https://example.com/predicate", keylessV1())
	req.Legacy = true
	req.Statement.Predicate = "~~~???>>>~~~???>>>" // + and / in base64
	ev := b.Sign(req)
	good := b.layer(ev)
	edited := func(from, to string) evidence.Item {
		t.Helper()
		item := good
		item.Bytes = []byte(strings.Replace(string(good.Bytes), from, to, 1))
		if string(item.Bytes) == string(good.Bytes) {
			t.Fatalf("no %s in %s", from, good.Bytes)
		}
		return item
	}
	b.rejected(facts.CodeMalformed, edited(`"payload":"`, `"payload":"*`))
	b.rejected(facts.CodeMalformed, edited(`"sig":"`, `"sig":"*`))
	b.rejected(facts.CodeMalformed, edited(`"payloadType"`, `"payloadtype"`))
	b.rejected(facts.CodeMalformed, edited(`{`, `{"payload":"",`))
	b.rejected(facts.CodeMalformed, edited(`{`, `x{`))
	// base64 with the alphabet for URLs is allowed by DSSE, and what it decodes to
	// is what was signed.
	std := base64.StdEncoding.EncodeToString(ev.Envelope.Payload)
	item := edited(std, strings.NewReplacer("+", "-", "/", "_").Replace(std))
	oneAttestation(t, b.facts([]evidence.Item{item}))
}
