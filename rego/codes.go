package rego

// ViolationCodes are the codes of the violations that the embedded policy can
// have and an exception can waive. A test holds them against the METADATA.
func ViolationCodes() []string {
	return []string{
		"group_not_met", "index_not_signed", "no_trusted_signer", "platform_lacks_requirement", "platform_not_signed", "signature_rejected", "signed_in_future", "signer_not_trusted",
		"source_not_trusted", "threshold_not_met", "transparency_log_missing", "unsigned",
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
