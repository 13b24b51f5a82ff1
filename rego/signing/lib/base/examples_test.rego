package signing.lib.base_test

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.fixture_test as fixture

# Each helper gives what its METADATA shows.
test_example_of_image if {
	got := lib.base.image("pkg:docker/debian@12", {"sha256": "00"})
	json.unmarshal(json.marshal(got)) == {"digest": "sha256:00", "name": "docker.io/library/debian", "tag": "12"}
}

test_example_of_full_name if {
	got := lib.base.full_name("debian")
	json.unmarshal(json.marshal(got)) == "docker.io/library/debian"
}

test_example_of_named if {
	got := lib.base.named(fixture.built_on("docker.io/library/debian:12")) with input as fixture.good
	json.unmarshal(json.marshal(got)) == [{"digest": "", "name": "docker.io/library/debian", "tag": "12"}]
}

test_example_of_called if {
	got := lib.base.called({"name": "docker.io/library/debian", "tag": "12", "digest": ""})
	json.unmarshal(json.marshal(got)) == "docker.io/library/debian:12"
}

test_example_of_allowed if {
	got := lib.base.allowed({"name": "docker.io/library/debian", "tag": "12", "digest": ""}, ["docker.io/library/debian:12"])
	json.unmarshal(json.marshal(got)) == true
}

test_example_of_facts if {
	got := lib.base.facts({"allowed": ["docker.io/library/debian"]}) with input as fixture.based([fixture.built_on("docker.io/library/debian:12")]) with data.params as fixture.params
	json.unmarshal(json.marshal(got)) == {"sha256:6f94cc499cd18ded6d779157a0ace941555bea2f8e2b4052bf999761d7efc25b": [{"digest": "", "name": "docker.io/library/debian", "tag": "12"}]}
}

test_example_of_passing if {
	got := lib.base.passing({"allowed": ["docker.io/library/debian"]}) with input as fixture.based([fixture.built_on("docker.io/library/debian:12")]) with data.params as fixture.params
	json.unmarshal(json.marshal(got)) == ["sha256:6f94cc499cd18ded6d779157a0ace941555bea2f8e2b4052bf999761d7efc25b"]
}
