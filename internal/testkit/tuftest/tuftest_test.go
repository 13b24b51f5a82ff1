package tuftest_test

import (
	"errors"
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"github.com/signet-policy/signet/internal/testkit/tuftest"
	"github.com/signet-policy/signet/internal/trust"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every knob does what it says to a client that has seen version 2.
func TestKnobs(t *testing.T) {
	for name, tt := range map[string]struct {
		turn func(*tuftest.Repo)
		want string
		err  error
	}{
		"nothing":          {func(*tuftest.Repo) {}, "two", nil},
		"publish":          {func(r *tuftest.Repo) { r.Publish([]byte("three")) }, "three", nil},
		"bump":             {(*tuftest.Repo).Bump, "two", nil},
		"rotate":           {func(r *tuftest.Repo) { r.RotateRoot(); r.RotateRoot(); r.Publish([]byte("three")) }, "three", nil},
		"roll back":        {func(r *tuftest.Repo) { r.Rollback([]byte("one")) }, "", trust.ErrRollback},
		"expire":           {(*tuftest.Repo).Expire, "", trust.ErrExpired},
		"wrong signature":  {(*tuftest.Repo).WrongSignature, "", trust.ErrUntrusted},
		"a replaced key":   {func(r *tuftest.Repo) { r.RotateRoot(); r.SignAs(1, []byte("three")) }, "", trust.ErrUntrusted},
		"tamper":           {func(r *tuftest.Repo) { r.Publish([]byte("three")); r.Tamper([]byte("THREE")) }, "", trust.ErrUntrusted},
		"down":             {func(r *tuftest.Repo) { r.Down(http.StatusBadGateway) }, "", trust.ErrUnreachable},
		"down and up":      {func(r *tuftest.Repo) { r.Down(http.StatusBadGateway); r.Down(0) }, "two", nil},
		"a file removed":   {func(r *tuftest.Repo) { r.Remove("timestamp.json") }, "", trust.ErrUnreachable},
		"a file put there": {func(r *tuftest.Repo) { r.Put("timestamp.json", []byte("{}")) }, "", trust.ErrUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			r := tuftest.New(t, []byte("one"))
			r.Publish([]byte("two"))
			cfg := trust.TUFConfig{MetadataURL: r.URL(), FirstRoot: r.Root(1), Client: r.Client()}
			seen, err := trust.Refresh(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Metadata = seen.Metadata
			tt.turn(r)
			before := r.Asked()
			got, err := trust.Refresh(t.Context(), cfg)
			if string(got.TrustedRoot) != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%q, %v; want %q, %v", got.TrustedRoot, err, tt.want, tt.err)
			}
			if r.Asked() == before {
				t.Error("it was not asked")
			}
		})
	}
}
