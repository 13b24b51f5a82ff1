package store

import (
	"fmt"
	"testing"
)

// BenchmarkManySigners makes signers in one change; the figure is for one.
func BenchmarkManySigners(b *testing.B) {
	s := openTemp(b, Config{})
	ctx := b.Context()
	b.ReportAllocs()
	if _, err := s.Change(ctx, alice, "", func(tx *Tx) error {
		for i := 0; b.Loop(); i++ {
			if _, err := tx.PutSigner(ctx, SignerRow{
				Name: fmt.Sprint("signer-", i), Type: "keyless", Issuer: "https://token.actions.githubusercontent.com", Enabled: true,
				SubjectKind: "exact", SubjectPattern: fmt.Sprint("https://github.com/acme/app/.github/workflows/release.yml@refs/heads/", i),
			}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}
