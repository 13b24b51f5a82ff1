package engine

import "context"

// Stage is a part of the work on a verdict.
type Stage string

// The stages, in their order. A verdict from a cache goes through none.
const (
	StageResolve Stage = "resolve"
	StageCollect Stage = "collect"
	StageVerify  Stage = "verify"
	StageDecide  Stage = "decide"
)

type progressKey struct{}

// WithProgress has tell called as each stage of a verdict begins that is computed
// for ctx itself; of work that others began nothing is told. It must not block.
func WithProgress(ctx context.Context, tell func(Stage)) context.Context {
	return context.WithValue(ctx, progressKey{}, tell)
}

func begins(ctx context.Context, stage Stage) {
	if tell, ok := ctx.Value(progressKey{}).(func(Stage)); ok {
		tell(stage)
	}
}
