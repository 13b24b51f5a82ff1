package facts

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
)

// canonicalFacts is what [Canonical] gives of p, where each predicate stands as the
// digest of its bytes: written directly, because each read of stored facts hashes
// them, and going through generic JSON takes five times as long. ok is false where
// p has something that is left to [Canonical].
func canonicalFacts(p Proven) (body []byte, ok bool) {
	w := &canonicalWriter{buf: make([]byte, 0, 4096)}
	w.open(`{"attestations":`)
	list(w, p.Attestations, func(a Attestation) {
		w.open(`{"annotations":`)
		w.texts(a.Annotations)
		w.text(`,"format":`, a.Format)
		w.text(`,"id":`, a.ID)
		w.text(`,"payload_digest":`, a.PayloadDigest)
		if a.Predicate == nil {
			w.open(`,"predicate":null`)
		} else {
			w.text(`,"predicate":`, Digest(a.Predicate))
		}
		w.text(`,"predicate_type":`, a.PredicateType)
		w.text(`,"principal":`, a.Principal)
		if a.Projection != nil {
			w.value(`,"projection":`, a.Projection)
		}
		if a.ProjectionError != "" {
			w.text(`,"projection_error":`, a.ProjectionError)
		}
		if a.Provenance != nil {
			w.value(`,"provenance":`, a.Provenance)
		}
		w.who(a.Signature)
		w.open(`,"statement_subjects":`)
		list(w, a.StatementSubjects, func(s StatementSubject) {
			w.open(`{"digest":`)
			w.texts(s.Digest)
			w.text(`,"name":`, s.Name)
			w.open(`}`)
		})
		w.how(a.Signature)
	})
	w.open(`,"rejections":`)
	list(w, p.Rejections, func(r Rejection) {
		w.text(`{"code":`, r.Code)
		w.text(`,"id":`, r.ID)
		w.text(`,"media_type":`, r.MediaType)
		w.text(`,"message":`, r.Message)
		w.text(`,"where":`, r.Where)
		w.open(`}`)
	})
	w.open(`,"signatures":`)
	list(w, p.Signatures, func(s Signature) {
		w.open(`{"annotations":`)
		w.texts(s.Annotations)
		w.text(`,"format":`, s.Format)
		w.text(`,"id":`, s.ID)
		w.text(`,"principal":`, s.Principal)
		w.who(s)
		w.how(s)
	})
	w.text(`,"subject":{"digest":`, p.Subject.Digest)
	w.text(`,"media_type":`, p.Subject.MediaType)
	w.open(`,"platforms":`)
	list(w, p.Subject.Platforms, func(l Platform) {
		w.text(`{"architecture":`, l.Architecture)
		w.text(`,"digest":`, l.Digest)
		w.text(`,"os":`, l.OS)
		w.text(`,"variant":`, l.Variant)
		w.open(`}`)
	})
	w.text(`,"registry":`, p.Subject.Registry)
	w.text(`,"repository":`, p.Subject.Repository)
	if p.Subject.Tag == nil {
		w.open(`,"tag":null`)
	} else {
		w.text(`,"tag":`, *p.Subject.Tag)
	}
	w.open(`}}`)
	return w.buf, !w.failed
}

// canonicalWriter appends JSON. Its strings that begin with a brace or a comma are
// keys as they stand in the text.
type canonicalWriter struct {
	buf    []byte
	failed bool
}

func (w *canonicalWriter) open(s string) { w.buf = append(w.buf, s...) }

// text writes a key and a string.
func (w *canonicalWriter) text(key, s string) {
	w.open(key)
	if plain(s) {
		w.buf = append(append(append(w.buf, '"'), s...), '"')
		return
	}
	body, err := Canonical(s)
	w.failed = w.failed || err != nil
	w.buf = append(w.buf, body...)
}

// value writes a key and what is rare enough to be written by the encoder.
func (w *canonicalWriter) value(key string, v any) {
	body, err := Canonical(v)
	w.failed = w.failed || err != nil
	w.buf = append(append(w.buf, key...), body...)
}

// plain strings are written as they are.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}

// texts writes a map of strings.
func (w *canonicalWriter) texts(m map[string]string) {
	if m == nil {
		w.open("null")
		return
	}
	before := "{"
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.failed = w.failed || !plain(k)
		w.text(before+`"`+k+`":`, m[k])
		before = ","
	}
	if len(m) == 0 {
		w.open("{")
	}
	w.open("}")
}

func (w *canonicalWriter) time(key string, t *time.Time) {
	w.open(key)
	if t == nil {
		w.open("null")
		return
	}
	body, err := json.Marshal(*t)
	w.failed = w.failed || err != nil
	w.buf = append(w.buf, body...)
}

// list writes a list of objects.
func list[T any](w *canonicalWriter, items []T, item func(T)) {
	if items == nil {
		w.open("null")
		return
	}
	w.open("[")
	for i, it := range items {
		if i > 0 {
			w.open(",")
		}
		item(it)
	}
	w.open("]")
}

// who and how are what signatures and attestations share, from signed_at and from
// subject_digest on.
func (w *canonicalWriter) who(s Signature) {
	w.time(`,"signed_at":`, s.SignedAt)
	w.text(`,"signer":{"algorithm":`, s.Signer.Algorithm)
	w.open(`,"claims":`)
	w.texts(s.Signer.Claims)
	w.text(`,"fingerprint":`, s.Signer.Fingerprint)
	w.text(`,"issuer":`, s.Signer.Issuer)
	w.text(`,"kind":`, s.Signer.Kind)
	w.text(`,"subject":`, s.Signer.Subject)
	w.open(`}`)
}

func (w *canonicalWriter) how(s Signature) {
	w.text(`,"subject_digest":`, s.SubjectDigest)
	w.open(`,"timestamps":`)
	list(w, s.Timestamps, func(t Timestamp) {
		w.text(`{"authority":`, t.Authority)
		w.time(`,"time":`, &t.Time)
		w.open(`}`)
	})
	w.open(`,"transparency":`)
	list(w, s.Transparency, func(l LogEntry) {
		w.open(`{"index":`)
		w.buf = strconv.AppendInt(w.buf, l.Index, 10)
		w.time(`,"integrated_at":`, l.IntegratedAt)
		w.text(`,"log":`, l.Log)
		w.text(`,"log_id":`, l.LogID)
		w.text(`,"proof":`, l.Proof)
		w.open(`}`)
	})
	w.text(`,"trust_root":`, s.TrustRoot)
	w.open(`}`)
}
