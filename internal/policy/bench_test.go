package policy

import (
	"context"
	"encoding/json"
	"testing"
)

// BenchmarkLoad is what every start of the command line spends on the default
// policy: all of it, and what its caller waits for before going on.
func BenchmarkLoad(b *testing.B) {
	load := func(b *testing.B) *Set {
		s, err := Load(context.Background(), Source{Name: "default", Params: json.RawMessage(defaultParams)})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	b.Run("ready", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := load(b).Ready(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("returned", func(b *testing.B) {
		for b.Loop() {
			s := load(b)
			b.StopTimer()
			if err := s.Ready(context.Background()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
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
