package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// maxParamsDepth bounds how deep parameters and their schema nest.
const maxParamsDepth = 64

// checkParams validates the parameters against the bundle's schema.
func checkParams(ctx context.Context, raw json.RawMessage, schema []byte) (params any, digest string, err error) {
	if len(raw) == 0 {
		return nil, "", errors.New("are missing; give the parameters that the policy's schemas/params.json asks for")
	}
	if err := checkSchema(schema); err != nil {
		return nil, "", fmt.Errorf("%s: %w", paramsSchemaName, err)
	}
	if err := strictjson.Decode(raw, maxParamsDepth, &params); err != nil {
		return nil, "", err
	}
	if err := matchSchema(ctx, paramsSchemaName, raw, schema); err != nil {
		return nil, "", err
	}
	body, err := facts.Canonical(params)
	if err != nil {
		return nil, "", err
	}
	return params, facts.Digest(body), nil
}

// drafts are the versions of JSON Schema that parameters can be described in.
var drafts = []string{"http://json-schema.org/draft-04/schema", "http://json-schema.org/draft-06/schema", "http://json-schema.org/draft-07/schema"}

// checkSchema refuses what the validator would look for elsewhere, and what it
// would not understand and pass over: a schema stands alone, and is of draft 4,
// 6 or 7.
func checkSchema(body []byte) error {
	var schema map[string]any
	if err := strictjson.Decode(body, maxParamsDepth, &schema); err != nil {
		return err
	}
	return checkKeywords(schema)
}

func checkKeywords(at any) error {
	switch at := at.(type) {
	case []any:
		for _, v := range at {
			if err := checkKeywords(v); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, v := range at {
			if err := checkKeyword(key, v); err != nil {
				return err
			}
			if err := checkKeywords(v); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkKeyword(key string, v any) error {
	text, ok := v.(string)
	switch {
	case !ok: // a property of that name
		return nil
	case key == "$ref" && !strings.HasPrefix(text, "#"):
		return fmt.Errorf("refers to %s; a schema must stand alone", text)
	case key == "$schema" && !slices.Contains(drafts, strings.TrimSuffix(text, "#")):
		return fmt.Errorf("is written in %s; write draft 7 (%s#)", text, drafts[len(drafts)-1])
	}
	return nil
}

// matchSchema validates a document by the schema of that name. The validator is the one that OPA
// brings for its builtin json.match_schema, which no policy may call: it is linked
// in any case, and a second one would be paid for by every start of a command. The
// capabilities keep it off the network, should a reference get past checkSchema.
func matchSchema(ctx context.Context, name string, document, schema []byte) error {
	caps, err := capabilities()
	if err != nil {
		return err
	}
	match := topdown.GetBuiltin(ast.JSONMatchSchema.Name)
	if match == nil {
		return fmt.Errorf("OPA has no builtin %s", ast.JSONMatchSchema.Name)
	}
	var outcome *ast.Term
	err = match(topdown.BuiltinContext{Context: ctx, Capabilities: caps},
		[]*ast.Term{ast.StringTerm(string(document)), ast.StringTerm(string(schema))},
		func(t *ast.Term) error { outcome = t; return nil })
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return readOutcome(name, outcome)
}

// readOutcome reads [matches, problems]; anything but a clear true is an error.
func readOutcome(name string, outcome *ast.Term) error {
	var pair []json.RawMessage
	var matches bool
	var problems []struct {
		Error string `json:"error"`
		Field string `json:"field"`
		Desc  string `json:"desc"`
	}
	err := errors.New("no answer")
	if outcome != nil {
		err = decodePair(outcome, &pair)
	}
	if err == nil {
		err = errors.Join(json.Unmarshal(pair[0], &matches), json.Unmarshal(pair[1], &problems))
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: asking OPA: %w", name, err)
	case matches && len(problems) == 0:
		return nil
	}
	words := make([]string, 0, len(problems))
	mismatch := &mismatchError{}
	for _, p := range problems {
		words = append(words, p.Error)
		at := p.Field
		if root := "(root)"; len(at) >= len(root) && strings.EqualFold(at[:len(root)], root) {
			at = strings.TrimPrefix(at[len(root):], ".")
		}
		if name, ok := strings.CutPrefix(p.Desc, "Additional property "); ok { // it is said of what the property is in
			at = strings.TrimPrefix(at+"."+strings.TrimSuffix(name, " is not allowed"), ".")
		}
		mismatch.problems = append(mismatch.problems, ParamProblem{Path: at, Problem: p.Desc})
	}
	// That a part of allOf does not match is said beside why it does not.
	why := slices.DeleteFunc(slices.Clone(mismatch.problems), func(p ParamProblem) bool { return strings.HasSuffix(p.Problem, "(allOf)") })
	if len(why) > 0 {
		mismatch.problems = why
	}
	mismatch.text = fmt.Sprintf("do not match %s: %s", name, strings.Join(words, "; "))
	return mismatch
}

// ParamProblem is one place where parameters do not match their schema.
type ParamProblem struct {
	// Path is as in "limits.0.days"; "" is all of them.
	Path    string
	Problem string
}

// mismatchError says where a document does not match its schema.
type mismatchError struct {
	text     string
	problems []ParamProblem
}

func (e *mismatchError) Error() string { return e.text }

// ParamsError says that the parameters given to [Load] do not match the schema
// that the bundle has for them, and where.
type ParamsError struct {
	// Problems has at least one entry.
	Problems []ParamProblem
	err      error
}

func (e *ParamsError) Error() string { return "params: " + e.err.Error() }

// Unwrap gives what the schema's validator said.
func (e *ParamsError) Unwrap() error { return e.err }

// paramsError is err as the one of [Load]'s parameters.
func paramsError(err error) error {
	var mismatch *mismatchError
	if errors.As(err, &mismatch) && len(mismatch.problems) > 0 {
		return &ParamsError{Problems: mismatch.problems, err: err}
	}
	return fmt.Errorf("params: %w", err)
}

func decodePair(outcome *ast.Term, pair *[]json.RawMessage) error {
	value, err := ast.JSON(outcome.Value)
	if err != nil {
		return err
	}
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, pair); err != nil {
		return err
	}
	if len(*pair) != 2 {
		return fmt.Errorf("%d values, not two", len(*pair))
	}
	return nil
}
