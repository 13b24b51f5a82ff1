package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/facts"
)

// table is a table as a backup has it, the same for both databases.
type table struct {
	name    string
	columns []column
	// order makes it the same for both.
	order string
}

type column struct{ name, kind string }

// The kinds of columns. All but text and integer are kept in two ways.
const (
	kindText    = "text"
	kindShown   = "shown" // text from outside, see printable
	kindInteger = "integer"
	kindBoolean = "boolean"
	kindTime    = "time"  // RFC 3339 with microseconds
	kindJSON    = "json"  // any JSON
	kindBytes   = "bytes" // base64
)

// tables are all tables, those first that others refer to. Leases are of
// processes that are no more.
func tables() []table {
	const history = "id name from_revision:integer until_revision:integer body"
	var list []table
	for _, t := range []struct{ name, order, columns string }{
		{"active", "one", "one:integer revision:integer digest"},
		{"inputs", "kind", "kind digest"},
		{"revisions", "revision", "revision:integer digest inputs:json at:time"},
		{"trusted_signers", "id", `id name signer_type oidc_issuer subject_kind subject_pattern public_key kms_key_ref
			fingerprints:json claims:json images:json enabled:boolean not_before:time expires_at:time signed_from:time signed_until:time
			owner note created_by created_at:time updated_by updated_at:time version:integer trust_roots:json auto_rotate:boolean digest`},
		{"signer_history", "id, from_revision", history},
		{"tokens", "id", `id name role hash:bytes created_by created_at:time expires_at:time revoked_at:time last_used_at:time
			team images:json sources:json`},
		{"setup", "one", "one:integer token_id hash:bytes created_at:time expires_at:time used_at:time"},
		{"secret", "one", "one:integer value:bytes created_at:time"},
		{"policies", "name", "name source owner body digest created_by created_at:time updated_by updated_at:time version:integer"},
		{"policy_history", "id, from_revision", history},
		{"trust_roots", "name", `name source position:integer kind digest requires:json images:json tuf_url target tuf_metadata refreshed_at:time
			created_by created_at:time updated_by updated_at:time version:integer`},
		{"root_history", "id, from_revision", history},
		{"bundles", "name", `name source owner location keys:json scope digest policy_digest revision sequence:integer highest_sequence:integer
			signed_by validator activated_at:time created_by created_at:time updated_by updated_at:time version:integer`},
		{"bundle_history", "id, from_revision", history},
		{"gateways", "name", "name source kind value image note created_by created_at:time updated_by updated_at:time version:integer"},
		{"bundle_drafts", "name", "name owner base files created_by created_at:time updated_by updated_at:time version:integer"},
		{"upkeep", "kind, key", "kind key checked_at:time error detail:json"},
		{"objects", "kind, digest", "kind digest encoding size:integer body:bytes created_at:time"},
		{"facts", "digest", "digest encoding size:integer body:bytes created_at:time"},
		{"evidence", "digest", "digest encoding size:integer body:bytes created_at:time"},
		{"signature_verifications", "id", `id assessment_id:shown image_ref:shown image_name:shown image_digest:shown
			signature_found:boolean signature_valid:boolean signer_identity:shown signer_issuer:shown signed_at:time
			slsa_level:integer slsa_builder:shown verification_error:shown created_at:time decision allowed:boolean reasons:json
			principal:shown labels:json facts_digest active_revision:integer active_digest build frames:bytes verdict:bytes repeats basis:bytes evidence_digest`},
		{"verification_signers", "signer, created_at, verification_id", "signer created_at:time verification_id signer_id"},
		{"signer_digests", "signer_id, image_digest, image_name", "signer_id image_digest:shown image_name:shown created_at:time verification_id image_ref:shown signed_at:time count:integer"},
		{"verdict_uses", "verification_id, principal, minute", "verification_id principal:shown minute:time count:integer"},
		{"shadow_verdicts", "verification_id, policy", `verification_id policy digest params_digest decision shadow_of compared_with
			agrees:boolean reasons:json image_ref:shown image_name:shown created_at:time`},
		{"watched", "id", `id image_ref:shown image_name:shown digest:shown platform:shown context:json roles:json environment:shown listed listed_by:shown
			decision allowed:boolean verdict_id reasons:json signers:json decided_at:time decided_key decided_revision:integer
			state_key unknown_since:time unknown_told:boolean unknown_reasons:json refreshed_at:time boundary_at:time due_at:time asked_at:time
			principals:json version:integer`},
		{"watched_signers", "signer, watched_id", "signer watched_id"},
		{"watch_marks", "kind, key", "kind key at:time"},
		{"events", "id", "id at:time kind image_ref:shown image_name:shown digest:shown environment:shown before after verdict_id body"},
		{"deliveries", "webhook, id", "webhook id kind body:bytes created_at:time attempts:integer next_at:time error:shown"},
		{"verdict_requests", "id", `id principal:shown role images:json image_ref:shown image_name:shown platform:shown context:json refresh:boolean
			assessment_id:shown labels:json state attempts:integer created_at:time next_at:time claimant claimed_until:time message:shown
			decision verdict_id verdict:bytes finished_at:time token_id`},
		{"audit", "seq", "seq:integer at:time actor origin action object before after why revision:integer prev_hash hash"},
	} {
		var columns []column
		for _, c := range strings.Fields(t.columns) {
			name, kind, found := strings.Cut(c, ":")
			if !found {
				kind = kindText
			}
			columns = append(columns, column{name, kind})
		}
		list = append(list, table{t.name, columns, t.order})
	}
	return list
}

func (t table) names() string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// portable is a value, as a database has it, in the form of a backup.
func (c column) portable(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	switch c.kind {
	case kindText, kindShown:
		if s, ok := v.(string); ok {
			if c.kind == kindShown {
				s = printable(s)
			}
			return s, nil
		}
	case kindInteger:
		if n, ok := v.(int64); ok {
			return n, nil
		}
	case kindBoolean:
		switch b := v.(type) {
		case bool:
			return b, nil
		case int64:
			return b != 0, nil
		}
	case kindTime:
		var t time.Time
		if err := (timeColumn{&t}).Scan(v); err != nil {
			return nil, err
		}
		return formatTime(t), nil
	case kindJSON:
		var raw json.RawMessage
		if err := (canonicalColumn{&raw}).Scan(v); err != nil {
			return nil, err
		}
		return json.RawMessage(printableJSON(string(raw))), nil
	case kindBytes:
		if b, ok := v.([]byte); ok {
			return b, nil // base64 by encoding/json
		}
	}
	return nil, fmt.Errorf("%w: column %s is kept as %T", ErrCorrupt, c.name, v)
}

// native is a value of a backup as both databases take it.
func (c column) native(raw json.RawMessage) (any, error) {
	if string(raw) == "null" {
		return nil, nil
	}
	switch c.kind {
	case kindText, kindShown:
		return decoded[string](c, raw)
	case kindInteger:
		return decoded[int64](c, raw)
	case kindBoolean:
		return decoded[bool](c, raw)
	case kindTime:
		text, err := decoded[string](c, raw)
		if err != nil {
			return nil, err
		}
		if _, err := time.Parse(timeLayout, text); err != nil {
			return nil, fmt.Errorf("%w: column %s: %q is not a time", ErrInvalid, c.name, text)
		}
		return text, nil
	case kindJSON:
		b, err := facts.Canonical(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: column %s: %w", ErrInvalid, c.name, err)
		}
		return string(b), nil
	default:
		return decoded[[]byte](c, raw)
	}
}

func decoded[T any](c column, raw json.RawMessage) (v T, err error) {
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("%w: column %s: %w", ErrInvalid, c.name, err)
	}
	return v, nil
}
