package config

import (
	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/evidence"
)

// The comments of these structs are the reference that users read: `signet
// config docs` prints them (reference.md, made by go generate).

//go:generate go run ./reference -out reference.md

// File is the configuration.
type File struct {
	// Listen is the address of the HTTP server. Without tls it must be a loopback
	// address, because tokens would cross the network in clear text.
	Listen string `yaml:"listen" env:"SIGNET_LISTEN"`
	// ListenInsecure allows plain HTTP on an address that is not loopback, for
	// a server behind a proxy that speaks TLS.
	ListenInsecure bool `yaml:"listen_insecure"`
	// ExternalURL is where people and programs reach this installation, such as
	// https://signet.example.com, without a slash at the end: in links to verdicts and
	// in AuthZEN's metadata. Absent: there are none.
	ExternalURL string `yaml:"external_url" env:"SIGNET_EXTERNAL_URL"`
	// TLS of the address in listen. The files are read again when they change.
	TLS TLS `yaml:"tls"`
	// Listeners are more addresses, each with the authentication of its own, for
	// callers that cannot send a token.
	Listeners []Listener `yaml:"listeners"`
	// Deadlines bound the answer to a question, by protocol.
	Deadlines Deadlines `yaml:"deadlines"`
	// OPA is about the face that speaks as OPA's data API does.
	OPA OPA `yaml:"opa"`
	// MCP is about MCP gateways.
	MCP MCP `yaml:"mcp"`
	// TrustedProxies are the networks whose X-Forwarded-For is believed, for the
	// log, for the audit log and for tokens that are bound to networks.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// RateLimit bounds what one principal may ask.
	RateLimit RateLimit `yaml:"rate_limit"`
	// DataDir holds the store (SQLite), unless database.url is set. Default:
	// $XDG_DATA_HOME/signet.
	DataDir string `yaml:"data_dir" env:"SIGNET_DATA_DIR"`
	// Database is a PostgreSQL instead of the file in the data directory: for
	// several servers that share one state.
	Database Database `yaml:"database"`
	// Offline opens no connection but to image registries: no TUF, no KMS.
	Offline bool `yaml:"offline" env:"SIGNET_OFFLINE"`
	// SecretFile holds 32 bytes, hex or base64, from which keys are derived.
	// Default: made once and kept in the store.
	SecretFile string `yaml:"secret_file" env:"SIGNET_SECRET_FILE"`
	Log        Log    `yaml:"log"`
	// TrustRoots replace the embedded public-good root when given. They are put
	// into the store at start; further ones come by the API.
	TrustRoots []TrustRoot `yaml:"trust_roots"`
	// Registries are settings per registry host[:port].
	Registries map[string]Registry `yaml:"registries"`
	// AllowRegistries are globs of names ("ghcr.io/org/**") that may be asked
	// for; absent: all.
	AllowRegistries []string `yaml:"allow_registries"`
	// EvidenceRepositories maps a registry or repository to the repository where
	// its signatures are kept, as cosign's COSIGN_REPOSITORY does; the longest
	// match counts.
	EvidenceRepositories map[string]string `yaml:"evidence_repositories"`
	Network              Network           `yaml:"network"`
	Cache                Cache             `yaml:"cache"`
	Active               Active            `yaml:"active"`
	// KMS is about keys in key management services.
	KMS KMS `yaml:"kms"`
	// Attest is the key and the name under which verdicts are attested; absent: they
	// cannot be.
	Attest Attest `yaml:"attest"`
	// Retention says how long verdicts are kept. The audit log is kept for ever.
	Retention Retention `yaml:"retention"`
	// DecisionLog writes down every verdict that is given, in the format of OPA's
	// decision log; absent: it is not written.
	DecisionLog DecisionLog `yaml:"decision_log"`
	// Page is the page for people, at /admin/security/signing.
	Page Page `yaml:"page"`
	// Watch says which images are decided again without being asked for.
	Watch Watch `yaml:"watch"`
	// Webhooks are told of events, such as that a watched image is decided otherwise.
	Webhooks []Webhook `yaml:"webhooks"`
	// MaxStaleness bounds the age of trust roots that are to be refreshed.
	MaxStaleness Duration `yaml:"max_staleness" env:"SIGNET_MAX_STALENESS"`
	// Limits bound what one image may cost; one that is hit is named in the verdict.
	Limits evidence.Limits `yaml:"limits"`
	// SigningPolicy is the policy, see docs/policy-authors.md. It is put into the
	// store at start; further ones come by the API.
	SigningPolicy yaml.Node `yaml:"signing_policy"`
	// ExceptionsMaxDays is how many days ahead the exceptions of a policy may end
	// when it is put into force or changed, 1 to 3650.
	ExceptionsMaxDays int `yaml:"exceptions_max_days"`
	// Bundles are policy bundles, rules of one's own, by name: fetched by the servers
	// and named by policies as signing_policy.bundle. Others come by the API.
	Bundles map[string]Bundle `yaml:"bundles"`
	// PolicyFile names a file that holds the signing_policy instead.
	PolicyFile string `yaml:"policy_file" env:"SIGNET_POLICY_FILE"`

	// Path is where the file was read from, "" for none.
	Path string `yaml:"-"`
	// Body is the file as read, for errors that quote it.
	Body []byte `yaml:"-"`
}

// Bundle says where a policy bundle comes from. One of dir, file and url is given.
type Bundle struct {
	// Dir is a bundle's folder on this machine, looked at every two seconds.
	Dir string `yaml:"dir"`
	// File is a bundle's archive (.tar.gz) on this machine.
	File string `yaml:"file"`
	// URL is https://host/path of a bundle server, or oci://registry/repository with
	// :tag or @sha256:….
	URL string `yaml:"url"`
	// Keys are the public keys, by key id, of which one must have signed it. What
	// comes over a network needs them.
	Keys map[string]BundleKey `yaml:"keys"`
	// Scope that the signatures must have. Default: signet.
	Scope string `yaml:"scope"`
	// Poll is how often its source is asked; 0: every 60s, and every 2s for dir and
	// file.
	Poll Duration `yaml:"poll"`
	// BearerTokenFile holds a token to present; it is read again when it changes.
	BearerTokenFile string `yaml:"bearer_token_file"`
	// Username and PasswordFile log in instead.
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
	// ClientCert and ClientKey are PEM files of a client certificate to present.
	ClientCert string `yaml:"client_cert"`
	ClientKey  string `yaml:"client_key"`
	// CAFile holds PEM certificates to trust for this source, beside the system's.
	CAFile string `yaml:"ca_file"`
	// AllowHTTP speaks plain HTTP with a host that is not this one. Signatures are needed all the same.
	AllowHTTP bool `yaml:"allow_http"`
	// MaxFlips refuses a bundle that changes more recent verdicts; absent: any number.
	MaxFlips *int `yaml:"max_flips"`
}

// BundleKey is a public key; one of the two is given.
type BundleKey struct {
	// Key is PEM (PUBLIC KEY).
	Key string `yaml:"key"`
	// KeyFile is a file of that; relative to the configuration file.
	KeyFile string `yaml:"key_file"`
}

// TLS is a certificate to present, and whose client certificates are accepted.
type TLS struct {
	// CertFile and KeyFile are PEM: the certificate with its chain, and its key.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ClientCAFile holds the PEM certificates of the authorities whose client
	// certificates are wanted from every caller (mTLS).
	ClientCAFile string `yaml:"client_ca_file"`
}

// Listener is an address whose callers are all taken for one principal.
type Listener struct {
	// Address is host:port, or unix:/path/to.sock for authentication socket.
	Address string `yaml:"address"`
	// Protocols are those that it speaks: rest, opa (OPA's data API), authzen and mcp.
	// (admission comes with a later version.)
	Protocols []string `yaml:"protocols"`
	// Authentication is token (as on the main address), mtls (a client
	// certificate of client_ca_file), socket (whoever can open the socket's file,
	// mode 0660), or none_on_loopback.
	Authentication string `yaml:"authentication"`
	// ClientNames are the names (DNS or URI names, or common name where there is
	// none) of which a client certificate must have one; absent: any.
	ClientNames []string `yaml:"client_names"`
	// Principal is who its callers are taken for; not with token.
	Principal *Principal `yaml:"principal"`
	// TLS of this address.
	TLS TLS `yaml:"tls"`
}

// Principal is who the callers of a listener are taken for.
type Principal struct {
	// Name stands in the log and beside verdicts.
	Name string `yaml:"name"`
	// Role is viewer, verifier, author or admin; without any authentication it is
	// viewer or verifier.
	Role string `yaml:"role"`
	// Team whose signers and policies it may change; absent: everybody's.
	Team string `yaml:"team"`
	// Images are globs of the images that may be asked about; absent: all. A team's
	// author or admin must name them.
	Images []string `yaml:"images"`
}

// Deadlines are how long a caller waits for a verdict, by protocol. Past it the
// answer is unknown, still_verifying; the work goes on for 30s at most, so that who
// asks again finds it done.
type Deadlines struct {
	// REST is for verdicts under /api/v1.
	REST Duration `yaml:"rest"`
	// OPA is for the data API.
	OPA Duration `yaml:"opa"`
	// AuthZEN is for an evaluation, or a batch of them.
	AuthZEN Duration `yaml:"authzen"`
	// MCP is for a call of the MCP plugin.
	MCP Duration `yaml:"mcp"`
}

// OPA says where the data API has verdicts.
type OPA struct {
	// Mounts are paths below /v1/data at which a verdict is a document, beside
	// signing/verdict. Default: mcpgateway, which the gateway's policy engine asks.
	Mounts []string `yaml:"mounts"`
}

// RateLimit is a token bucket for each principal.
type RateLimit struct {
	// PerSecond is how many requests a principal may make a second, in the long
	// run; 0: any number.
	PerSecond float64 `yaml:"per_second"`
	// Burst is how many it may make at once. Default: per_second, at least 1.
	Burst int `yaml:"burst"`
}

// Database is a PostgreSQL server, version 13 or newer.
type Database struct {
	// URL is postgres://user@host/database?sslmode=verify-full. A password belongs
	// into url_file, a PGPASSFILE or a certificate, not into this file.
	URL string `yaml:"url" env:"SIGNET_DATABASE_URL"`
	// URLFile names a file that holds the URL, password and all.
	URLFile string `yaml:"url_file" env:"SIGNET_DATABASE_URL_FILE"`
	// Migrate is automatic (the schema is brought up to date at start) or manual
	// (`signet migrate up` does it, and a server on an older schema does not start).
	Migrate string `yaml:"migrate"`
}

// Log says how the server logs, always to stderr.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level" env:"SIGNET_LOG_LEVEL"`
	// Format is json or text.
	Format string `yaml:"format" env:"SIGNET_LOG_FORMAT"`
}

// TrustRoot is one Sigstore instance that is trusted.
type TrustRoot struct {
	// Name stands in facts and verdicts.
	Name string `yaml:"name"`
	// Path to a trusted_root.json; relative to the configuration file.
	Path string `yaml:"path"`
	// Embedded takes the public-good root that Signet ships instead of a file.
	Embedded bool `yaml:"embedded"`
	// TUF is the URL of a TUF repository that it is refreshed from, daily.
	TUF string `yaml:"tuf"`
	// TUFRoot is the path of that repository's first root.json.
	TUFRoot string `yaml:"tuf_root"`
	// Target is the trusted root's path in that repository. Default:
	// trusted_root.json.
	Target string `yaml:"target"`
	// Images are globs of the images whose evidence it may vouch for; absent: all.
	Images []string `yaml:"images"`
	// Requires is the floor of proofs; absent: what the root has (log, SCT), and
	// a timestamp where it has no log.
	Requires *Requires `yaml:"requires"`
	// AllowOlder lets it take the place of a newer root of its name in the store,
	// which is refused otherwise.
	AllowOlder bool `yaml:"allow_older"`
}

// Requires is which proofs a certificate's signature must have under a root.
type Requires struct {
	// Log: a verified entry in a transparency log.
	Log bool `yaml:"log"`
	// SCT: a signed certificate timestamp.
	SCT bool `yaml:"sct"`
	// Timestamp: a verified RFC 3161 timestamp.
	Timestamp bool `yaml:"timestamp"`
}

// Registry is the settings of one registry.
type Registry struct {
	// Insecure speaks plain HTTP, and allows loopback and private addresses.
	Insecure bool `yaml:"insecure"`
	// AllowPrivate allows loopback and private addresses, over https.
	AllowPrivate bool `yaml:"allow_private"`
	// CAFile holds PEM certificates to trust for this registry, beside the system's.
	CAFile string `yaml:"ca_file"`
	// Username to log in with; without credentials the Docker configuration is asked.
	Username string `yaml:"username"`
	// PasswordFile and PasswordEnv name where the password is; TokenFile a
	// bearer token. Secrets are never written into this file.
	PasswordFile string `yaml:"password_file"`
	PasswordEnv  string `yaml:"password_env"`
	TokenFile    string `yaml:"token_file"`
	// TokenHosts are other hosts that may see these credentials, because they
	// issue this registry's tokens.
	TokenHosts []string `yaml:"token_hosts"`
	// BlobHosts are other hosts that this registry redirects blobs to and that
	// may be at a private address where the registry may.
	BlobHosts []string `yaml:"blob_hosts"`
	// Mirrors are asked for content by its digest before the registry itself, in
	// this order; what they send is checked against the digest.
	Mirrors []Mirror `yaml:"mirrors"`
}

// Mirror is a registry that holds copies of another one's content. Its own
// settings (insecure, credentials, …) stand under its own host in registries.
type Mirror struct {
	// Host is the mirror's host[:port].
	Host string `yaml:"host"`
	// Prefix is put before the path of a repository there, as proxies that hold
	// several registries want it.
	Prefix string `yaml:"prefix"`
	// Tags lets the mirror say which digest a tag is.
	Tags bool `yaml:"tags"`
	// Evidence lets the mirror say which signatures there are; only for one that
	// copies referrers and signature tags too.
	Evidence bool `yaml:"evidence"`
}

// Network is about connections that we open.
type Network struct {
	// Proxy is used for registries, TUF, policy bundles, webhooks and the OIDC provider;
	// the environment's proxies are ignored there.
	Proxy string `yaml:"proxy" env:"SIGNET_NETWORK_PROXY"`
	// CAFiles are trusted beside the system's, for every registry.
	CAFiles []string `yaml:"ca_files"`
}

// Cache bounds what is kept, and for how long an answer is repeated.
type Cache struct {
	// MemoryBytes bounds the cache in memory.
	MemoryBytes int64 `yaml:"memory_bytes"`
	// DecisionMaxAge bounds how long an answer may be repeated.
	DecisionMaxAge Duration `yaml:"decision_max_age" env:"SIGNET_DECISION_MAX_AGE"`
	// Redis is a second tier that servers share. It holds nothing that cannot be
	// found out again: slow, down or emptied, it costs time and nothing else.
	Redis Redis `yaml:"redis"`
}

// Redis says where the shared cache is; absent: there is none.
type Redis struct {
	// URL of a single server, redis://user@host:6379/0 or rediss:// for TLS.
	URL string `yaml:"url" env:"SIGNET_REDIS_URL"`
	// Mode is single, sentinel or cluster. Default: single.
	Mode string `yaml:"mode"`
	// Addresses of the sentinels, or of some of the cluster's nodes.
	Addresses []string `yaml:"addresses"`
	// SentinelMaster is the name that the sentinels know the master by.
	SentinelMaster string `yaml:"sentinel_master"`
	// SentinelUsername and SentinelPasswordFile log in at the sentinels themselves.
	SentinelUsername     string `yaml:"sentinel_username"`
	SentinelPasswordFile string `yaml:"sentinel_password_file"`
	// Username of an ACL user; its password is in password_file or password_env.
	Username string `yaml:"username"`
	// PasswordFile and PasswordEnv name where the password is.
	PasswordFile string `yaml:"password_file"`
	PasswordEnv  string `yaml:"password_env"`
	// DB is the number of the database; not with cluster.
	DB int `yaml:"db"`
	// TLS is used where the URL says rediss, or any of it is set.
	TLS RedisTLS `yaml:"tls"`
	// Prefix of every key.
	Prefix string `yaml:"prefix"`
	// Timeout of one call; past it the value is taken to be absent.
	Timeout Duration `yaml:"timeout"`
}

// RedisTLS is used where the URL says rediss, or any of this is set.
type RedisTLS struct {
	// Enabled speaks TLS with nothing else to say.
	Enabled bool `yaml:"enabled"`
	// CAFile holds the PEM certificates that the server's must come from.
	// Default: the system's.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the client certificate to present.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName is the name in the server's certificate, where it is not the host's.
	ServerName string `yaml:"server_name"`
}

// Active says what happens when the store cannot be read.
type Active struct {
	// Grace accepts the last known state for that long; 0: unknown at once.
	Grace Duration `yaml:"grace" env:"SIGNET_ACTIVE_GRACE"`
}

// KMS is about keys in key management services.
type KMS struct {
	// AllowedHosts are the endpoints that a reference may name itself
	// (awskms://HOST/…); absent: none.
	AllowedHosts []string `yaml:"allowed_hosts"`
	// Refresh is how often keys are read again.
	Refresh Duration `yaml:"refresh"`
	// Timeout of one call.
	Timeout Duration `yaml:"timeout"`
}

// Attest says how Signet gives its own word about verdicts: SLSA verification
// summaries, see docs/operators.md.
type Attest struct {
	// VerifierID is the URI by which those who rely on the summaries know this
	// installation, such as https://example.com/signet.
	VerifierID string `yaml:"verifier_id"`
	// KeyFile is a private key in PEM (PKCS#8: ECDSA, RSA or Ed25519), not encrypted;
	// relative to the configuration file.
	KeyFile string `yaml:"key_file"`
	// KeyRef is a key in a KMS instead: awskms://, azurekms://, gcpkms://,
	// hashivault://.
	KeyRef string `yaml:"key_ref"`
	// Push puts each summary of a pass beside its image, in the image's own repository, as
	// cosign attaches attestations.
	Push bool `yaml:"push"`
	// PushEvery is how long one that says the same is not put there again.
	PushEvery Duration `yaml:"push_every"`
	// PushCredentials are the registries' credentials for writing, by host; absent:
	// those for reading.
	PushCredentials map[string]PushCredential `yaml:"push_credentials"`
}

// PushCredential logs in to a registry for writing.
type PushCredential struct {
	// Username to log in with.
	Username string `yaml:"username"`
	// PasswordFile and PasswordEnv name where the password is; TokenFile a bearer
	// token instead.
	PasswordFile string `yaml:"password_file"`
	PasswordEnv  string `yaml:"password_env"`
	TokenFile    string `yaml:"token_file"`
}

// Retention says how long verdicts are kept.
type Retention struct {
	// MaxAge removes verdicts that are older; 0: none.
	MaxAge Duration `yaml:"max_age"`
	// MaxVerdicts removes the oldest above this number; 0: none.
	MaxVerdicts int64 `yaml:"max_verdicts"`
}

// DecisionLog says where the decision log goes, and what is left out of it.
type DecisionLog struct {
	// File takes lines of JSON.
	File DecisionFile `yaml:"file"`
	// HTTP takes gzipped arrays of events, as OPA's services do.
	HTTP DecisionHTTP `yaml:"http"`
	// Mask is a Rego file with package system.log, whose rules mask and drop say what
	// is left out; relative to the configuration file.
	Mask string `yaml:"mask"`
	// Labels stand in every event, beside id, version and app.
	Labels map[string]string `yaml:"labels"`
	// BufferBytes bounds what waits to be written, in memory; above it the oldest
	// events are dropped, and counted.
	BufferBytes int64 `yaml:"buffer_bytes"`
}

// DecisionFile is a file of lines, mode 0600, that is rotated.
type DecisionFile struct {
	// Path of the file, which no other process may write to; relative to the
	// configuration file. A rotated one has the time behind its name.
	Path string `yaml:"path"`
	// MaxSize is the number of bytes at which it is rotated; 0: never.
	MaxSize int64 `yaml:"max_size"`
	// MaxAge is the age of its first line at which it is rotated; 0: never.
	MaxAge Duration `yaml:"max_age"`
	// MaxFiles is how many rotated files are kept; 0: all.
	MaxFiles int `yaml:"max_files"`
}

// DecisionHTTP is an endpoint that takes what OPA's decision log sends.
type DecisionHTTP struct {
	// URL of the service; https, or http on this machine.
	URL string `yaml:"url"`
	// Resource is the path below it. Default: /logs.
	Resource string `yaml:"resource"`
	// PartitionName makes the path /logs/NAME; not with resource.
	PartitionName string `yaml:"partition_name"`
	// TokenFile holds a bearer token, read for every upload.
	TokenFile string `yaml:"token_file"`
	// CAFile holds the PEM certificates that the service's must come from. Default:
	// the system's.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the client certificate to present, read again when
	// they change.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// Timeout of one upload.
	Timeout Duration `yaml:"timeout"`
	// Reporting has OPA's names.
	Reporting DecisionReporting `yaml:"reporting"`
}

// DecisionReporting says when events are sent, and how many at once.
type DecisionReporting struct {
	// MinDelaySeconds and MaxDelaySeconds bound the time between two uploads, which
	// is chosen by chance; the second is the longest wait after a failure too.
	MinDelaySeconds int64 `yaml:"min_delay_seconds"`
	MaxDelaySeconds int64 `yaml:"max_delay_seconds"`
	// UploadSizeLimitBytes bounds one upload, compressed; an event that is larger
	// alone is dropped, and counted.
	UploadSizeLimitBytes int64 `yaml:"upload_size_limit_bytes"`
	// BufferSizeLimitBytes bounds the uploads that wait, compressed; above it the
	// oldest are dropped, and counted.
	BufferSizeLimitBytes int64 `yaml:"buffer_size_limit_bytes"`
	// MaxDecisionsPerSecond drops events that come faster, and counts them; 0: none.
	MaxDecisionsPerSecond float64 `yaml:"max_decisions_per_second"`
}

// Watch says which images are decided again without being asked for: when what is
// in force changes, when something is about to end, and daily. Where several servers
// share a store one of them does it, by its own configuration.
type Watch struct {
	// Recent is for how long an image is watched that somebody asked for; 0: only
	// those in images, and those listed through the API, are.
	Recent Duration `yaml:"recent"`
	// Rate is how many are decided per second at most.
	Rate float64 `yaml:"rate"`
	// Refresh is how often the registry is asked anew for each.
	Refresh Duration `yaml:"refresh"`
	// WarnBefore are the times before the end of a signer, an exception or a trust
	// root at which it is told.
	WarnBefore []Duration `yaml:"warn_before"`
	// UnknownAfter is how long an image must be undecidable before that is told.
	UnknownAfter Duration `yaml:"unknown_after"`
	// Images are watched though nobody asks for them.
	Images []WatchImages `yaml:"images"`
}

// WatchImages are images of one environment.
type WatchImages struct {
	// Images are references; with a tag alone, whatever the tag names then.
	Images []string `yaml:"images"`
	// Environment is where they run: a label of events, and given to policies that
	// declare the context key environment with this value.
	Environment string `yaml:"environment"`
}

// Webhook is an address that events are sent to, as JSON by POST, signed.
type Webhook struct {
	// Name stands in logs and names its key. Default: the host in url.
	Name string `yaml:"name"`
	// URL is https://…, or with allow_private also http://….
	URL string `yaml:"url"`
	// SecretFile holds the key that its requests are signed with. Default: derived
	// from the installation's secret; `signet webhooks key NAME` shows it.
	SecretFile string `yaml:"secret_file"`
	// Events are the kinds that it is sent: flip, ending, undecidable, recovered,
	// verdict; absent: all.
	Events []string `yaml:"events"`
	// Images are globs of the images whose events it is sent; absent: all, and those
	// that are of no one image.
	Images []string `yaml:"images"`
	// Timeout of one attempt.
	Timeout Duration `yaml:"timeout"`
	// AllowPrivate allows loopback and private addresses, and plain HTTP.
	AllowPrivate bool `yaml:"allow_private"`
}
