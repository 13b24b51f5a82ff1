package policy

import (
	"context"
	"encoding/json"
	"testing"
)

// BenchmarkLoad is what every start of the command line pays for the default
// policy.
func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(context.Background(), Source{Name: "default", Params: json.RawMessage(defaultParams)}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEvaluate is one decision of the default policy, input conversion and
// validation of the result included.
func BenchmarkEvaluate(b *testing.B) {
	s := mustLoad(b, Source{Name: "default"})
	for name, in := range map[string]func() bool{
		"unsigned": func() bool { r, err := s.Evaluate(context.Background(), emptyInput()); return err == nil && !r.Allow },
		"signed":   func() bool { r, err := s.Evaluate(context.Background(), signedInput()); return err == nil && r.Allow },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !in() {
					b.Fatal("wrong answer")
				}
			}
		})
	}
}
