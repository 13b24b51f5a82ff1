package trust

import (
	_ "embed"
	"fmt"
	"slices"
	"time"
)

// EmbeddedName is the name of the embedded root.
const EmbeddedName = "sigstore-public-good"

//go:embed embedded/trusted_root.json
var embeddedTrustedRoot []byte

//go:embed embedded/root.json
var embeddedTUFRoot []byte

// Embedded is Sigstore's public-good instance as of [SnapshotDate]. It requires
// a log entry and an SCT; an entry of its Rekor v2 logs has no time of its own,
// so such evidence needs a timestamp as well. [Root.Refreshed] marks it as kept
// current; as it comes it shows no age.
func Embedded() (*Root, error) {
	return Parse(EmbeddedName, embeddedTrustedRoot, &Requires{Log: true, SCT: true})
}

// EmbeddedSince is [SnapshotDate] as a time.
func EmbeddedSince() (time.Time, error) {
	t, err := time.Parse(time.RFC3339, SnapshotDate)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the date of the embedded trust root: %w", err)
	}
	return t, nil
}

// EmbeddedTUFRoot is the root metadata of the public-good TUF repository, the
// first thing that [Refresh] needs.
func EmbeddedTUFRoot() []byte { return slices.Clone(embeddedTUFRoot) }
