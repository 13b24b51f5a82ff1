package signing.lib

# METADATA
# title: Finding
# description: >-
#   One violation or warning, and where it stands among others: what a reader
#   should see first has the lowest number.
# custom:
#   example: >-
#     lib.finding(10, "unsigned", "signing.rules.unmet", {"message": "It is not signed.",
#     "remediation": "Sign it."})
finding(place, code, rule, texts) := [place, {
	"code": code,
	"message": texts.message,
	"remediation": texts.remediation,
	"rule": rule,
}]

# METADATA
# title: Finding about a fact
# description: One violation or warning about one piece of evidence, named by its id.
# custom:
#   example: >-
#     lib.finding_of(30, "old", "signing.rules", {"message": "It is old.", "remediation":
#     "Build it anew.", "fact": "sha256:dev"})
finding_of(place, code, rule, texts) := [place, {
	"code": code,
	"message": texts.message,
	"remediation": texts.remediation,
	"rule": rule,
	"fact": texts.fact,
}]

# METADATA
# title: Image
# description: The image as it was asked for.
# custom:
#   example: 'lib.image with input as fixture.good'
image := object.get(input, ["request", "image"], "(no image)")

# METADATA
# title: Who signed
# description: The signer of a signature in words.
# custom:
#   example: 'lib.who(fixture.good.signatures[0])'
who(signature) := sprintf("%s (issuer %s)", [signature.signer.subject, signature.signer.issuer]) if {
	signature.signer.kind == "certificate"
} else := sprintf("key %s", [signature.principal])

# METADATA
# title: A few words
# description: At most three of a set in order, joined with semicolons, and how many more there are.
# custom:
#   example: 'lib.few({"a", "b", "c", "d", "e"})'
few(words) := concat("; ", sort(words)) if {
	count(words) <= 3
} else := sprintf("%s; and %d more", [concat("; ", array.slice(sort(words), 0, 3)), count(words) - 3])

# METADATA
# title: Time as text
# description: Nanoseconds since 1970 as RFC 3339 in UTC, down to whole seconds.
# custom:
#   example: 'lib.time_text(1780315200000000000)'
time_text(ns) := sprintf("%sT%s:%s:%sZ", [
	_date_text(floor(seconds / 86400)),
	_two(floor((seconds % 86400) / 3600)),
	_two(floor((seconds % 3600) / 60)),
	_two(seconds % 60),
]) if {
	seconds := floor(ns / 1000000000)
}

# The builtins that format times read the machine's time zones, so they are not among
# those that policies have. Years begin in March here, so that a leap day is the last
# of its year; 719468 days lie between the first of March of the year 0 and 1970.
_date_text(days) := sprintf("%d-%s-%s", [
	(year_of_era + (era * 400)) + _next_year(shifted),
	_two(_month(shifted)),
	_two((day_of_year - floor(((153 * shifted) + 2) / 5)) + 1),
]) if {
	since := days + 719468
	era := floor(since / 146097)
	day_of_era := since - (era * 146097)
	leaps := (floor(day_of_era / 1460) - floor(day_of_era / 36524)) + floor(day_of_era / 146096)
	year_of_era := floor((day_of_era - leaps) / 365)
	day_of_year := day_of_era - (((365 * year_of_era) + floor(year_of_era / 4)) - floor(year_of_era / 100))
	shifted := floor(((5 * day_of_year) + 2) / 153)
}

_month(shifted) := shifted + 3 if {
	shifted < 10
} else := shifted - 9

_next_year(shifted) := 1 if {
	shifted >= 10
} else := 0

_two(n) := sprintf("0%d", [n]) if {
	n < 10
} else := sprintf("%d", [n])
