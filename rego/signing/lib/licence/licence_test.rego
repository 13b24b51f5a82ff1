package signing.lib.licence_test

import data.signing.lib.licence

_denying := {
	"denied": ["GPL-*", "BUSL-1.1"],
	"allowed": ["GPL-2.0-only WITH Classpath-exception-2.0", "LicenseRef-acme-*", "Public Domain"],
}

test_fine if {
	every expression in [
		"MIT", "mit", "MIT OR GPL-3.0-only", "(MIT AND (ISC OR GPL-2.0+))", "LGPL-2.1-or-later",
		"GPL-2.0-only WITH Classpath-exception-2.0",
		"LicenseRef-acme-1", "public domain", "MIT and Apache-2.0", "GPL-3.0 OR MIT AND ISC",
	] {
		licence.fine(expression, _denying)
	}
}

test_not_fine if {
	every expression in [
		"GPL-3.0-only", "gpl-2.0+", "MIT AND GPL-3.0-only", "GPL-2.0-only WITH GCC-exception-3.1",
		"GPLv3", "LicenseRef-other", "MIT/Apache-2.0", "", "()",
		"MIT MIT", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT~x", "NOASSERTION", "MIT AND NOASSERTION",
		"((((((((((MIT))))))))))", "BUSL-1.1",
	] {
		not licence.fine(expression, _denying)
	}
}

test_only_those if {
	only := {"allowed": ["MIT", "GPL-2.0-only"]}
	licence.fine("MIT OR GPL-3.0-only", only)
	licence.fine("GPL-2.0-or-later WITH Classpath-exception-2.0", only)
	not licence.fine("ISC", only)
	not licence.fine("MIT AND ISC", only)
}

test_nothing_is_asked if not licence.fine("MIT", {})
