package policy

import (
	"context"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Entrypoints of OPA that decide about events of a decision log
// (https://www.openpolicyagent.org/docs/management-decision-logs).
const (
	logPackage = "data.system.log"
	maskRule   = "mask"
	dropRule   = "drop"
)

// LogMask decides what of a decision log's events is left out, by the rules that
// OPA asks: data.system.log.mask and data.system.log.drop. It has the builtins of
// policies and no others: no network, no clock.
type LogMask struct {
	mask, drop *opa.PreparedEvalQuery // nil: there is no such rule
	limit      time.Duration
}

// LoadLogMask compiles a module, called name in errors, which wrap [ErrLoad]. Limit
// bounds one evaluation.
func LoadLogMask(ctx context.Context, name string, source []byte, limit time.Duration) (m *LogMask, err error) {
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("%w: panic: %v", ErrLoad, p)
		}
	}()
	if m, err = loadLogMask(ctx, name, source); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	m.limit = limit
	return m, nil
}

func loadLogMask(ctx context.Context, name string, source []byte) (*LogMask, error) {
	caps, err := capabilities()
	if err != nil {
		return nil, err
	}
	module, err := ast.ParseModuleWithOpts(name, string(source), ast.ParserOptions{Capabilities: caps, RegoVersion: ast.RegoV1})
	switch {
	case err != nil:
		return nil, err
	case module == nil:
		return nil, fmt.Errorf("%s: is empty", name)
	case module.Package.Path.String() != logPackage:
		return nil, fmt.Errorf("%s: is %s; it should be package system.log", name, module.Package)
	}
	// Not strictly: what OPA takes as a mask is taken here.
	compiler := ast.NewCompiler().WithCapabilities(caps)
	if compiler.Compile(map[string]*ast.Module{name: module}); compiler.Failed() {
		return nil, compiler.Errors
	}
	m := &LogMask{}
	for rule, at := range map[string]**opa.PreparedEvalQuery{maskRule: &m.mask, dropRule: &m.drop} {
		if len(compiler.GetRules(ast.MustParseRef(logPackage+"."+rule))) == 0 {
			continue
		}
		query, err := opa.New(
			opa.Query(logPackage+"."+rule), opa.Compiler(compiler), opa.Capabilities(caps), opa.StrictBuiltinErrors(false),
		).PrepareForEval(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		*at = &query
	}
	if m.mask == nil && m.drop == nil {
		return nil, fmt.Errorf("%s: has neither a rule mask nor a rule drop, which are those that are asked", name)
	}
	return m, nil
}

// Evaluate asks about one event, a JSON object. Drop leaves the event out of the
// log; rules are what mask gave, as JSON, nil for nothing. A builtin that fails is
// an error, not undefined as in OPA: what it should have hidden would be shown.
// Errors wrap [ErrPolicy] or [ErrTimeLimit].
func (m *LogMask) Evaluate(ctx context.Context, event map[string]any) (drop bool, rules any, err error) {
	defer func() {
		if p := recover(); p != nil {
			drop, rules, err = false, nil, fmt.Errorf("%w: panic: %v", ErrPolicy, p)
		}
	}()
	input, err := ast.InterfaceToValue(event)
	if err != nil {
		return false, nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	if m.drop != nil {
		found, err := evaluateLog(ctx, m.drop, input, dropRule)
		if err != nil {
			return false, nil, err
		}
		if found.Allowed() { // nothing but true, as in OPA
			return true, nil, nil
		}
	}
	if m.mask == nil {
		return false, nil, nil
	}
	found, err := evaluateLog(ctx, m.mask, input, maskRule)
	if err != nil || len(found) == 0 {
		return false, nil, err
	}
	return false, found[0].Expressions[0].Value, nil
}

func evaluateLog(ctx context.Context, query *opa.PreparedEvalQuery, input ast.Value, rule string) (opa.ResultSet, error) {
	var builtinErrors []topdown.Error
	found, err := query.Eval(ctx, opa.EvalParsedInput(input), opa.EvalBuiltinErrorList(&builtinErrors))
	switch {
	case err != nil && (topdown.IsCancel(err) || ctx.Err() != nil):
		return nil, fmt.Errorf("%w: %s.%s: %w", ErrTimeLimit, logPackage, rule, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %s.%s: %w", ErrPolicy, logPackage, rule, err)
	case len(builtinErrors) > 0:
		return nil, fmt.Errorf("%w: %s.%s: %s", ErrPolicy, logPackage, rule, builtinMessages(builtinErrors))
	}
	return found, nil
}
