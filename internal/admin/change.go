package admin

import (
	"net/http"
	"net/url"

	"github.com/signet-policy/signet/client"
)

// change asks before something is changed by one click: taken away, put back, or no
// longer counted.
type change struct {
	// Tab is where it belongs, and Of what it is about, where that has a page.
	Tab, Of string
	// Harmless says that nothing is taken away by it.
	Harmless        bool
	Heading, Button string
	// Says are sentences on what it does.
	Says []string
	// Path, below the base, is where the question is and where the answer goes; Back is
	// where who does not want it goes. Both are escaped.
	Path, Back string
	// Sent are fields that go with the answer.
	Sent url.Values
	// Never says why it cannot be done; "": it can.
	Never string
	// Diff is what changes, under the heading Differs.
	Diff    *client.PolicyDiff
	Differs string
	// Previews says that recent verdicts can be decided again; Preview is nil until
	// that was asked for.
	Previews bool
	Preview  *flips
	// query is what asked.
	query url.Values
}

// Section is what the list is called that it belongs to.
func (c change) Section() string {
	return map[string]string{"signers": "Signers", "policy": "Policies", "trust": "Trust"}[c.Tab]
}

// PreviewAt is the address of a preview: "part" of this page, or "1" for all of it.
func (c change) PreviewAt(kind string) string { return c.Path + with(c.query, "preview", kind) }

// asks answers with the question, or with what an operation would change, as the
// request wants.
func (v *view) asks(c change, op *client.Operation) error {
	c.Previews, c.query = op != nil && c.Never == "", v.Request().URL.Query()
	if preview := v.QueryParam("preview"); c.Previews && (preview == "part" || preview == "1") {
		f := v.flips(*op)
		if preview == "part" && v.isPart() {
			return v.part(http.StatusOK, "change", "flips", f)
		}
		c.Preview = &f
	}
	return v.render(http.StatusOK, "change", c.Tab, c.Heading, c)
}

// errIncomplete is a form without what the page itself has put into it.
var errIncomplete = crossSite{"The form is not complete. Load the page again."}
