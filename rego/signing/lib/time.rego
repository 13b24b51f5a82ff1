package signing.lib

# METADATA
# title: Younger
# description: >-
#   True when a time, in nanoseconds, is less than so many seconds before the time of evaluation, and not more than
#   five minutes after it: what says that it was made next year would never get too old.
# custom:
#   example: >-
#     lib.younger(time.parse_rfc3339_ns("2026-06-01T11:00:00Z"), 7200) with input as fixture.good
younger(at, seconds) if {
	now := time.parse_rfc3339_ns(input.evaluated_at)
	now < at + (seconds * 1000000000)
	at <= now + 300000000000
}

# METADATA
# title: Time in words
# description: A time in nanoseconds as RFC 3339, in UTC and whole seconds, which are never rounded up.
# custom:
#   example: 'lib.moment(1780315200000000000)'
moment(ns) := sprintf("%s-%s-%sT%s:%s:%sZ", [
	_digits(year + _carry[month > 2], 4), _digits(month, 2), _digits(day, 2),
	_digits(floor(second / 3600), 2), _digits(floor(second / 60) % 60, 2), _digits(second % 60, 2),
]) if {
	# From days to a date as in http://howardhinnant.github.io/date_algorithms.html (civil_from_days): years
	# begin in March there, so that a leap day is the last.
	seconds := floor(ns / 1000000000)
	second := seconds % 86400
	days := ((seconds - second) / 86400) + 719468
	of_era := days % 146097
	of_year := floor((((of_era - floor(of_era / 1460)) + floor(of_era / 36524)) - floor(of_era / 146096)) / 365)
	year := of_year + (400 * floor(days / 146097))
	day_of_year := of_era - (((365 * of_year) + floor(of_year / 4)) - floor(of_year / 100))
	shifted := floor(((5 * day_of_year) + 2) / 153)
	day := (day_of_year - floor(((153 * shifted) + 2) / 5)) + 1
	month := ((shifted + 2) % 12) + 1
}

_carry := {true: 0, false: 1}

_digits(number, places) := concat("", [substring("0000", 0, places - count(text)), text]) if {
	text := format_int(number, 10)
}

# METADATA
# title: Age in words
# description: So many seconds in the largest unit of which there are at least two.
# custom:
#   example: 'lib.span(777600)'
span(seconds) := sprintf("%d days", [floor(seconds / 86400)]) if {
	seconds >= 172800
} else := sprintf("%d hours", [floor(seconds / 3600)]) if {
	seconds >= 7200
} else := sprintf("%d minutes", [floor(seconds / 60)]) if {
	seconds >= 120
} else := sprintf("%d seconds", [floor(seconds)])
