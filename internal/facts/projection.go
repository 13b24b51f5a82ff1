package facts

import "time"

// Kinds of projections.
const (
	ProjectionSBOM       = "sbom"
	ProjectionScan       = "scan"
	ProjectionVEX        = "vex"
	ProjectionTestResult = "test_result"
	ProjectionVSA        = "vsa"
)

// Projection is what a predicate of a known type says, in one shape for all of the type's versions.
type Projection struct {
	// Kind is "sbom", "scan", "vex", "test_result" or "vsa".
	Kind string `json:"kind"`
	// MadeAt is when the document says it was made, null where it does not.
	MadeAt *time.Time `json:"made_at"`
	// Truncated says that a list was cut at its limit: rules that need all of it must not be met by it.
	Truncated  bool           `json:"truncated"`
	Packages   []Package      `json:"packages,omitempty"`   // sbom
	Findings   []Finding      `json:"findings,omitempty"`   // scan
	Statements []VEXStatement `json:"statements,omitempty"` // vex
	Result     *TestResult    `json:"result,omitempty"`     // test_result
	Summary    *Summary       `json:"summary,omitempty"`    // vsa
	// Tool is who made it, absent where the document names nobody.
	Tool *Tool `json:"tool,omitempty"`
}

// Package is one component that a bill of materials lists.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl,omitempty"`
	// Licences are SPDX expressions or names as they were written; NOASSERTION and
	// NONE say nothing, and are left out.
	Licences []string `json:"licences"`
}

// Finding is one vulnerability that a scan reports in one package.
type Finding struct {
	ID string `json:"id"`
	// Severity is "critical", "high", "medium", "low", "negligible" or "unknown".
	Severity string `json:"severity"`
	Package  string `json:"package,omitempty"`
	Version  string `json:"version,omitempty"`
	PURL     string `json:"purl,omitempty"`
	FixedIn  string `json:"fixed_in,omitempty"`
	// Score is the highest CVSS base score that the report gives, null for none.
	Score *float64 `json:"score"`
}

// ProductUnnamed stands for a product that a VEX statement names by nothing that we
// read, such as a CPE: it could be any.
const ProductUnnamed = ""

// VEXStatement says whether products are affected by a vulnerability.
type VEXStatement struct {
	Vulnerability string   `json:"vulnerability"`
	Aliases       []string `json:"aliases"`
	// Status is "not_affected", "affected", "fixed" or "under_investigation".
	Status        string `json:"status"`
	Justification string `json:"justification"`
	// Products are names and package URLs, and "" for one that is named by nothing that
	// we read. None: the statement speaks of what the document is attached to.
	Products  []string   `json:"products"`
	Timestamp *time.Time `json:"timestamp"`
}

// TestResult is the outcome of tests.
type TestResult struct {
	// Result is "PASSED", "WARNED" or "FAILED".
	Result        string   `json:"result"`
	Passed        []string `json:"passed"`
	Warned        []string `json:"warned"`
	Failed        []string `json:"failed"`
	Configuration []string `json:"configuration"`
}

// Summary is a SLSA verification summary: what another verifier found.
type Summary struct {
	VerifierID   string     `json:"verifier_id"`
	TimeVerified *time.Time `json:"time_verified"`
	ResourceURI  string     `json:"resource_uri"`
	PolicyURI    string     `json:"policy_uri"`
	// PolicyDigest is "<algorithm>:<hex>", "" for none.
	PolicyDigest string `json:"policy_digest"`
	// Result is "PASSED" or "FAILED".
	Result           string         `json:"result"`
	VerifiedLevels   []string       `json:"verified_levels"`
	DependencyLevels map[string]int `json:"dependency_levels"`
	SLSAVersion      string         `json:"slsa_version"`
	// InputAttestations are digests, "<algorithm>:<hex>".
	InputAttestations []string `json:"input_attestations"`
}

// Tool is who made a document.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// DatabaseAt is when a scanner's data was brought up to date, null where the
	// report does not say.
	DatabaseAt *time.Time `json:"database_at"`
}
