package projection

import (
	"slices"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// OpenVEX (https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md), v0.0.1 and
// v0.2.0, in which vulnerabilities and products became objects.
var (
	openvexNames          = strictjson.NewNames("@context", "statements", "timestamp", "last_updated", "author", "tooling")
	openvexStatementNames = strictjson.NewNames("vulnerability", "products", "status", "justification", "timestamp", "last_updated", "subcomponents")
	openvexVulnNames      = strictjson.NewNames("@id", "name", "aliases")
	openvexProductNames   = strictjson.NewNames("@id", "identifiers", "subcomponents")
	openvexIDNames        = strictjson.NewNames("purl")
	openvexStatus         = []string{"not_affected", "affected", "fixed", "under_investigation"}
)

func readOpenVEX(r *reader) error {
	said := false
	var made, updated *time.Time
	if err := r.Object(openvexNames, func(key string) (err error) {
		switch key {
		case "statements":
			said = true
			return r.list(r.openvexStatement)
		case "timestamp":
			made, err = r.when()
		case "last_updated":
			updated, err = r.when()
		case "author":
			return r.into(&r.tool().Name)
		case "tooling":
			return r.into(&r.tool().Version)
		}
		return err
	}); err != nil {
		return err
	}
	if !said {
		return unknownForm("OpenVEX")
	}
	r.out.Kind, r.out.MadeAt = facts.ProjectionVEX, made
	if updated != nil {
		r.out.MadeAt = updated
	}
	// "If the statement has no timestamp, it inherits the document's."
	for i := range r.out.Statements {
		if r.out.Statements[i].Timestamp == nil {
			r.out.Statements[i].Timestamp = made
		}
	}
	return nil
}

func (r *reader) openvexStatement() error {
	v := facts.VEXStatement{Aliases: []string{}, Products: []string{}}
	var made, updated *time.Time
	var parts []string
	if err := r.Object(openvexStatementNames, func(key string) (err error) {
		switch key {
		case "vulnerability":
			return r.openvexVulnerability(&v)
		case "products":
			return r.openvexProducts(&v.Products)
		case "subcomponents": // v0.0.1 had them beside the products
			return r.openvexProducts(&parts)
		case "status":
			return r.into(&v.Status)
		case "justification":
			return r.into(&v.Justification)
		case "timestamp":
			made, err = r.when()
		case "last_updated":
			updated, err = r.when()
		}
		return err
	}); err != nil {
		return err
	}
	switch {
	case v.Vulnerability == "":
		return r.Wrong("a statement that names no vulnerability")
	case !slices.Contains(openvexStatus, v.Status):
		return r.Wrong("a statement with the status %q, which is none of not_affected, affected, fixed and under_investigation", clip(v.Status))
	}
	if len(parts) > 0 {
		v.Products = parts
	}
	if v.Timestamp = made; updated != nil {
		v.Timestamp = updated
	}
	if r.keep(v) {
		r.out.Statements = append(r.out.Statements, v)
	}
	return nil
}

// openvexVulnerability reads a name, or an object with a name and aliases. An object
// without a name is named by its @id.
func (r *reader) openvexVulnerability(v *facts.VEXStatement) error {
	if r.Kind() == strictjson.KindString {
		return r.into(&v.Vulnerability)
	}
	id := ""
	err := r.Object(openvexVulnNames, func(key string) error {
		switch key {
		case "@id":
			return r.into(&id)
		case "name":
			return r.into(&v.Vulnerability)
		}
		aliases, err := r.texts()
		v.Aliases = append(v.Aliases, aliases...)
		return err
	})
	if v.Vulnerability == "" {
		v.Vulnerability = id
	}
	return err
}

// openvexProducts reads products: strings, or objects with an id, a package URL and
// parts. A product whose parts are named stands for these alone: of the rest of it
// nothing was said. One that is named by nothing that we read (a CPE, hashes) is
// [facts.ProductUnnamed], never left out: a list without entries would speak of
// the whole image, and parts without any of the whole product.
func (r *reader) openvexProducts(to *[]string) error {
	size := 0
	add := func(id string) error {
		if size += len(id) + 16; size > longestTexts {
			return r.Wrong("a statement about products with more than %d bytes", longestTexts)
		}
		*to = append(*to, id)
		return nil
	}
	return r.list(func() error {
		if r.Kind() == strictjson.KindString {
			id, err := r.text()
			if err != nil {
				return err
			}
			return add(id)
		}
		var id, purl string
		var parts []string
		if err := r.Object(openvexProductNames, func(key string) error {
			switch key {
			case "@id":
				return r.into(&id)
			case "identifiers":
				return r.object(openvexIDNames, func(string) error { return r.into(&purl) })
			}
			return r.openvexProducts(&parts)
		}); err != nil {
			return err
		}
		if len(parts) == 0 {
			parts = slices.DeleteFunc(slices.Compact([]string{id, purl}), func(s string) bool { return s == facts.ProductUnnamed })
		}
		if len(parts) == 0 {
			parts = []string{facts.ProductUnnamed}
		}
		for _, p := range parts {
			if err := add(p); err != nil {
				return err
			}
		}
		return nil
	})
}
