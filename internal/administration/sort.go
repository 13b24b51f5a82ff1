package administration

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
)

// SignerSorts are the orders of a list of signers; one with a - in front is the
// other way round. Signers that are the same in it stand by their names.
func SignerSorts() []string {
	var out []string
	for _, by := range []string{"name", "type", "state", "owner", "expires_at", "updated_at"} {
		out = append(out, by, "-"+by)
	}
	return out
}

// sorted is the page of a sorted list that follows the signer f.After. A cursor whose
// signer is gone, or is not chosen any more, is not known: where it was cannot be told.
func (f SignerFilter) sorted(all []client.Signer, limit int) (client.Page[client.Signer], error) {
	page := client.Page[client.Signer]{Items: []client.Signer{}}
	by, down := strings.CutPrefix(f.Sort, "-")
	slices.SortStableFunc(all, func(a, b client.Signer) int {
		order := compareSigners(by, a, b)
		if down {
			order = -order
		}
		return cmp.Or(order, strings.Compare(a.Name, b.Name))
	})
	if f.After != "" {
		i := slices.IndexFunc(all, func(s client.Signer) bool { return s.ID == f.After })
		if i < 0 {
			return page, fieldError("cursor", "is not known; begin the list anew")
		}
		all = all[i+1:]
	}
	if len(all) > limit {
		page.Next = all[limit-1].ID
		all = all[:limit]
	}
	page.Items = append(page.Items, all...)
	return page, nil
}

func compareSigners(by string, a, b client.Signer) int {
	switch by {
	case "name":
		return strings.Compare(a.Name, b.Name)
	case "type":
		return strings.Compare(a.Type, b.Type)
	case "state":
		return strings.Compare(a.State, b.State)
	case "owner":
		return strings.Compare(a.Owner, b.Owner)
	case "expires_at":
		return compareEnds(a.ExpiresAt, b.ExpiresAt)
	}
	return compareEnds(a.UpdatedAt, b.UpdatedAt)
}

// compareEnds takes nil for the latest of all: what has no end.
func compareEnds(a, b *time.Time) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return a.Compare(*b)
}
