package registry_test

import (
	"fmt"

	"github.com/signet-policy/signet/internal/registry"
)

func ExampleParseReference() {
	for _, image := range []string{"nginx", "GHCR.io:443/org/app:v1", "ghcr.io/org/../app"} {
		ref, err := registry.ParseReference(image, false)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(ref.Name(), ref.Tag)
	}
	// Output:
	// docker.io/library/nginx latest
	// ghcr.io/org/app v1
	// ghcr.io/org/../app: invalid reference: repository "org/../app": want lower-case letters and digits, separated by one of . _ - /
}
