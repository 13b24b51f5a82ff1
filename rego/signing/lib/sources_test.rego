package signing.lib_test

import data.signing.lib
import data.signing.lib.fixture_test as fixture

test_normal_source if {
	every address, want in {
		"https://github.com/org/app": "github.com/org/app",
		"git+https://github.com/org/app.git": "github.com/org/app",
		"https://GitHub.com/Org/App": "github.com/Org/App",
		"github.com/org/app/": "github.com/org/app",
		"ssh://gitlab.example:2222/group/sub/app.git": "gitlab.example:2222/group/sub/app",
	} {
		lib.normal_source(address) == want
	}
}

test_no_source if {
	every address in [
		"",
		"https://github.com",
		"https://github.com/",
		"https://user@github.com/org/app",
		"https://github.com/org/app?x",
		"https://github.com/org/app#main",
		"https://github.com/org/../evil",
		"https://github.com/org//app",
		"https://github.com/.git",
		"https://github.com/org/a b",
		"git@github.com:org/app",
	] {
		not lib.normal_source(address)
	}
}

test_within_a_source if {
	lib.within_source("github.com/org/app", "github.com/org/app")
	lib.within_source("github.com/org/app", "github.com/org")
	lib.within_source("github.com/org/app", "github.com")
	not lib.within_source("github.com/org-evil/app", "github.com/org")
	not lib.within_source("github.com/org", "github.com/org/app")
}

_from(address) := object.union(fixture.keyless("dev"), {"signer": {"claims": {"source_repository_uri": address}}})

_wanting := object.union(fixture.params, {"trusted_sources": ["gitlab.example/x", "github.com/org"]})

test_sourced_when_none_is_asked_for if {
	lib.sourced(fixture.keyless("dev")) with data.params as fixture.params
	lib.sourced(fixture.keyed("k1")) with data.params as fixture.params
}

test_sourced if {
	lib.sourced(_from("https://github.com/org/app")) with data.params as _wanting
}

test_not_sourced_elsewhere if {
	not lib.sourced(_from("https://github.com/org-evil/app")) with data.params as _wanting
}

test_not_sourced_without_a_claim if {
	not lib.sourced(fixture.keyless("dev")) with data.params as _wanting
}

# A key's claims are nobody's word.
test_not_sourced_by_a_key if {
	claims := {"source_repository_uri": "https://github.com/org/app"}
	key := object.union(fixture.keyed("k1"), {"signer": {"claims": claims}})
	not lib.sourced(key) with data.params as _wanting
}
