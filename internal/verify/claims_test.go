package verify

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/signers"
)

// A signer can be constrained by every claim that is read, and by no other.
func TestClaimNamesAreThoseOfSigners(t *testing.T) {
	if diff := cmp.Diff(slices.Sorted(maps.Values(claimNames)), signers.ClaimNames()); diff != "" {
		t.Errorf("claims that are read and that signers may name (-read +named):\n%s", diff)
	}
}
