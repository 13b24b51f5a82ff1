package main

import (
	"context"
	"errors"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/workbench"
)

// bench is the workbench as the API wants it: with the API's errors.
type bench struct{ workbench.Bench }

func newWorkbench(f config.File) bench { return bench{workbench.Bench{Limits: f.Limits}} }

func benchError(err error) error {
	for _, e := range []struct{ is, as error }{
		{workbench.ErrFiles, api.ErrFiles}, {workbench.ErrUnfit, api.ErrUnfit}, {workbench.ErrInput, api.ErrInput}, {workbench.ErrTooMuch, api.ErrTooMuch},
	} {
		if errors.Is(err, e.is) {
			return benchFault{err, e.as}
		}
	}
	return err
}

// benchFault has the text of one error, and is another.
type benchFault struct {
	error

	as error
}

func (f benchFault) Unwrap() error { return f.as }

func (b bench) Unpack(archive []byte, document string) (map[string]string, []string, error) {
	files, replaced, err := b.Bench.Unpack(archive, document)
	return files, replaced, benchError(err)
}

func (b bench) Valid(files map[string]string) error { return benchError(b.Bench.Valid(files)) }

func (b bench) Check(ctx context.Context, files map[string]string) (client.PolicyChecked, error) {
	out, err := b.Bench.Check(ctx, files)
	return out, benchError(err)
}

func (b bench) Test(ctx context.Context, files map[string]string) (client.PolicyTested, error) {
	out, err := b.Bench.Test(ctx, files)
	return out, benchError(err)
}

func (b bench) Evaluate(ctx context.Context, files map[string]string, document string, input []byte) (client.PolicyEvaluated, error) {
	out, err := b.Bench.Evaluate(ctx, files, document, input)
	return out, benchError(err)
}

func (b bench) Build(ctx context.Context, files map[string]string, sequence int64, revision string) ([]byte, error) {
	out, err := b.Bench.Build(ctx, files, sequence, revision)
	return out, benchError(err)
}

func (b bench) Source(files map[string]string) ([]byte, error) {
	out, err := b.Bench.Source(files)
	return out, benchError(err)
}
