// Package kms reads public keys from key management services, and signs policy
// bundles with keys in them. Start with [New], [Resolver.PublicKeys] and
// [Resolver.Signer].
//
// A reference names a key as cosign's --key does: awskms://, azurekms://,
// gcpkms:// or hashivault://. Sigstore's own clients read it
// (github.com/sigstore/sigstore/pkg/signature/kms), each made anew for every
// call, because they remember a key for five minutes and a refresh must see that
// it was rotated. A server signs nothing: Signer is for the command line. No other
// provider (sigstore would run a program of that name) is reached.
//
// How to reach a service and what to authenticate with is told by the process's
// environment, in the variables of each SDK: AWS_REGION, AWS_ACCESS_KEY_ID,
// AWS_PROFILE, AWS_CA_BUNDLE and the rest of AWS's default chain; the default
// chain of Azure Identity; GOOGLE_APPLICATION_CREDENTIALS or the metadata server;
// VAULT_ADDR, VAULT_TOKEN (else ~/.vault-token), VAULT_CACERT, VAULT_NAMESPACE and
// TRANSIT_SECRET_ENGINE_PATH. [Config] can name Vault and Google's endpoint too.
// What the SDKs permit is permitted: proxies are taken from the environment, and
// AWS_TLS_INSECURE_SKIP_VERIFY=1 and VAULT_SKIP_VERIFY=1 let anyone on the way
// replace the key.
//
// What a reference may name is bound here: a host inside of it must be listed in
// [Config.AllowedHosts], except for Azure's own domains.
package kms
