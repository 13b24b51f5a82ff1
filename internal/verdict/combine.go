package verdict

// Combine gives the decision of a verdict, the worst of its enforcing policies
// (unknown > deny > allow), and whether the image may run. Where every policy
// is in audit mode the decision is the worst of those, and the image may run.
// No policies at all is a deny: the engine adds the reason.
func Combine(policies []PolicyVerdict) (decision Decision, allowed bool) {
	if len(policies) == 0 {
		return Deny, false
	}
	allowed = true
	var enforced, audited Decision
	for _, p := range policies {
		switch p.Mode {
		case Disabled:
		case Audit:
			audited = worst(audited, p.Decision)
		default: // enforce, and anything that should not be
			enforced = worst(enforced, p.Decision)
			allowed = allowed && p.Decision == Allow
		}
	}
	switch {
	case enforced != "":
		return enforced, allowed
	case audited != "":
		return audited, true
	default:
		return Allow, true // disabled policies only; the engine warns
	}
}

// worst ranks unknown over deny over allow; anything that is no decision counts
// as a deny.
func worst(a, b Decision) Decision {
	if a == "" {
		a = Allow
	}
	for _, d := range []Decision{Unknown, Deny} {
		if a == d || b == d {
			return d
		}
	}
	if a != Allow || b != Allow {
		return Deny
	}
	return Allow
}
