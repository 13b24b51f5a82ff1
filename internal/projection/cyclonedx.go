package projection

import (
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// CycloneDX 1.4 to 1.6 (https://cyclonedx.org/docs/1.6/json/). What the document
// is about (metadata.component) is no component of itself; what is in it is.
var (
	cyclonedxMetadataNames  = strictjson.NewNames("timestamp", "tools", "component")
	cyclonedxAboutNames     = strictjson.NewNames("components")
	cyclonedxToolsNames     = strictjson.NewNames("components")
	cyclonedxComponentNames = strictjson.NewNames("name", "group", "version", "purl", "licenses", "components")
)

func (b *sbom) cyclonedxMetadata() error {
	return b.object(cyclonedxMetadataNames, func(key string) (err error) {
		switch key {
		case "timestamp":
			b.out.MadeAt, err = b.when()
			return err
		case "component":
			return b.object(cyclonedxAboutNames, func(string) error { return b.cyclonedxComponents() })
		}
		if b.Kind() == strictjson.KindArray { // until 1.4, and still allowed
			return b.Array(b.cyclonedxTool)
		}
		return b.object(cyclonedxToolsNames, func(string) error { return b.list(b.cyclonedxTool) })
	})
}

// cyclonedxTool takes the first.
func (b *sbom) cyclonedxTool() error {
	var t facts.Tool
	err := b.Object(strictjson.NewNames("name", "version"), func(key string) error {
		if key == "name" {
			return b.into(&t.Name)
		}
		return b.into(&t.Version)
	})
	if b.out.Tool == nil {
		b.out.Tool = &t
	}
	return err
}

func (b *sbom) cyclonedxComponents() error { return b.list(b.cyclonedxComponent) }

func (b *sbom) cyclonedxComponent() error {
	var p facts.Package
	var group string
	if err := b.Object(cyclonedxComponentNames, func(key string) error {
		switch key {
		case "name":
			return b.into(&p.Name)
		case "group":
			return b.into(&group)
		case "version":
			return b.into(&p.Version)
		case "purl":
			return b.into(&p.PURL)
		case "licenses":
			return b.cyclonedxLicences(&p)
		}
		return b.cyclonedxComponents()
	}); err != nil {
		return err
	}
	if p.Name == "" {
		return b.Wrong("a component without a name")
	}
	if group != "" {
		p.Name = group + "/" + p.Name
	}
	b.add(p)
	return nil
}

// cyclonedxLicences reads choices between {"license": {"id" | "name"}} and
// {"expression"}. The text of a licence may be large and is skipped.
func (b *sbom) cyclonedxLicences(p *facts.Package) error {
	names, inner := strictjson.NewNames("license", "expression"), strictjson.NewNames("id", "name")
	return b.list(func() error {
		var id, name, expression string
		err := b.Object(names, func(key string) error {
			if key == "expression" {
				return b.into(&expression)
			}
			return b.object(inner, func(key string) error {
				if key == "id" {
					return b.into(&id)
				}
				return b.into(&name)
			})
		})
		if id == "" {
			id = name
		}
		if p.Licences = append(p.Licences, id, expression); len(p.Licences) > longestTexts/64 {
			return b.Wrong("a component with %d licences", len(p.Licences))
		}
		return err
	})
}
