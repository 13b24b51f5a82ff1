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
# title: Finding about a requirement
# description: A finding, as finding gives it, that says why the requirement of that name is not met.
# custom:
#   example: >-
#     lib.explains("signature", lib.finding(10, "unsigned", "signing.rules", {"message": "It is
#     not signed.", "remediation": "Sign it."}))
explains(requirement, [place, said]) := [place, object.union(said, {"requirement": requirement})]

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
