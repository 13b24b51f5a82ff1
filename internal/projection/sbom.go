package projection

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// form is a form of a bill of materials.
type form string

const (
	formSPDX2     form = "SPDX 2"
	formSPDX3     form = "SPDX 3"
	formCycloneDX form = "CycloneDX"
)

// sbom is a bill of materials while it is read. Its form is only known when its
// fields were seen, in any order; the fields of the forms differ.
type sbom struct {
	*reader
	is   form
	said form // by the field that is there for it
	v3   spdx3
}

var sbomNames = strictjson.NewNames(
	"Data",                                    // cosign's wrapper
	"spdxVersion", "creationInfo", "packages", // SPDX 2
	"@context", "@graph", // SPDX 3
	"bomFormat", "specVersion", "metadata", "components", // CycloneDX
)

// readSBOM reads a bill of materials in one of some forms.
func readSBOM(r *reader, forms ...form) error {
	b := &sbom{reader: r}
	if err := b.read(); err != nil {
		return err
	}
	if !slices.Contains(forms, b.said) || b.is != "" && b.is != b.said {
		names := make([]string, len(forms))
		for i, f := range forms {
			names[i] = string(f)
		}
		return unknownForm(strings.Join(names, " or "))
	}
	r.out.Kind = facts.ProjectionSBOM
	return nil
}

// readCustom reads what cosign attests under its type for anything: a bill of
// materials, or something else that is none of our business.
func readCustom(r *reader) error {
	b := &sbom{reader: r}
	err := b.read()
	switch {
	case b.said == "":
		// Whether it is valid JSON was looked at where the statement was read; text
		// that was wrapped need not be JSON at all.
		return nil
	case err != nil:
		return err
	}
	r.out.Kind = facts.ProjectionSBOM
	return nil
}

// read reads an object, or a string with an object in it.
func (b *sbom) read() error {
	switch b.Kind() {
	case strictjson.KindString:
		return b.unwrap()
	case strictjson.KindObject:
		return b.Object(sbomNames, b.field)
	}
	return b.Wrong("it is %s and should be an object", b.Kind())
}

var errText = errors.New("the document is text that is not JSON: only the JSON form is read")

// unwrap reads JSON that stands in a string.
func (b *sbom) unwrap() error {
	text, err := b.Text()
	if err != nil {
		return err
	}
	in := bufio.NewReader(text)
	for {
		c, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			return errText
		}
		if err != nil {
			return err
		}
		if strings.IndexByte(" \t\r\n", c) >= 0 {
			continue
		}
		if c != '{' {
			return errText
		}
		if err := in.UnreadByte(); err != nil {
			return err
		}
		break
	}
	outer := b.reader
	b.reader = b.within(in)
	defer func() { b.reader = outer }()
	if err := b.Object(sbomNames, b.field); err != nil {
		return err
	}
	return b.End()
}

func (b *sbom) field(key string) error {
	switch key {
	case "Data":
		switch b.Kind() {
		case strictjson.KindString:
			return b.unwrap()
		case strictjson.KindObject:
			return b.Object(sbomNames, b.field)
		}
		return nil
	case "spdxVersion":
		v, err := b.text()
		if err == nil && strings.HasPrefix(v, "SPDX-2.") {
			b.said = formSPDX2
		}
		return err
	case "creationInfo":
		b.is = formSPDX2
		return b.spdx2Creation()
	case "packages":
		b.is = formSPDX2
		return b.spdx2Packages()
	case "@context":
		// One of the contexts of SPDX 3, alone or in a list.
		raw, err := b.Raw(largestPart)
		if err == nil && strings.Contains(string(raw), "spdx.org/rdf/3.") {
			b.said = formSPDX3
		}
		return err
	case "@graph":
		b.is = formSPDX3
		return b.spdx3Graph()
	case "bomFormat":
		v, err := b.text()
		if err == nil && v == "CycloneDX" {
			b.said = formCycloneDX
		}
		return err
	case "metadata":
		b.is = formCycloneDX
		return b.cyclonedxMetadata()
	case "components":
		b.is = formCycloneDX
		return b.cyclonedxComponents()
	}
	return nil
}

// add keeps a package.
func (b *sbom) add(p facts.Package) {
	p.Licences = licences(p.Licences)
	if b.keep(p) {
		b.out.Packages = append(b.out.Packages, p)
	}
}

// licences drops what says nothing, and what is there already.
func licences(in []string) []string {
	out := []string{}
	for _, l := range in {
		if l = strings.TrimSpace(l); l != "" && l != "NOASSERTION" && l != "NONE" && !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}
