package signing.lib.licence_test

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib

# Each helper gives what its METADATA shows.
test_example_of_known if {
	got := "apache-2.0" in lib.licence.known
	json.unmarshal(json.marshal(got)) == true
}

test_example_of_fine if {
	got := lib.licence.fine("(MIT OR GPL-3.0-only) AND Apache-2.0", {"denied": ["GPL-*"]})
	json.unmarshal(json.marshal(got)) == true
}

test_example_of_normal if {
	got := lib.licence.normal("GPL-3.0-or-later")
	json.unmarshal(json.marshal(got)) == "gpl-3.0"
}
