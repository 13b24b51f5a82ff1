package evidence

import "time"

// Limits are all counts, sizes and times that bound what a registry or a bundle
// can make us do. They are configurable (configuration key "limits", the names
// below), and a limit that is hit is named in the verdict.
type Limits struct {
	// ManifestBytes caps one manifest or index (4 MiB, as registries do).
	ManifestBytes int64 `yaml:"manifest_bytes" json:"manifest_bytes"`
	// BundleBytes caps one piece of evidence, compressed and decompressed.
	BundleBytes int64 `yaml:"bundle_bytes" json:"bundle_bytes"`
	// PredicateBytes is the largest predicate that is kept whole in the facts.
	PredicateBytes int64 `yaml:"predicate_bytes" json:"predicate_bytes"`
	// ProjectionEntries is how many packages, findings or statements of one predicate
	// are kept, ProjectionBytes their size as JSON: small enough that those of a dozen
	// attestations fit into policy_input_bytes. What is cut is marked as truncated.
	ProjectionEntries int   `yaml:"projection_entries" json:"projection_entries"`
	ProjectionBytes   int64 `yaml:"projection_bytes" json:"projection_bytes"`
	// Items caps the pieces of evidence of one image.
	Items int `yaml:"items" json:"items"`
	// Referrers caps the referrers listed for one digest, all pages together.
	Referrers int `yaml:"referrers" json:"referrers"`
	// ReferrerPages caps the pages read of one listing.
	ReferrerPages int `yaml:"referrer_pages" json:"referrer_pages"`
	// Layers caps the layers of one evidence manifest.
	Layers int `yaml:"layers" json:"layers"`
	// Platforms caps the manifests of an index.
	Platforms int `yaml:"platforms" json:"platforms"`
	// StatementSubjects caps the subjects of one statement.
	StatementSubjects int `yaml:"statement_subjects" json:"statement_subjects"`
	// LogEntries and Timestamps cap those of one item.
	LogEntries int `yaml:"log_entries" json:"log_entries"`
	Timestamps int `yaml:"timestamps" json:"timestamps"`
	// ChainCertificates caps the certificates of one item (CVE-2026-32280).
	ChainCertificates int `yaml:"chain_certificates" json:"chain_certificates"`
	// CandidateKeys caps the keys tried for one item.
	CandidateKeys int `yaml:"candidate_keys" json:"candidate_keys"`
	// JSONDepth caps the nesting of any JSON that we decode ourselves.
	JSONDepth int `yaml:"json_depth" json:"json_depth"`
	// MemoryBytes bounds the evidence that is verified at one time.
	MemoryBytes int64 `yaml:"memory_bytes" json:"memory_bytes"`
	// SpoolBytes bounds the evidence of one image that is in temporary files: items of
	// 1 MiB and more.
	SpoolBytes int64 `yaml:"spool_bytes" json:"spool_bytes"`
	// RequestTimeout bounds one registry request, body included.
	RequestTimeout time.Duration `yaml:"request_timeout" json:"request_timeout"`
	// SearchTimeout bounds resolving and collecting as a whole.
	SearchTimeout time.Duration `yaml:"search_timeout" json:"search_timeout"`
	// Parallel caps the requests in flight for one image.
	Parallel int `yaml:"parallel" json:"parallel"`
	// ClockSkew is how far a verified time may lie after the time of evaluation.
	ClockSkew time.Duration `yaml:"clock_skew" json:"clock_skew"`
	// PolicyTime bounds one policy evaluation; PolicyInputBytes its input.
	PolicyTime       time.Duration `yaml:"policy_time" json:"policy_time"`
	PolicyInputBytes int64         `yaml:"policy_input_bytes" json:"policy_input_bytes"`
	// PolicyResultBytes caps what a policy may answer.
	PolicyResultBytes int64 `yaml:"policy_result_bytes" json:"policy_result_bytes"`
}

// DefaultLimits are generous for real images and small for an attacker.
func DefaultLimits() Limits {
	return Limits{
		ManifestBytes:     4 << 20,
		BundleBytes:       96 << 20,
		PredicateBytes:    1 << 20,
		ProjectionEntries: 5000,
		ProjectionBytes:   640 << 10,
		Items:             256,
		Referrers:         1024,
		ReferrerPages:     32,
		Layers:            128,
		Platforms:         64,
		StatementSubjects: 1024,
		LogEntries:        16,
		Timestamps:        16,
		ChainCertificates: 10,
		CandidateKeys:     64,
		JSONDepth:         128,
		MemoryBytes:       256 << 20,
		SpoolBytes:        1 << 30,
		RequestTimeout:    10 * time.Second,
		SearchTimeout:     25 * time.Second,
		Parallel:          8,
		ClockSkew:         time.Minute,
		PolicyTime:        time.Second,
		PolicyInputBytes:  8 << 20,
		PolicyResultBytes: 1 << 20,
	}
}
