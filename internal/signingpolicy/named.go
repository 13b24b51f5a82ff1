package signingpolicy

// ParseAs reads a signing policy as [Parse] does, for the place that name is of:
// a document that does not name itself is given that name, and one that has
// another is an error.
func ParseAs(name string, body []byte) (*Policy, error) {
	r := &reader{}
	if !isPolicyName(name) {
		r.fail(nil, "name", "%q is not a name; use at most 63 lower-case letters, digits and dashes", name)
		return nil, r.err()
	}
	n, err := inner(body, maxBytes)
	if err != nil {
		return nil, err
	}
	p, err := fromNode(n, name)
	switch {
	case err != nil:
		return nil, err
	case p.Name == name:
		return p, nil
	default:
		r.fail(n, "name", "is %q in the document, and it was to be %q; leave it out or make them the same", p.Name, name)
		return nil, r.err()
	}
}
