package signing.lib.purl_test

import data.signing.lib.purl

test_means if {
	every pair in [
		["pkg:deb/debian/openssl", "pkg:deb/debian/openssl@1?arch=amd64"], [
			"pkg:pypi/My_Pkg@1",
			"pkg:pypi/my-pkg@1",
		],
		["pkg:npm/%40a/b@1", "pkg:npm/@a/b@1"], [
			"pkg:deb/Debian/openssl@1",
			"pkg:deb/debian/OpenSSL@1",
		],
		["pkg:golang/a.b/c@v1+x", "pkg:golang/a.b/c@v1%2Bx"],
	] {
		purl.means(pair[0], pair[1])
	}
}

test_does_not_mean if {
	every pair in [
		["pkg:deb/debian/openssl@2", "pkg:deb/debian/openssl@1"], [
			"pkg:deb/debian/openssl?arch=arm64",
			"pkg:deb/debian/openssl@1",
		],
		["pkg:npm/A", "pkg:npm/a"], ["pkg:deb/ubuntu/openssl", "pkg:deb/debian/openssl"], [
			"openssl",
			"openssl",
		],
		["pkg:npm/a%zz", "pkg:npm/a%zz"],
		["pkg:rpm/openssl", "pkg:deb/openssl"], ["", ""],
	] {
		not purl.means(pair[0], pair[1])
	}
}
