package provenance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// The predicate types that are SLSA provenance
// (https://slsa.dev/provenance/v0.1, v0.2 and v1).
const (
	TypeV01 = "https://slsa.dev/provenance/v0.1"
	TypeV02 = "https://slsa.dev/provenance/v0.2"
	TypeV1  = "https://slsa.dev/provenance/v1"
)

// MaxBytes bounds what [Parse] gives, encoded as JSON. The predicate may be
// larger: build steps and environments do not go into the one shape.
const MaxBytes = 1 << 20

// maxDepth is far more than provenance nests.
const maxDepth = 128

// ErrTooLarge says that parameters and materials together are over [MaxBytes].
var ErrTooLarge = errors.New("provenance too large")

// Known says whether a predicate type is SLSA provenance of a version that we know.
func Known(predicateType string) bool {
	return predicateType == TypeV01 || predicateType == TypeV02 || predicateType == TypeV1
}

// Parse gives the provenance in a predicate, or nil where the predicate type is
// not SLSA provenance of a version that we know. Keys count in their exact
// letter case, and duplicate keys, values of the wrong type and an oversized
// result ([ErrTooLarge]) are errors.
func Parse(predicateType string, predicate []byte) (*facts.Provenance, error) {
	var read func([]byte) (*facts.Provenance, error)
	switch predicateType {
	case TypeV01:
		read = readV01
	case TypeV02:
		read = readV02
	case TypeV1:
		read = readV1
	default:
		return nil, nil
	}
	if len(predicate) == 0 || string(bytes.TrimSpace(predicate)) == "null" {
		return nil, fmt.Errorf("the predicate of %s is empty", predicateType)
	}
	p, err := read(predicate)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding provenance: %w", err)
	}
	if len(body) > MaxBytes {
		return nil, fmt.Errorf("%w: parameters and materials are %d bytes, more than %d", ErrTooLarge, len(body), MaxBytes)
	}
	return p, nil
}

// resource is a material (v0.1, v0.2) or a resource descriptor (v1).
type resource struct {
	Name   string            `json:"name"`
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

type builder struct {
	ID string `json:"id"`
}

// metadata knows both spellings of each identifier.
type metadata struct {
	BuildInvocationID      string `json:"buildInvocationId"`
	BuildInvocationIDUpper string `json:"buildInvocationID"`
	InvocationID           string `json:"invocationId"`
	InvocationIDUpper      string `json:"invocationID"`
}

func oneOf(field, a, b string) (string, error) {
	switch {
	case a == "":
		return b, nil
	case b == "" || a == b:
		return a, nil
	}
	return "", fmt.Errorf("metadata has two different values for %s: %q and %q", field, a, b)
}

// decode reads JSON, and says which field is of the wrong type in the words of
// JSON.
func decode(b []byte, v any) error {
	err := strictjson.DecodeKnown(b, maxDepth, v)
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	field := wrong.Field
	if field == "" {
		field = "the document"
	}
	want := "an object"
	switch wrong.Type.Kind() {
	case reflect.String:
		want = "a string"
	case reflect.Slice:
		want = "an array"
	case reflect.Int:
		want = "an integer"
	}
	return fmt.Errorf("%s is of type %s and should be %s", field, wrong.Value, want)
}

// readV01 reads https://slsa.dev/provenance/v0.1.
func readV01(predicate []byte) (*facts.Provenance, error) {
	var d struct {
		Builder builder `json:"builder"`
		Recipe  struct {
			Type              string          `json:"type"`
			DefinedInMaterial *int            `json:"definedInMaterial"`
			Arguments         json.RawMessage `json:"arguments"`
		} `json:"recipe"`
		Metadata  metadata   `json:"metadata"`
		Materials []resource `json:"materials"`
	}
	if err := decode(predicate, &d); err != nil {
		return nil, fmt.Errorf("reading provenance v0.1: %w", err)
	}
	id, err := oneOf("buildInvocationId", d.Metadata.BuildInvocationID, d.Metadata.BuildInvocationIDUpper)
	if err != nil {
		return nil, err
	}
	return shape("v0.1", d.Builder.ID, d.Recipe.Type, id, d.Recipe.Arguments, d.Materials, sourceV01(d.Recipe.Type, d.Recipe.DefinedInMaterial, d.Materials))
}

// readV02 reads https://slsa.dev/provenance/v0.2.
func readV02(predicate []byte) (*facts.Provenance, error) {
	var d struct {
		Builder    builder `json:"builder"`
		BuildType  string  `json:"buildType"`
		Invocation struct {
			ConfigSource resource        `json:"configSource"`
			Parameters   json.RawMessage `json:"parameters"`
		} `json:"invocation"`
		Metadata  metadata   `json:"metadata"`
		Materials []resource `json:"materials"`
	}
	if err := decode(predicate, &d); err != nil {
		return nil, fmt.Errorf("reading provenance v0.2: %w", err)
	}
	id, err := oneOf("buildInvocationId", d.Metadata.BuildInvocationID, d.Metadata.BuildInvocationIDUpper)
	if err != nil {
		return nil, err
	}
	return shape("v0.2", d.Builder.ID, d.BuildType, id, d.Invocation.Parameters, d.Materials, sourceV02(d.BuildType, d.Invocation.ConfigSource, d.Materials))
}

// readV1 reads https://slsa.dev/provenance/v1.
func readV1(predicate []byte) (*facts.Provenance, error) {
	var d struct {
		BuildDefinition struct {
			BuildType            string          `json:"buildType"`
			ExternalParameters   json.RawMessage `json:"externalParameters"`
			ResolvedDependencies []resource      `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Builder  builder  `json:"builder"`
			Metadata metadata `json:"metadata"`
		} `json:"runDetails"`
	}
	if err := decode(predicate, &d); err != nil {
		return nil, fmt.Errorf("reading provenance v1: %w", err)
	}
	def := d.BuildDefinition
	id, err := oneOf("invocationId", d.RunDetails.Metadata.InvocationID, d.RunDetails.Metadata.InvocationIDUpper)
	if err != nil {
		return nil, err
	}
	source, err := sourceV1(def.BuildType, def.ExternalParameters, def.ResolvedDependencies)
	if err != nil {
		return nil, err
	}
	return shape("v1", d.RunDetails.Builder.ID, def.BuildType, id, def.ExternalParameters, def.ResolvedDependencies, source)
}

func shape(version, builderID, buildType, invocationID string, parameters json.RawMessage, materials []resource, source facts.Source) (*facts.Provenance, error) {
	p := &facts.Provenance{
		SLSAVersion: version, BuilderID: builderID, BuildType: buildType, InvocationID: invocationID,
		Source: source, Materials: make([]facts.Material, len(materials)),
	}
	for i, m := range materials {
		p.Materials[i] = facts.Material{URI: m.URI, Digest: orEmpty(m.Digest)}
	}
	p.Source.Digest = orEmpty(p.Source.Digest)
	// The facts are hashed: white space must not depend on how often they were stored.
	var b bytes.Buffer
	if parameters == nil {
		parameters = json.RawMessage("null")
	}
	if err := json.Compact(&b, parameters); err != nil {
		return nil, fmt.Errorf("reading the parameters of the build: %w", err)
	}
	p.Parameters = b.Bytes()
	return p, nil
}

func orEmpty(d map[string]string) map[string]string {
	if d == nil {
		return map[string]string{}
	}
	return d
}
