// Package admin is the page at /admin/security/signing, for people.
//
// Start with [New]. The page knows no rules of its own: each request of a browser
// becomes requests to the REST face in the same process, as the person who asks, so
// that roles, teams, validation and the audit log are those of every other caller.
// What is here is who that person is (login.go, session.go, guard.go) and how it is
// shown.
package admin
