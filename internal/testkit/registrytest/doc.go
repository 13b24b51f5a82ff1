// Package registrytest is a container registry on loopback for tests: a real
// one, go-containerregistry's, behind a front that counts what it is asked and
// misbehaves on demand.
//
// Start with [New] and [Server.Push]; [Server.Attach] publishes evidence the way
// cosign does, [Server.PushLayout] a whole OCI layout. What is published goes
// past the front: it is not counted and meets no rule. [Server.On] installs the
// misbehaviour, [Server.Requests] tells what was asked.
package registrytest
