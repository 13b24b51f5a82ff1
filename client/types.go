package client

import (
	"encoding/json"
	"time"
)

// Signer is a trusted signer: an identity or keys that may be trusted.
// Which fields go with which Type is said in docs/integrators.md, "Signers".
type Signer struct {
	// ID, Fingerprints, State, KMS and what is said of creation and updates are
	// the server's; a request must not set them.
	ID   string `json:"id,omitempty"`
	Name string `json:"name"`
	// Type is "keyless", "public_key" or "kms".
	Type string `json:"type"`
	// Issuer is the OIDC issuer's URL; Subject the exact identity, or
	// SubjectRegex an RE2 pattern for the whole of it. Keyless only.
	Issuer       string `json:"issuer,omitempty"`
	Subject      string `json:"subject,omitempty"`
	SubjectRegex string `json:"subject_regex,omitempty"`
	// Claims constrain a certificate's claims by name ("source_repository_uri",
	// "source_repository_ref", "build_trigger", "runner_environment", …): to the
	// letter, or with * within a path segment and ** across. Keyless only.
	Claims map[string]string `json:"claims"`
	// TrustRoots are the names of the trust roots that may vouch for the
	// identity; none: any. Keyless only.
	TrustRoots []string `json:"trust_roots"`
	// PublicKey is PEM, one block or several; for kms the key that was resolved.
	PublicKey string `json:"public_key,omitempty"`
	// KMSKeyRef names a key in a key management service. AutoRotate takes a new
	// key there without asking an administrator. KMS only.
	KMSKeyRef  string `json:"kms_key_ref,omitempty"`
	AutoRotate bool   `json:"auto_rotate,omitempty"`
	// Images are globs of the images that it may sign; none: all.
	Images  []string `json:"images"`
	Enabled bool     `json:"enabled"`
	// NotBefore and ExpiresAt bound when it is trusted; SignedFrom and
	// SignedUntil which verified signing times count.
	NotBefore   *time.Time `json:"not_before,omitempty"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	SignedFrom  *time.Time `json:"signed_from,omitempty"`
	SignedUntil *time.Time `json:"signed_until,omitempty"`
	// Owner is the team that answers for it; its tokens may change it.
	Owner string `json:"owner,omitempty"`
	Note  string `json:"note,omitempty"`

	// Fingerprints are the lower-case hex SHA-256 of each key's SPKI.
	Fingerprints []string `json:"fingerprints,omitempty"`
	// State is "in_force", "disabled", "not_yet" or "expired".
	State     string     `json:"state,omitempty"`
	KMS       *KMSState  `json:"kms,omitempty"`
	CreatedBy string     `json:"created_by,omitempty"`
	CreatedAt *time.Time `json:"created_at,omitempty"`
	UpdatedBy string     `json:"updated_by,omitempty"`
	UpdatedAt *time.Time `json:"updated_at,omitempty"`
	// Version counts changes; it is the ETag, `"<version>"`.
	Version int64 `json:"version,omitempty"`
}

// KMSState tells how it stands with the key of a kms signer.
type KMSState struct {
	// CheckedAt is when the key was last read from the service.
	CheckedAt *time.Time `json:"checked_at,omitempty"`
	// Error says why the last attempt failed; "" when it did not.
	Error string `json:"error,omitempty"`
	// Pending is the key that the service has now, where it is not the one in
	// use: an administrator accepts it.
	Pending *PendingKey `json:"pending,omitempty"`
}

// PendingKey is a rotated key that waits to be accepted.
type PendingKey struct {
	PublicKey   string    `json:"public_key"`
	Fingerprint string    `json:"fingerprint"`
	SeenAt      time.Time `json:"seen_at"`
}

// Page is one page of a list. Next is the cursor of the next one, "" after the
// last.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// Compromise is what POST /signers/{id}/compromise takes.
type Compromise struct {
	// Since is the last moment at which its signatures still count.
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
}

// Compromised is the answer to Compromise.
type Compromised struct {
	Signer Signer `json:"signer"`
	// Affected are digests that were allowed because of a signature by this
	// signer which no longer counts, the latest first, 10,000 at most; More says
	// that there were more.
	Affected []SignerVerdict `json:"affected"`
	More     bool            `json:"more,omitempty"`
}

// SignerVerdict is a digest that was allowed because of a signer.
type SignerVerdict struct {
	Digest string `json:"digest"`
	// Image is as it was last asked for; VerdictID and At are of the last verdict.
	Image     string    `json:"image"`
	VerdictID string    `json:"verdict_id"`
	At        time.Time `json:"at"`
	// Verdicts counts them.
	Verdicts int64 `json:"verdicts"`
	// SignedAt is the verified signing time of the last verdict, nil where there is
	// none, or where several signers met its requirements.
	SignedAt *time.Time `json:"signed_at,omitempty"`
}

// AcceptKey is what POST /signers/{id}/accept-key takes.
type AcceptKey struct {
	// Fingerprint is that of the pending key, so that nobody accepts another one
	// than they looked at.
	Fingerprint string `json:"fingerprint"`
	// DropPrevious ends trust in the keys before; else signatures made with them
	// still count.
	DropPrevious bool `json:"drop_previous,omitempty"`
}

// ReadKey is what POST /signers/read-key takes.
type ReadKey struct {
	// KMSKeyRef names the key: awskms://, azurekms://, gcpkms:// or hashivault://.
	KMSKeyRef string `json:"kms_key_ref"`
}

// KeyRead is the key that a reference names now.
type KeyRead struct {
	KMSKeyRef string `json:"kms_key_ref"`
	// PublicKey is PEM (PKIX), one key or several, the newest first.
	PublicKey string `json:"public_key"`
	// Fingerprints are the SHA-256 of each key's DER, in hexadecimal digits.
	Fingerprints []string `json:"fingerprints"`
}

// Imported is the outcome of importing signers, by name.
type Imported struct {
	Created []string `json:"created"`
	Updated []string `json:"updated"`
	// Unchanged were there already, the same in every field.
	Unchanged []string `json:"unchanged"`
	DryRun    bool     `json:"dry_run,omitempty"`
}

// Token is an API token as it is kept; Plain is there once, when it is made.
type Token struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Role is "viewer", "verifier", "author" or "admin".
	Role string `json:"role"`
	// Team owns the token; "" is the whole installation.
	Team    string   `json:"team,omitempty"`
	Images  []string `json:"images"`
	Sources []string `json:"sources"`

	CreatedBy  string     `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	// State is "valid", "expired" or "revoked".
	State string `json:"state"`
	Plain string `json:"token,omitempty"`
}

// NewToken asks for a token. ExpiresIn is a duration like "30d"; ExpiresAt a
// time; neither means 90 days.
type NewToken struct {
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	Team      string     `json:"team,omitempty"`
	Images    []string   `json:"images,omitempty"`
	Sources   []string   `json:"sources,omitempty"`
	ExpiresIn string     `json:"expires_in,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// Whoami tells who the caller is taken for.
type Whoami struct {
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	Team      string     `json:"team,omitempty"`
	Images    []string   `json:"images"`
	TokenID   string     `json:"token_id,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// Policy is a signing policy in force.
type Policy struct {
	Name string `json:"name"`
	// Source is "api", "configuration" for the one that the server's configuration
	// brings, which only changes there, or "embedded" for the default of an
	// installation that has written none, which can be replaced.
	Source string `json:"source"`
	Owner  string `json:"owner,omitempty"`
	// Mode is "enforce", "audit", "shadow" or "disabled".
	Mode string `json:"mode"`
	// ShadowOf is what one of mode shadow is compared with, "" for the verdict.
	ShadowOf string   `json:"shadow_of,omitempty"`
	Images   []string `json:"images"`
	// Exceptions waive violations until they end; those that have ended too.
	Exceptions []Exception `json:"exceptions"`
	// Bundle names the policy bundle whose rules decide; "": those of Signet.
	Bundle string `json:"bundle,omitempty"`
	// SigningPolicy is the policy in its one canonical form, as YAML.
	SigningPolicy string    `json:"signing_policy"`
	Digest        string    `json:"digest"`
	CreatedBy     string    `json:"created_by"`
	CreatedAt     time.Time `json:"created_at"`
	UpdatedBy     string    `json:"updated_by"`
	UpdatedAt     time.Time `json:"updated_at"`
	Version       int64     `json:"version"`
}

// Exception waives violations of some codes for some images until it ends.
type Exception struct {
	// Name is "<policy>/exceptions/<place>"; places are counted from 1.
	Name      string    `json:"name"`
	Images    []string  `json:"images"`
	Codes     []string  `json:"codes"`
	Reason    string    `json:"reason"`
	Owner     string    `json:"owner"`
	ExpiresAt time.Time `json:"expires_at"`
}

// NewException asks for an exception. Every field is needed.
type NewException struct {
	// Images are globs of image names, each with a registry.
	Images []string `json:"images"`
	// Codes of the violations that are waived.
	Codes  []string `json:"codes"`
	Reason string   `json:"reason"`
	// Owner is who answers for it.
	Owner     string    `json:"owner"`
	ExpiresAt time.Time `json:"expires_at"`
}

// ShadowReport tells how a policy of mode shadow compares since it was last changed.
type ShadowReport struct {
	Policy string `json:"policy"`
	// ShadowOf is the policy that it is compared with, "" for the whole verdict.
	ShadowOf string       `json:"shadow_of,omitempty"`
	Since    time.Time    `json:"since"`
	Counts   ShadowCounts `json:"counts"`
	// Items are where it disagrees, the latest first.
	Items []ShadowVerdict `json:"items"`
	// Next is the cursor of the next page, "" after the last.
	Next string `json:"next,omitempty"`
}

// ShadowCounts are how often a shadow agreed, and what it would have decided where
// it did not.
type ShadowCounts struct {
	Agree        int64 `json:"agree"`
	WouldAllow   int64 `json:"would_allow"`
	WouldDeny    int64 `json:"would_deny"`
	WouldNotKnow int64 `json:"would_not_know"`
}

// ShadowVerdict is what a policy of mode shadow said beside a verdict.
type ShadowVerdict struct {
	VerdictID string   `json:"verdict_id"`
	Image     string   `json:"image"`
	Decision  Decision `json:"decision"`
	// ShadowOf is the policy that it was compared with, "" for the whole verdict, and
	// ComparedWith that one's decision.
	ShadowOf     string    `json:"shadow_of,omitempty"`
	ComparedWith Decision  `json:"compared_with"`
	Digest       string    `json:"digest"`
	ParamsDigest string    `json:"params_digest"`
	Reasons      []Reason  `json:"reasons"`
	At           time.Time `json:"at"`
}

// TrustRoot is one Sigstore instance that is trusted.
type TrustRoot struct {
	Name string `json:"name"`
	// Source is "api", "configuration" or "embedded".
	Source string `json:"source"`
	// Position says in which order roots are tried, the lowest first.
	Position int `json:"position"`
	// Kind is "file" for a trusted_root.json as it was given, or "tuf" for one
	// that is refreshed from a TUF repository.
	Kind   string `json:"kind"`
	Digest string `json:"digest"`
	// Requires is the floor of proofs that no policy lowers.
	Requires Requires `json:"requires"`
	// Images are globs of the images whose evidence it may vouch for; none: all.
	Images []string `json:"images"`
	// TUFURL is where a "tuf" root is refreshed from, Target its path there.
	TUFURL string `json:"tuf_url,omitempty"`
	Target string `json:"target,omitempty"`
	// RefreshedAt is when it was last known to be current; Error why the last
	// refresh failed.
	RefreshedAt *time.Time `json:"refreshed_at,omitempty"`
	Error       string     `json:"error,omitempty"`
	// Contains sums up what is in it.
	Contains TrustRootContents `json:"contains"`
	// TrustedRoot is the whole root; only where one root was asked for.
	TrustedRoot json.RawMessage `json:"trusted_root,omitempty"`
	UpdatedBy   string          `json:"updated_by"`
	UpdatedAt   time.Time       `json:"updated_at"`
	Version     int64           `json:"version"`
}

// Requires are the proofs that a certificate's signature must have under a root.
type Requires struct {
	Log       bool `json:"log"`
	SCT       bool `json:"sct"`
	Timestamp bool `json:"timestamp"`
}

// TrustRootContents counts authorities and logs, and names the newest: a root
// whose newest part begins earlier is older.
type TrustRootContents struct {
	CertificateAuthorities int        `json:"certificate_authorities"`
	TransparencyLogs       int        `json:"transparency_logs"`
	CTLogs                 int        `json:"ct_logs"`
	TimestampAuthorities   int        `json:"timestamp_authorities"`
	NewestSince            *time.Time `json:"newest_since,omitempty"`
	// NextEnd is the earliest end to come of those that count now: what is signed
	// after it needs another one. nil: none of them ends.
	NextEnd *time.Time      `json:"next_end,omitempty"`
	Parts   []TrustRootPart `json:"parts"`
}

// TrustRootPart is one authority or log of a root.
type TrustRootPart struct {
	// Kind is "certificate_authority", "transparency_log", "ct_log" or
	// "timestamp_authority".
	Kind string `json:"kind"`
	// Name is its address, or the subject of its certificate.
	Name string `json:"name"`
	// Since and Until bound what it may vouch for; nil for no bound.
	Since *time.Time `json:"since,omitempty"`
	Until *time.Time `json:"until,omitempty"`
}

// The kinds of a [Dependency].
const (
	DependencyState       = "state"
	DependencyStore       = "store"
	DependencyRedis       = "redis"
	DependencyDecisionLog = "decision_log"
	DependencyRegistry    = "registry"
	DependencyKMS         = "kms"
	DependencyTUF         = "tuf"
	DependencyBundle      = "bundle"
)

// Dependency is something that the server depends on, as it knows it. Registries are
// those that this server was asked about since it started; of a principal that is
// bound to images, those that its images are in.
type Dependency struct {
	Kind string `json:"kind"`
	// Name is the host of a registry, or the name of a signer, a trust root or a
	// bundle; else the kind.
	Name string `json:"name"`
	// State is "ok", "failing", or "unknown" where it was not tried yet.
	State string `json:"state"`
	// Optional says that the server is of use without it.
	Optional bool `json:"optional"`
	// LastSuccess and LastFailure are when it last worked and when it last did not,
	// as far as that is kept.
	LastSuccess *time.Time `json:"last_success,omitempty"`
	LastFailure *time.Time `json:"last_failure,omitempty"`
	// Error says why it does not work; "" where it does.
	Error string `json:"error,omitempty"`
}

// PutTrustRoot makes a trust root, or replaces it: from a file, or from a TUF
// repository with its first root.json.
type PutTrustRoot struct {
	TrustedRoot json.RawMessage `json:"trusted_root,omitempty"`
	TUFURL      string          `json:"tuf_url,omitempty"`
	TUFRoot     json.RawMessage `json:"tuf_root,omitempty"`
	// Target is the path of the TUF target; "" is trusted_root.json.
	Target string `json:"target,omitempty"`
	// Requires absent: derived from what the root has.
	Requires *Requires `json:"requires,omitempty"`
	Images   []string  `json:"images,omitempty"`
	Position *int      `json:"position,omitempty"`
	// AllowOlder takes a root that is older than the one in use.
	AllowOlder bool `json:"allow_older,omitempty"`
}

// TrustImport is the outcome of importing a trust archive.
type TrustImport struct {
	TrustRoots []string `json:"trust_roots"`
	Policies   []string `json:"policies"`
	Bundles    []string `json:"bundles"`
	Signers    Imported `json:"signers"`
	// Key is the SHA-256 fingerprint of the key that signed the archive, MadeAt
	// when it was made.
	Key    string    `json:"key"`
	MadeAt time.Time `json:"made_at"`
	DryRun bool      `json:"dry_run,omitempty"`
}

// VerdictRequest asks for a verdict.
type VerdictRequest struct {
	Image    string            `json:"image"`
	Platform string            `json:"platform,omitempty"`
	Context  map[string]string `json:"context,omitempty"`
	Refresh  bool              `json:"refresh,omitempty"`
	// Evidence are Sigstore bundles that count beside what the registry has, for this
	// answer alone.
	Evidence []json.RawMessage `json:"evidence,omitempty"`
	// AssessmentID and Labels are recorded and nothing else.
	AssessmentID string            `json:"assessment_id,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	// Attest asks for an attestation of the verdict beside it.
	Attest bool `json:"attest,omitempty"`
}

// VerdictBatch asks for several verdicts, 100 at most.
type VerdictBatch struct {
	Items []VerdictRequest `json:"items"`
}

// VerdictBatchAnswer has one answer for each item, in order.
type VerdictBatchAnswer struct {
	Items []VerdictBatchItem `json:"items"`
}

// VerdictBatchItem is what the item would have been answered alone: Status is
// that answer's HTTP status, and either Verdict or Problem is there.
type VerdictBatchItem struct {
	Status     int             `json:"status"`
	Verdict    json.RawMessage `json:"verdict,omitempty"`
	Problem    json.RawMessage `json:"problem,omitempty"`
	RetryAfter int             `json:"retry_after,omitempty"`
}

// Verification is a verdict of the past as a list shows it: a row of
// signature_verifications.
type Verification struct {
	ID                string            `json:"id"`
	AssessmentID      *string           `json:"assessment_id"`
	ImageRef          string            `json:"image_ref"`
	ImageName         string            `json:"image_name"`
	ImageDigest       string            `json:"image_digest"`
	SignatureFound    bool              `json:"signature_found"`
	SignatureValid    bool              `json:"signature_valid"`
	SignerIdentity    string            `json:"signer_identity"`
	SignerIssuer      string            `json:"signer_issuer"`
	SignedAt          *time.Time        `json:"signed_at"`
	SLSALevel         int               `json:"slsa_level"`
	SLSABuilder       *string           `json:"slsa_builder"`
	VerificationError *string           `json:"verification_error"`
	ReasonCode        string            `json:"reason_code"` // of the first reason why it was not allowed, "" where it was
	CreatedAt         time.Time         `json:"created_at"`
	Decision          string            `json:"decision"`
	Allowed           bool              `json:"allowed"`
	Principal         string            `json:"principal"`
	Labels            map[string]string `json:"labels"`
	FactsDigest       *string           `json:"facts_digest"`
	Revision          int64             `json:"revision"`
	Build             string            `json:"build"`
	// Repeats is the verdict that this row repeats for its assessment, if any.
	Repeats *string `json:"repeats,omitempty"`
}

// Use is how often a principal was given a verdict again within one minute.
type Use struct {
	Principal string    `json:"principal"`
	Minute    time.Time `json:"minute"`
	Count     int64     `json:"count"`
}

// Reproduction is a verdict of the past that was decided again, on what it was
// decided on and under what was in force then.
type Reproduction struct {
	ID string `json:"id"`
	// Same says that it came out to the byte.
	Same bool `json:"same"`
	// RecordedBuild is the build that answered, Build the one that decided again.
	// Only the same build promises the same bytes.
	RecordedBuild string `json:"recorded_build"`
	Build         string `json:"build"`
	// Differences are where the two differ, in the order of their paths.
	Differences []Difference `json:"differences"`
	// Recorded and Reproduced are the two verdicts whole.
	Recorded   json.RawMessage `json:"recorded"`
	Reproduced json.RawMessage `json:"reproduced"`
}

// Difference is one place in which two JSON documents differ. A value that one of
// them does not have is absent.
type Difference struct {
	// Path is a JSON pointer (RFC 6901).
	Path       string          `json:"path"`
	Recorded   json.RawMessage `json:"recorded,omitempty"`
	Reproduced json.RawMessage `json:"reproduced,omitempty"`
}

// PastVerdict is what was answered about an image at a time, and what would have
// been.
type PastVerdict struct {
	Image string    `json:"image"`
	At    time.Time `json:"at"`
	// Active names what was in force then.
	Active Active `json:"active"`
	// Answered is the verdict that was given last up to then, and AnsweredAt when;
	// nil where none was.
	Answered   json.RawMessage `json:"answered"`
	AnsweredAt *time.Time      `json:"answered_at"`
	// Would is the verdict that a question at that very time would have been
	// answered with; it has no id, because it was never given.
	Would json.RawMessage `json:"would"`
	Facts PastFacts       `json:"facts"`
}

// PastFacts says on which facts a [PastVerdict] was decided.
type PastFacts struct {
	// Verdict is the one for which they were gathered, and KnownAt when.
	Verdict string    `json:"verdict"`
	KnownAt time.Time `json:"known_at"`
	// Later says that nothing was known at the time yet, so that these are the
	// first that became known after it.
	Later bool `json:"later"`
}

// AuditEntry is one change of what is in force.
type AuditEntry struct {
	Seq      int64           `json:"seq"`
	At       time.Time       `json:"at"`
	Actor    string          `json:"actor"`
	From     string          `json:"from"`
	Action   string          `json:"action"`
	Object   string          `json:"object"`
	Before   json.RawMessage `json:"before"`
	After    json.RawMessage `json:"after"`
	Why      string          `json:"why"`
	Revision int64           `json:"revision"`
	PrevHash string          `json:"prev_hash"`
	Hash     string          `json:"hash"`
}

// AuditHead is the end of the audit log.
type AuditHead struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// Bundle is a policy bundle: rules of one's own, which policies name.
type Bundle struct {
	Name string `json:"name"`
	// Source is "api", or "configuration" for a bundle that the servers fetch from
	// Location.
	Source   string `json:"source"`
	Owner    string `json:"owner,omitempty"`
	Location string `json:"location,omitempty"`
	// Keys are the public keys, PEM by key id, of which one must have signed its
	// archives for Scope; none: they need not be signed.
	Keys  map[string]string `json:"keys,omitempty"`
	Scope string            `json:"scope"`
	// Digest is the SHA-256 of the archive in force, "" before there is one;
	// PolicyDigest is as verdicts name it.
	Digest       string `json:"digest,omitempty"`
	PolicyDigest string `json:"policy_digest,omitempty"`
	// Revision is what its manifest calls it, Sequence its number there.
	Revision string `json:"revision,omitempty"`
	Sequence int64  `json:"sequence"`
	// HighestSequence is the highest that ever was in force; above Sequence after a
	// rollback.
	HighestSequence int64 `json:"highest_sequence"`
	// SignedBy is the id of the key that has signed it.
	SignedBy    string     `json:"signed_by,omitempty"`
	ActivatedAt *time.Time `json:"activated_at,omitempty"`
	// Policies are those that name it.
	Policies []string `json:"policies"`
	// LastAttempt is the last one to put an archive into force.
	LastAttempt *BundleAttempt `json:"last_attempt,omitempty"`
	CreatedBy   string         `json:"created_by"`
	CreatedAt   time.Time      `json:"created_at"`
	UpdatedBy   string         `json:"updated_by"`
	UpdatedAt   time.Time      `json:"updated_at"`
	Version     int64          `json:"version"`
}

// BundleAttempt is an attempt to put an archive into force.
type BundleAttempt struct {
	At time.Time `json:"at"`
	// Outcome is "activated", "unchanged", "refused" or "unreachable"; Error says
	// why it was one of the last two, which leave what was in force.
	Outcome string `json:"outcome"`
	Error   string `json:"error,omitempty"`
	// Sequence and Revision are of what was offered.
	Sequence int64  `json:"sequence,omitempty"`
	Revision string `json:"revision,omitempty"`
	// Flips are the recent verdicts that it changes, absent where that was not
	// looked at; Examples are some of them.
	Flips    *int     `json:"flips,omitempty"`
	Examples []string `json:"examples,omitempty"`
	// Warnings are about what counts no more under these rules, such as exceptions
	// whose codes no rule has.
	Warnings []string `json:"warnings,omitempty"`
}

// BundleVersion is a state that a bundle has had.
type BundleVersion struct {
	// ActiveRevision is the revision of everything in force that began with it.
	ActiveRevision int64     `json:"active_revision"`
	At             time.Time `json:"at"`
	By             string    `json:"by"`
	Why            string    `json:"why,omitempty"`
	// Change is "archive", "settings" or "removed".
	Change   string `json:"change"`
	Digest   string `json:"digest,omitempty"`
	Revision string `json:"revision,omitempty"`
	Sequence int64  `json:"sequence"`
	SignedBy string `json:"signed_by,omitempty"`
}

// PolicyVersion is a state that a policy has had: its document, and the bundle that
// it names.
type PolicyVersion struct {
	// ActiveRevision is the revision of everything in force that began with it; it
	// names this state for a diff or a rollback.
	ActiveRevision int64     `json:"active_revision"`
	At             time.Time `json:"at"`
	By             string    `json:"by"`
	Why            string    `json:"why,omitempty"`
	// Change is "document", "bundle" or "removed".
	Change string `json:"change"`
	// Version and Digest are those of the document.
	Version int64  `json:"version"`
	Digest  string `json:"digest,omitempty"`
	// Bundle is the name of the bundle, and the next three what it held.
	Bundle         string `json:"bundle,omitempty"`
	BundleRevision string `json:"bundle_revision,omitempty"`
	BundleSequence int64  `json:"bundle_sequence,omitempty"`
	BundleDigest   string `json:"bundle_digest,omitempty"`
}

// PolicyDiff is what differs between two states of a policy, as unified diffs.
type PolicyDiff struct {
	// From and To are active revisions.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Document is of the policy in its canonical form, Bundle of the files of its
	// bundle; "" where nothing differs.
	Document string `json:"document"`
	Bundle   string `json:"bundle"`
}
