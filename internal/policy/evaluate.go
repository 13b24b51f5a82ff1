package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	opa "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// Evaluate asks the policy about one input. The result is of the right shape,
// names only facts that the input has, and never allows beside an error. Errors
// wrap [ErrTimeLimit] when the time was up or ctx ended, [ErrInputTooLarge], or
// [ErrPolicy].
func (s *Set) Evaluate(ctx context.Context, in *facts.Input) (verdict.Result, error) {
	return s.evaluate(ctx, in)
}

func (s *Set) evaluate(ctx context.Context, in *facts.Input, more ...opa.EvalOption) (result verdict.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = verdict.Result{}, fmt.Errorf("%w: panic: %v", ErrPolicy, p)
		}
	}()
	switch err := s.Ready(ctx); {
	case ctx.Err() != nil:
		return verdict.Result{}, fmt.Errorf("%w: not begun: %w", ErrTimeLimit, context.Cause(ctx))
	case err != nil:
		return verdict.Result{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	input, err := inputValue(in, s.limits.PolicyInputBytes)
	if err != nil {
		return verdict.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.PolicyTime)
	defer cancel()
	var builtinErrors []topdown.Error
	found, err := s.query.Eval(ctx, append(more,
		opa.EvalParsedInput(input),
		opa.EvalTime(in.EvaluatedAt),
		opa.EvalBuiltinErrorList(&builtinErrors),
		opa.EvalMetrics(metrics.NoOp()),
	)...)
	switch {
	case err != nil && (topdown.IsCancel(err) || ctx.Err() != nil):
		return verdict.Result{}, fmt.Errorf("%w: stopped after at most %s: %w", ErrTimeLimit, s.limits.PolicyTime, errors.Join(err, context.Cause(ctx)))
	case err != nil:
		return verdict.Result{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	case len(builtinErrors) > 0:
		// To Rego a failed builtin is merely undefined, so that garbage would slip
		// past a rule of the form "deny if".
		return verdict.Result{}, fmt.Errorf("%w: %s", ErrPolicy, builtinMessages(builtinErrors))
	case len(found) == 0:
		return verdict.Result{}, fmt.Errorf("%w: %s is undefined", ErrPolicy, Entrypoint)
	case len(found) > 1 || len(found[0].Expressions) != 1:
		return verdict.Result{}, fmt.Errorf("%w: %s has %d results, not one", ErrPolicy, Entrypoint, len(found))
	}
	term, ok := found[0].Expressions[0].Value.(*ast.Term)
	if !ok {
		return verdict.Result{}, fmt.Errorf("%w: %s is no value", ErrPolicy, Entrypoint)
	}
	result, err = decodeResult(term, s.limits.PolicyResultBytes)
	if err == nil {
		err = checkSatisfied(result, in)
	}
	if err != nil {
		return verdict.Result{}, fmt.Errorf("%w: %s: %w", ErrPolicy, Entrypoint, err)
	}
	return result, nil
}

// builtinMessages gives the first few errors; one is enough to deny.
func builtinMessages(list []topdown.Error) string {
	var words []string
	for i, e := range list {
		if i == 3 {
			words = append(words, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		words = append(words, e.Error())
	}
	return strings.Join(words, "; ")
}
