package api

// Most bodies of POST /verdicts are one flat object of plain ASCII strings. For
// those the strict decoder, which looks at every document twice and at the Go
// type by reflection, would be half of the time that a cached verdict takes.
// plain reads them in one go; whatever it does not expect at once, good or bad,
// it leaves to the strict decoder. A fuzz test holds the two together: what
// plain takes, the strict decoder takes with the same result.

// plain reads body into req and says whether it could. When it could not, req
// may be half filled.
func (req *verdictRequest) plain(body []byte) bool {
	p := plainReader{b: body}
	var image, platform, context, refresh, assessment, labels, attest bool // seen
	more := p.open()
	for more {
		key := p.key()
		switch {
		case string(key) == "image" && !image:
			image, req.Image = true, string(p.str())
		case string(key) == "platform" && !platform:
			platform, req.Platform = true, string(p.str())
		case string(key) == "context" && !context:
			context, req.Context = true, p.strings()
		case string(key) == "refresh" && !refresh:
			refresh, req.Refresh = true, p.boolean()
		case string(key) == "assessment_id" && !assessment:
			assessment, req.AssessmentID = true, string(p.str())
		case string(key) == "labels" && !labels:
			labels, req.Labels = true, p.strings()
		case string(key) == "attest" && !attest:
			attest, req.Attest = true, p.boolean()
		default:
			return false
		}
		more = p.next()
	}
	return !p.odd && p.end()
}

// plainReader walks a document. Once something is odd it stays so.
type plainReader struct {
	b   []byte
	i   int
	odd bool
}

func (p *plainReader) space() {
	for p.i < len(p.b) && (p.b[p.i] == ' ' || p.b[p.i] == '\n' || p.b[p.i] == '\t' || p.b[p.i] == '\r') {
		p.i++
	}
}

// take skips white space and then c, which must be there.
func (p *plainReader) take(c byte) {
	p.space()
	if p.i >= len(p.b) || p.b[p.i] != c {
		p.odd = true
		return
	}
	p.i++
}

func (p *plainReader) end() bool {
	p.space()
	return p.i == len(p.b)
}

// open reads { and says whether a key follows; an empty object is odd.
func (p *plainReader) open() bool {
	p.take('{')
	return !p.odd
}

// next says whether another key follows.
func (p *plainReader) next() bool {
	p.space()
	if p.odd || p.i >= len(p.b) {
		p.odd = true
		return false
	}
	p.i++
	switch p.b[p.i-1] {
	case ',':
		return true
	case '}':
	default:
		p.odd = true
	}
	return false
}

func (p *plainReader) key() []byte {
	k := p.str()
	p.take(':')
	return k
}

// str reads a string of printable ASCII without escapes.
func (p *plainReader) str() []byte {
	p.take('"')
	start := p.i
	for ; !p.odd && p.i < len(p.b); p.i++ {
		switch c := p.b[p.i]; {
		case c == '"':
			p.i++
			return p.b[start : p.i-1]
		case c < ' ' || c == '\\' || c >= 0x7f:
			p.odd = true
		}
	}
	p.odd = true
	return nil
}

// strings reads an object of strings, without duplicates.
func (p *plainReader) strings() map[string]string {
	m := map[string]string{}
	for more := p.open(); more; more = p.next() {
		k := string(p.key())
		if _, twice := m[k]; twice || p.odd {
			p.odd = true
			return nil
		}
		m[k] = string(p.str())
	}
	return m
}

func (p *plainReader) boolean() bool {
	p.space()
	for _, word := range []string{"true", "false"} {
		if len(p.b)-p.i >= len(word) && string(p.b[p.i:p.i+len(word)]) == word {
			p.i += len(word)
			return word == "true"
		}
	}
	p.odd = true
	return false
}
