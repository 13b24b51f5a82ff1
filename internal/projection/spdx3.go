package projection

import (
	"strings"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// spdx3 is the graph of an SPDX 3 document
// (https://spdx.github.io/spdx-spec/v3.0.1/): licences are elements of their own,
// and relationships say whose they are, so both are held until the graph's end.
type spdx3 struct {
	packages []spdx3Package
	licences map[string]string // expressions, by the element's id
	of       []spdx3Relation
}

type spdx3Package struct {
	id string
	facts.Package
}

type spdx3Relation struct {
	from string
	to   []string
}

var (
	spdx3Names = strictjson.NewNames("type", "spdxId", "name", "created", "createdUsing",
		"software_packageVersion", "software_packageUrl", "externalIdentifier",
		"relationshipType", "from", "to", "simplelicensing_licenseExpression")
	spdx3IdentifierNames = strictjson.NewNames("externalIdentifierType", "identifier")
)

// spdx3Element is one element, whatever its type: the type may come last.
type spdx3Element struct {
	kind, id, name, version, purl  string
	relationship, from, expression string
	to                             []string
}

func (b *sbom) spdx3Graph() error {
	b.v3.licences = map[string]string{}
	if err := b.list(b.spdx3Element); err != nil {
		return err
	}
	of := map[string][]string{}
	for _, rel := range b.v3.of {
		for _, to := range rel.to {
			of[rel.from] = append(of[rel.from], b.spdx3Licence(to))
		}
	}
	for _, p := range b.v3.packages {
		p.Licences = of[p.id]
		b.add(p.Package)
	}
	b.v3 = spdx3{}
	return nil
}

// spdx3Licence is the expression of an element. The licences of the SPDX list need
// no element; one that is not in the document is named as it is.
func (b *sbom) spdx3Licence(id string) string {
	if l, ok := b.v3.licences[id]; ok {
		return l
	}
	for _, list := range []string{"https://spdx.org/licenses/", "http://spdx.org/licenses/"} {
		if l, ok := strings.CutPrefix(id, list); ok && l != "" {
			return l
		}
	}
	switch id[strings.LastIndexAny(id, "/#")+1:] {
	case "NoAssertion", "NoAssertionLicense", "NoneLicense", "None", "expandedlicensing_NoAssertionLicense", "expandedlicensing_NoneLicense":
		return ""
	}
	return id
}

func (b *sbom) spdx3Element() error {
	var e spdx3Element
	if err := b.Object(spdx3Names, func(key string) (err error) {
		switch key {
		case "type":
			return b.into(&e.kind)
		case "spdxId":
			return b.into(&e.id)
		case "name":
			return b.into(&e.name)
		case "created":
			// Each element may have been made at a time of its own: the document is
			// as old as its oldest part.
			at, err := b.when()
			if at != nil && (b.out.MadeAt == nil || at.Before(*b.out.MadeAt)) {
				b.out.MadeAt = at
			}
			return err
		case "software_packageVersion":
			return b.into(&e.version)
		case "software_packageUrl":
			return b.into(&e.purl)
		case "externalIdentifier":
			return b.spdx3Identifiers(&e)
		case "relationshipType":
			return b.into(&e.relationship)
		case "from":
			return b.into(&e.from)
		case "to":
			e.to, err = b.texts()
			return err
		case "simplelicensing_licenseExpression":
			return b.into(&e.expression)
		}
		return nil
	}); err != nil {
		return err
	}
	switch {
	case e.kind == "software_Package":
		if e.name == "" {
			return b.Wrong("a package without a name")
		}
		if b.hold(e.id, e.name, e.version, e.purl) {
			b.v3.packages = append(b.v3.packages, spdx3Package{e.id, facts.Package{Name: e.name, Version: e.version, PURL: e.purl}})
		}
	case e.kind == "simplelicensing_LicenseExpression" && b.hold(e.id, e.expression):
		b.v3.licences[e.id] = e.expression
	case strings.HasSuffix(e.kind, "License") && b.hold(e.id, e.name):
		// expandedlicensing_ListedLicense, expandedlicensing_CustomLicense.
		if e.name != "" && b.spdx3Licence(e.id) == e.id {
			b.v3.licences[e.id] = e.name
		}
	case e.relationship == "hasConcludedLicense" || e.relationship == "hasDeclaredLicense":
		if b.hold(append(e.to, e.from)...) {
			b.v3.of = append(b.v3.of, spdx3Relation{e.from, e.to})
		}
	case e.kind == "Tool" && b.out.Tool == nil:
		b.spdxCreator("Tool: " + e.name)
	}
	return nil
}

func (b *sbom) spdx3Identifiers(e *spdx3Element) error {
	return b.list(func() error {
		var kind, id string
		err := b.Object(spdx3IdentifierNames, func(key string) error {
			if key == "identifier" {
				return b.into(&id)
			}
			return b.into(&kind)
		})
		if (kind == "packageUrl" || kind == "packageURL" || kind == "purl") && e.purl == "" {
			e.purl = id
		}
		return err
	})
}
