// Package authzen answers as a policy decision point of AuthZEN's Authorization API
// 1.0 does (https://openid.net/specs/authorization-api-1_0.html): whether a subject
// may do something with a container image. Begin with [New].
package authzen
