package signing.lib

# METADATA
# title: Finding
# description: >-
#   One violation or warning, and where it stands among others: what a reader
#   should see first has the lowest number.
finding(place, code, rule, texts) := [place, {
	"code": code,
	"message": texts.message,
	"remediation": texts.remediation,
	"rule": rule,
}]

# METADATA
# title: Finding about a fact
# description: One violation or warning about one piece of evidence, named by its id.
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
image := object.get(input, ["request", "image"], "(no image)")

# METADATA
# title: Who signed
# description: The signer of a signature in words.
who(signature) := sprintf("%s (issuer %s)", [signature.signer.subject, signature.signer.issuer]) if {
	signature.signer.kind == "certificate"
} else := sprintf("key %s", [signature.principal])

# METADATA
# title: A few words
# description: At most three of a set in order, joined with semicolons, and how many more there are.
few(words) := concat("; ", sort(words)) if {
	count(words) <= 3
} else := sprintf("%s; and %d more", [concat("; ", array.slice(sort(words), 0, 3)), count(words) - 3])
