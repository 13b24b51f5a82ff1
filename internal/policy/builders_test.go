package policy

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/rego"
)

// The default policy has the builder profiles as data.signing.builders.
func TestBuildersAreMounted(t *testing.T) {
	c, err := embeddedContents()
	if err != nil {
		t.Fatal(err)
	}
	signing, ok := c.dataWith(nil)["signing"].(map[string]any)
	if !ok {
		t.Fatalf("data: %v", c.data)
	}
	have, err := json.Marshal(signing["builders"])
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal(rego.Builders, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(have, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-file +data):\n%s", diff)
	}
}
