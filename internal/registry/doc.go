// Package registry finds images and their evidence. Start with [New]: a
// [Client] resolves a reference to a subject ([Client.Resolve]) and collects the
// unverified evidence for it ([Client.Collect]). [ParseReference] gives the
// normalised name of an image, the one that globs are matched against.
//
// Everything that comes back is unverified: bytes that were hashed, measured and
// counted here, and a record of how the search went. Package verify decides what
// they prove.
//
// # What is asked
//
// Resolving is one request for the manifest. Collecting asks, for the subject and
// for each platform that matters, the referrers API (all pages), cosign's .sig
// and .att tags, and the fallback tag where the API has nothing; then each
// manifest and each blob once. An image with one bundle costs six requests.
//
// # What is refused
//
// All requests go through one transport. It resolves names itself and checks the
// address when dialling, so a registry, token realm or redirect cannot lead into
// the network that we run in, unless configuration opens that very host:port.
// Credentials are bound to the exact host, and leave it only for a token host
// that is known for it. A redirect to another host is followed over https, five
// times at most, without credentials; what comes back is hashed as ever.
//
// # Mirrors
//
// A registry's [Mirror]s are asked for content first, which is hashed as ever.
// Tags are resolved and evidence is listed at the registry itself, unless a
// mirror is configured to be believed about tags, or asked for lists as well. A
// mirror that fails is passed over, and left alone for a minute.
//
// # OCI layouts
//
// "oci-layout:PATH[:TAG|@DIGEST]" takes the same path with files in place of
// requests ([Config].AllowLayouts, for the command line).
package registry
