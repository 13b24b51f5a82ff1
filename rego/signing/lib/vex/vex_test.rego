package signing.lib.vex_test

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.fixture_test as fixture

_digest := sprintf("sha256:%s", [crypto.sha256("image")])

_said(status, products, more) := object.union(fixture.statement("CVE-2026-1", status, products), more)

_excused(statements) if {
	lib.vex.excused(fixture.finding("CVE-2026-1", "high"), "sha256:aa", {}) with input as fixture.attested([fixture.vex(statements)])
		with data.params as fixture.params
}

test_what_excuses if {
	_excused([_said("fixed", [], {})])
	_excused([_said("not_affected", ["pkg:deb/debian/openssl@3.0.11"], {"justification": "component_not_present"})])
	_excused([object.union(_said("fixed", [], {}), {"vulnerability": "GHSA-1", "aliases": ["CVE-2026-1"]})])
	_excused([
		_said("affected", [], {"timestamp": "2026-05-01T00:00:00Z"}),
		_said("fixed", [], {"timestamp": "2026-05-02T00:00:00Z"}),
	])
}

test_what_does_not_excuse if {
	not _excused([])
	not _excused([_said("affected", [], {})])
	not _excused([_said("not_affected", [], {"justification": ""})])
	not _excused([object.union(_said("fixed", [], {}), {"vulnerability": "CVE-2026-2"})])
	not _excused([_said("fixed", ["pkg:deb/debian/zlib"], {})])
	not _excused([_said("fixed", ["pkg:oci/server@sha256:bb"], {})])
	not _excused([
		_said("fixed", [], {"timestamp": "2026-05-01T00:00:00Z"}),
		_said("affected", [], {"timestamp": "2026-05-02T00:00:00Z"}),
	])
}

# "" is a product that is named by nothing that is read.
test_products_that_nobody_can_read if {
	not _excused([_said("fixed", [""], {})])
	not _excused([_said("not_affected", [""], {"justification": "component_not_present"})])
	_excused([_said("fixed", ["", "pkg:deb/debian/openssl@3.0.11"], {})])
	every status in ["affected", "under_investigation"] {
		not _excused([
			_said("fixed", ["pkg:deb/debian/openssl@3.0.11"], {"timestamp": "2026-05-01T00:00:00Z"}),
			_said(status, [""], {"timestamp": "2026-05-02T00:00:00Z"}),
		])
	}
}

test_products_that_are_images if {
	_excused([_said("fixed", ["pkg:oci/server@sha256%3Aaa"], {})])
	given := fixture.attested([fixture.vex([_said("fixed", [sprintf("ghcr.io/org/server@%s", [_digest])], {})])])
	lib.vex.excused(fixture.finding("CVE-2026-1", "high"), "sha256:aa", {}) with data.params as fixture.params
		with input as object.union(given, {
			"subject": object.union(given.subject, {"digest": _digest}),
			"attestations": [object.union(a, {"subject_digest": _digest}) | some a in given.attestations],
		})
}

test_a_document_without_any_time if {
	document := fixture.vex([_said("fixed", [], {"timestamp": null})])
	given := fixture.attested([object.union(document, {"projection": {"made_at": null}})])
	lib.vex.excused(fixture.finding("CVE-2026-1", "high"), "sha256:aa", {}) with input as given with data.params as fixture.params
}

test_a_document_with_its_own_time if {
	_excused([_said("fixed", [], {"timestamp": null})])
}

test_the_index_speaks_for_its_platforms_unless_they_are_asked_for if {
	given := object.union(fixture.for_platform, {"attestations": [fixture.vex([_said("fixed", [], {})])]})
	every params in [fixture.params, fixture.of_index, fixture.of_every] {
		count(lib.vex.documents(fixture.platform, {})) == 1 with input as given with data.params as params
	}
	count(lib.vex.documents(fixture.platform, {})) == 0 with input as given with data.params as fixture.of_requested
}
