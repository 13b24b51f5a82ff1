package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/signet-policy/signet/rego"
)

// capabilities is the one value that the compiler and every query get. It takes
// from rego/capabilities.json the names, and from OPA itself the declarations,
// which a test compares with those in the file.
var capabilities = sync.OnceValues(func() (*ast.Capabilities, error) { return parseCapabilities(rego.Capabilities) })

func parseCapabilities(body []byte) (*ast.Capabilities, error) {
	var file struct {
		// A pointer, because an absent list means any host to OPA, and OPA's own
		// encoder leaves an empty one out.
		AllowNet *[]string `json:"allow_net"`
		Features []string  `json:"features"`
		Builtins []struct {
			Name string `json:"name"`
		} `json:"builtins"`
	}
	if err := json.Unmarshal(body, &file); err != nil {
		return nil, fmt.Errorf("capabilities: %w", err)
	}
	if file.AllowNet == nil || *file.AllowNet == nil || len(*file.AllowNet) > 0 {
		return nil, errors.New(`capabilities: allow_net must be written out as [], for no host at all`)
	}
	c := &ast.Capabilities{AllowNet: []string{}, Features: file.Features}
	for _, b := range file.Builtins {
		builtin, ok := ast.BuiltinMap[b.Name]
		if !ok {
			return nil, fmt.Errorf("capabilities: OPA has no builtin %s", b.Name)
		}
		if builtin.Nondeterministic {
			return nil, fmt.Errorf("capabilities: builtin %s is not deterministic", b.Name)
		}
		c.Builtins = append(c.Builtins, builtin)
	}
	return c, nil
}
