package rego

// ViolationCodes are the codes of the violations that the embedded policy can
// have and an exception can waive. A test holds them against the METADATA.
func ViolationCodes() []string {
	return []string{
		"build_parameters_differ", "build_source_not_trusted", "builder_not_trusted",
		"index_not_signed", "no_trusted_signer", "provenance_contradicts", "provenance_log_missing", "provenance_missing",
		"signature_rejected", "signed_in_future", "signer_not_trusted", "slsa_level_too_low",
		"source_not_trusted", "threshold_not_met", "transparency_log_missing", "unsigned",
	}
}

// NeverWaived are the codes that no exception waives, as signing.lib.never_waived
// has them: they say that it is not known what was asked for, or what there is.
func NeverWaived() []string {
	return []string{
		"input_not_understood", "no_requirement", "parameters_missing", "requirement_malformed", "requirement_unexplained",
		"rule_malformed", "search_incomplete",
	}
}
