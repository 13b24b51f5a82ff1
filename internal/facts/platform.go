package facts

import "strings"

// MatchPlatforms gives the platforms that want names, "os/architecture[/variant]",
// where the default variants may be left out (arm64 is arm64/v8, arm is arm/v7,
// amd64 is amd64/v1). Without a variant in want, and none that is the default,
// every variant matches. The result is empty when nothing does, or when want is
// misspelt.
func MatchPlatforms(platforms []Platform, want string) []Platform {
	os, rest, _ := strings.Cut(want, "/")
	arch, variant, _ := strings.Cut(rest, "/")
	if os == "" || arch == "" {
		return nil
	}
	var exact, similar []Platform
	for _, p := range platforms {
		if p.OS != os || p.Architecture != arch {
			continue
		}
		similar = append(similar, p)
		if fullVariant(arch, p.Variant) == fullVariant(arch, variant) {
			exact = append(exact, p)
		}
	}
	if len(exact) > 0 || variant != "" {
		return exact
	}
	return similar
}

func fullVariant(arch, variant string) string {
	if variant != "" {
		return variant
	}
	switch arch {
	case "arm64":
		return "v8"
	case "arm":
		return "v7"
	case "amd64":
		return "v1"
	}
	return ""
}
