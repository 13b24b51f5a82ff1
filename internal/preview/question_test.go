package preview

import (
	"testing"

	"github.com/signet-policy/signet/internal/engine"
)

// What a server that watches asks again is the question that was asked before.
func TestWatchedImagesAreNoOtherQuestion(t *testing.T) {
	const digest = "sha256:aa"
	for _, tt := range []struct{ image, want string }{
		{"ghcr.io/acme/app:v1@sha256:aa", "ghcr.io/acme/app:v1"},
		{"127.0.0.1:5000/acme/app:v1@sha256:aa", "127.0.0.1:5000/acme/app:v1"},
		{"ghcr.io/acme/app:v1", "ghcr.io/acme/app:v1"},
		{"127.0.0.1:5000/acme/app@sha256:aa", "127.0.0.1:5000/acme/app@sha256:aa"},
		{"ghcr.io/acme/app:v1@sha256:bb", "ghcr.io/acme/app:v1@sha256:bb"},
	} {
		row, same := Row{Image: tt.image, Digest: digest}, Row{Image: tt.want, Digest: digest}
		if got := row.asked(); got != tt.want {
			t.Errorf("%s is told as %s, want %s", tt.image, got, tt.want)
		}
		if questionKey(&row, &engine.Basis{}) != questionKey(&same, &engine.Basis{}) {
			t.Errorf("%s and %s are two questions", tt.image, tt.want)
		}
	}
	a, b := Row{Image: "ghcr.io/acme/app:v1@sha256:aa", Digest: digest}, Row{Image: "ghcr.io/acme/app:v2", Digest: digest}
	if questionKey(&a, &engine.Basis{}) == questionKey(&b, &engine.Basis{}) {
		t.Errorf("%s and %s are one question", a.Image, b.Image)
	}
}
