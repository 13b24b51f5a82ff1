package rego

// ViolationCodes are the codes of the violations that the embedded policy can
// have and an exception can waive. A test holds them against the METADATA.
func ViolationCodes() []string {
	return []string{
		"attestation_count_not_met", "attestation_missing", "attestation_no_signer", "attestation_not_counted", "attestation_signer_not_trusted",
		"attestation_too_old", "base_image_not_allowed", "base_image_unknown", "build_parameters_differ", "build_source_not_trusted",
		"builder_not_trusted", "contents_not_read", "group_not_met", "index_not_signed", "licence_denied", "licence_unstated",
		"no_trusted_signer", "platform_lacks_requirement", "platform_not_signed", "provenance_contradicts", "provenance_log_missing",
		"provenance_missing", "scan_database_too_old", "signature_rejected", "signed_in_future", "signer_not_trusted", "slsa_level_too_low",
		"source_not_trusted", "summary_level_too_low", "summary_missing", "summary_not_passed", "summary_not_trusted", "summary_other_image",
		"summary_other_policy", "summary_too_old", "tests_not_passed", "threshold_not_met", "transparency_log_missing", "unsigned",
		"vulnerability_found",
	}
}

// NeverWaived are the codes that no exception waives, as signing.lib.never_waived
// has them: they say that it is not known what was asked for, or what there is.
func NeverWaived() []string {
	return []string{
		"input_not_understood", "no_requirement", "parameters_missing", "platform_not_requested", "requirement_malformed",
		"requirement_unexplained", "rule_malformed", "search_incomplete",
	}
}
