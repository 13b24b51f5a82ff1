package projection

import (
	"strings"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// SPDX 2.2 and 2.3 (https://spdx.github.io/spdx-spec/v2.3/). Files, snippets and
// relationships are not read.
var (
	spdx2CreationNames = strictjson.NewNames("created", "creators")
	spdx2PackageNames  = strictjson.NewNames("name", "versionInfo", "licenseConcluded", "licenseDeclared", "externalRefs")
)

func (b *sbom) spdx2Creation() error {
	return b.object(spdx2CreationNames, func(key string) (err error) {
		if key == "created" {
			b.out.MadeAt, err = b.when()
			return err
		}
		creators, err := b.texts()
		for _, c := range creators {
			b.spdxCreator(c)
		}
		return err
	})
}

// spdxCreator takes the first tool: "Tool: syft-1.2.3".
func (b *sbom) spdxCreator(creator string) {
	name, ok := strings.CutPrefix(creator, "Tool:")
	if !ok || b.out.Tool != nil {
		return
	}
	t := b.tool()
	t.Name = strings.TrimSpace(name)
	if i := strings.LastIndexByte(t.Name, '-'); i > 0 && strings.ContainsAny(t.Name[i+1:], "0123456789") {
		t.Name, t.Version = t.Name[:i], t.Name[i+1:]
	}
}

func (b *sbom) spdx2Packages() error {
	return b.list(func() error {
		var p facts.Package
		if err := b.Object(spdx2PackageNames, func(key string) error {
			switch key {
			case "name":
				return b.into(&p.Name)
			case "versionInfo":
				return b.into(&p.Version)
			case "externalRefs":
				return b.spdx2Refs(&p)
			}
			l, err := b.text()
			p.Licences = append(p.Licences, l)
			return err
		}); err != nil {
			return err
		}
		if p.Name == "" {
			return b.Wrong("a package without a name")
		}
		b.add(p)
		return nil
	})
}

// spdx2Refs takes the first package URL.
func (b *sbom) spdx2Refs(p *facts.Package) error {
	names := strictjson.NewNames("referenceType", "referenceLocator")
	return b.list(func() error {
		var kind, locator string
		err := b.Object(names, func(key string) error {
			if key == "referenceType" {
				return b.into(&kind)
			}
			return b.into(&locator)
		})
		if kind == "purl" && p.PURL == "" {
			p.PURL = locator
		}
		return err
	})
}
