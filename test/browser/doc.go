// Package browser uses the page at /admin/security/signing as people do, in
// Chromium. Start with world_test.go.
//
//	SIGNET_SCREENSHOTS=docs/images go test ./test/browser -run Screenshots
//
// takes the pictures of the documentation anew.
package browser
