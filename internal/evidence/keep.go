package evidence

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"
)

// KeptBytes is the largest piece of evidence, in bytes, that is kept with a
// verdict, so that it can be verified anew under another trust root or key.
const KeptBytes = 64 << 10

// keptItem is an item as it is kept. Most evidence is text, which packs better
// than base64.
type keptItem struct {
	ID            string            `json:"id"`
	Kind          Kind              `json:"kind"`
	MediaType     string            `json:"media_type"`
	SubjectDigest string            `json:"subject_digest"`
	Where         string            `json:"where"`
	Annotations   map[string]string `json:"annotations,omitempty"`
	Broken        *Broken           `json:"broken,omitempty"`
	Text          string            `json:"text,omitempty"`
	Bytes         []byte            `json:"bytes,omitempty"`
	// Left says that the item was too large to be kept.
	Left bool `json:"left,omitempty"`
}

// Keep encodes what a search found, in an order of its own, so that the same
// evidence gives the same bytes however it was found. An item of more than
// [KeptBytes] is named and left out.
func Keep(items []Item) ([]byte, error) {
	kept := make([]keptItem, len(items))
	for i, it := range items {
		kept[i] = keptItem{
			ID: it.ID, Kind: it.Kind, MediaType: it.MediaType, SubjectDigest: it.SubjectDigest, Where: it.Where,
			Annotations: it.Annotations, Broken: it.Broken,
		}
		size := int(it.Size())
		for k, v := range it.Annotations {
			size += len(k) + len(v)
		}
		switch {
		case size > KeptBytes:
			kept[i].Annotations, kept[i].Left = nil, true
		case utf8.Valid(it.Bytes):
			kept[i].Text = string(it.Bytes)
		default:
			kept[i].Bytes = it.Bytes
		}
	}
	slices.SortStableFunc(kept, func(a, b keptItem) int {
		return cmp.Or(cmp.Compare(a.SubjectDigest, b.SubjectDigest), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Where, b.Where))
	})
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(kept); err != nil {
		return nil, fmt.Errorf("keeping evidence: %w", err)
	}
	return buf.Bytes(), nil
}

// Kept reads what [Keep] wrote. left are the ids of the items that were too large
// to be kept, and are not among the items. An item that does not have the id of
// its bytes is an error.
func Kept(body []byte) (items []Item, left []string, err error) {
	var kept []keptItem
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&kept); err != nil {
		return nil, nil, fmt.Errorf("reading kept evidence: %w", err)
	}
	for _, k := range kept {
		if k.Left {
			left = append(left, k.ID)
			continue
		}
		it := Item{
			ID: k.ID, Kind: k.Kind, MediaType: k.MediaType, SubjectDigest: k.SubjectDigest, Where: k.Where,
			Annotations: k.Annotations, Broken: k.Broken, Bytes: k.Bytes,
		}
		if k.Text != "" {
			it.Bytes = []byte(k.Text)
		}
		// What carries no signature has the id of what names it.
		if it.Broken == nil && it.Kind != KindUnsigned && Identify(it.Kind, it.Bytes, it.Annotations) != it.ID {
			return nil, nil, fmt.Errorf("reading kept evidence: %s is not the id of its bytes", it.ID)
		}
		items = append(items, it)
	}
	return items, left, nil
}
