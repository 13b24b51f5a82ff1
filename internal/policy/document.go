package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/rego"
)

// maxDocumentDepth bounds how deep an input from a file nests.
const maxDocumentDepth = 128

// Document is an input that came from a file, a test fixture for instance.
// Nothing in it was verified: it can be evaluated, and never be recorded, cached
// or answered with.
type Document struct{ in facts.Input }

// ParseDocument reads an input of the schema signet/input/v1, as "signet facts"
// prints it. limit caps its bytes. Errors wrap [ErrDocument] and name the field.
func ParseDocument(ctx context.Context, body []byte, limit int64) (Document, error) {
	var d Document
	if int64(len(body)) > limit {
		return d, fmt.Errorf("%w: %w: over %d bytes (limits.policy_input_bytes)", ErrDocument, ErrInputTooLarge, limit)
	}
	if err := strictjson.Decode(body, maxDocumentDepth, &d.in); err != nil {
		return Document{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	if err := matchSchema(ctx, "schemas/input.json", body, rego.InputSchema); err != nil {
		return Document{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return d, nil
}

// EvaluateDocument is [Set.Evaluate] for an input from a file.
func (s *Set) EvaluateDocument(ctx context.Context, d Document) (verdict.Result, error) {
	return s.Evaluate(ctx, &d.in)
}

// golden is an input whose outcome a bundle promises, whatever changes in it.
type golden struct {
	Name string `json:"name"`
	// Params are the parameters of this outcome; absent, those that the bundle is
	// loaded with.
	Params json.RawMessage `json:"params,omitempty"`
	Input  json.RawMessage `json:"input"`
	Allow  bool            `json:"allow"`
	// Codes are violations that must be among those found; a new rule adds its own.
	Codes []string `json:"codes"`
}

func parseGolden(body []byte) ([]golden, error) {
	var file struct {
		Golden []golden `json:"golden"`
	}
	if err := strictjson.Decode(body, maxDocumentDepth, &file); err != nil {
		return nil, err
	}
	if len(file.Golden) == 0 {
		return nil, errors.New("has no inputs; write at least one without evidence")
	}
	for i, g := range file.Golden {
		if g.Name == "" {
			return nil, fmt.Errorf("golden[%d]: name: is missing; say what the input is", i)
		}
	}
	return file.Golden, nil
}

// without says whether an input has no evidence at all.
func (d Document) without() bool {
	return len(d.in.Signatures) == 0 && len(d.in.Attestations) == 0 && len(d.in.Rejections) == 0
}

// checkGolden evaluates the inputs whose outcome the bundle promises.
func (s *Set) checkGolden(ctx context.Context, c *contents) error {
	if len(c.golden) == 0 {
		return nil
	}
	without := false
	for _, g := range c.golden {
		d, err := s.checkOne(ctx, c, g)
		if err != nil {
			return fmt.Errorf("%s: %q: %w", goldenName, g.Name, err)
		}
		without = without || d.without()
	}
	if !without {
		return fmt.Errorf("%s: none of the inputs is without evidence; add one, which the policy must deny", goldenName)
	}
	return nil
}

func (s *Set) checkOne(ctx context.Context, c *contents, g golden) (Document, error) {
	d, err := ParseDocument(ctx, g.Input, s.limits.PolicyInputBytes)
	if err != nil {
		return d, err
	}
	set := s
	if g.Params != nil {
		if set, err = s.withParams(ctx, c, g.Params); err != nil {
			return d, err
		}
	}
	result, err := set.EvaluateDocument(ctx, d)
	if err != nil {
		return d, err
	}
	codes := []string{}
	for _, v := range result.Violations {
		codes = append(codes, v.Code)
	}
	lacking := slices.ContainsFunc(g.Codes, func(code string) bool { return !slices.Contains(codes, code) })
	if result.Allow != g.Allow || lacking {
		return d, fmt.Errorf("allow is %v with the violations %q; promised is %v with %q", result.Allow, codes, g.Allow, g.Codes)
	}
	return d, nil
}

// withParams is the same policy with other parameters, compiled no second time.
func (s *Set) withParams(ctx context.Context, c *contents, raw json.RawMessage) (*Set, error) {
	params, digest, err := checkParams(ctx, raw, c.paramsSchema)
	if err != nil {
		return nil, fmt.Errorf("params: %w", err)
	}
	caps, err := capabilities()
	if err != nil {
		return nil, err
	}
	other := &Set{
		name: s.name, manifest: s.manifest, digest: s.digest, paramsDigest: digest, limits: s.limits,
		ready: s.ready, compiler: s.compiler,
	}
	other.query, err = prepare(ctx, s.compiler, caps, c.dataWith(params))
	return other, err
}

// dataWith is the data document with the parameters mounted.
func (c *contents) dataWith(params any) map[string]any {
	data := map[string]any{"params": params}
	maps.Copy(data, c.data)
	return data
}
