package admin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/signet-policy/signet/client"
)

// rootForm is the form of a trust root with what was typed.
type rootForm struct {
	// Root is what is there; the zero value for a new one.
	Root client.TrustRoot
	Name string
	// File is a trusted_root.json, TUFRoot the first root.json of a repository.
	File, TUFURL, TUFRoot, Target string
	Images, Position, Why         string
	Requires                      client.Requires
	AllowOlder                    bool
	New                           bool
	Mistakes                      mistakes
}

// Action is where the form is sent.
func (f rootForm) Action() string {
	if f.New {
		return "/trust/new"
	}
	return "/trust/" + url.PathEscape(f.Root.Name) + "/edit"
}

// renewed says whether what the root is made of is replaced.
func (f rootForm) renewed() bool {
	return f.New || f.File != "" || f.TUFRoot != "" || f.TUFURL != f.Root.TUFURL || f.TUFURL != "" && f.Target != f.Root.Target
}

func newRoot(v *view) error {
	return v.render(http.StatusOK, "rootform", "trust", "Add a trust root", rootForm{New: true})
}

func editRoot(v *view) error {
	r, err := v.api.TrustRoot(v.Request().Context(), v.Param("name"))
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "rootform", "trust", "Change "+r.Name, rootForm{
		Root: r, Name: r.Name, TUFURL: r.TUFURL, Target: r.Target, Images: strings.Join(r.Images, "\n"), Position: strconv.Itoa(r.Position), Requires: r.Requires,
	})
}

// readRoot takes the form that was sent; old is what it changes.
func (v *view) readRoot(old client.TrustRoot) rootForm {
	field := func(name string) string { return strings.TrimSpace(v.FormValue(name)) }
	return rootForm{
		Root: old, Name: field("name"), File: field("trusted_root"), TUFURL: field("tuf_url"), TUFRoot: field("tuf_root"), Target: field("target"),
		Images: v.FormValue("images"), Position: field("position"), Why: field("why"), AllowOlder: v.FormValue("allow_older") == "on",
		Requires: client.Requires{Log: v.FormValue("log") == "on", SCT: v.FormValue("sct") == "on", Timestamp: v.FormValue("timestamp") == "on"},
	}
}

// put is what is sent of the form; mistakes are those that can be seen here.
func (f *rootForm) put() client.PutTrustRoot {
	out := client.PutTrustRoot{TUFURL: f.TUFURL, Target: f.Target, Images: listOf(f.Images), AllowOlder: f.AllowOlder}
	for _, document := range []struct {
		field, text string
		to          *json.RawMessage
	}{{"trusted_root", f.File, &out.TrustedRoot}, {"tuf_root", f.TUFRoot, &out.TUFRoot}} {
		switch {
		case document.text == "":
		case !json.Valid([]byte(document.text)):
			f.Mistakes.add(document.field, "It is no JSON. Paste the whole file, or drop it on the field.")
		default:
			*document.to = json.RawMessage(document.text)
		}
	}
	if f.File != "" && f.TUFURL == f.Root.TUFURL && f.TUFRoot == "" { // a file takes the place of the repository
		out.TUFURL, out.Target = "", ""
	}
	if f.Position != "" {
		n, err := strconv.Atoi(f.Position)
		if err != nil {
			f.Mistakes.add("position", "It is no number; the lowest is tried first.")
		}
		out.Position = &n
	}
	if !f.New {
		requires := f.Requires
		out.Requires = &requires
	}
	return out
}

func createRoot(v *view) error {
	f := v.readRoot(client.TrustRoot{})
	f.New = true
	if f.Name == "" { // else it would name the list
		f.Mistakes.add("name", "It needs a name.")
	}
	put := f.put()
	if f.Mistakes.Any() {
		return v.rootAgain(f)
	}
	_, err := v.api.WithWhy(f.Why).PutTrustRoot(v.Request().Context(), f.Name, put, nil)
	return v.rootSaved(f, err)
}

func updateRoot(v *view) error {
	ctx := v.Request().Context()
	version, err := strconv.ParseInt(v.FormValue("version"), 10, 64)
	if err != nil {
		return errIncomplete
	}
	old, err := v.api.TrustRoot(ctx, v.Param("name"))
	if err != nil {
		return err
	}
	old.Version = version // of what the person looked at
	f := v.readRoot(old)
	f.Name = old.Name
	put := f.put()
	if f.Mistakes.Any() {
		return v.rootAgain(f)
	}
	if f.renewed() {
		_, err = v.api.WithWhy(f.Why).PutTrustRoot(ctx, old.Name, put, &version)
	} else {
		_, err = v.api.WithWhy(f.Why).PatchTrustRoot(ctx, old.Name, version, f.patch(put))
	}
	return v.rootSaved(f, err)
}

// patch is what the form can change of a root that stays what it is.
func (f rootForm) patch(put client.PutTrustRoot) map[string]any {
	out := map[string]any{"images": put.Images, "requires": f.Requires}
	if put.Position != nil {
		out["position"] = *put.Position
	}
	return out
}

func (v *view) rootAgain(f rootForm) error {
	return v.render(http.StatusUnprocessableEntity, "rootform", "trust", "Trust root", f)
}

// rootSaved goes back to the list, or says beside the fields what is wrong.
func (v *view) rootSaved(f rootForm, err error) error {
	if err == nil {
		return v.to("/trust", "root-saved")
	}
	m, ok := mistakesOf(err, "", "name", "trusted_root", "tuf_url", "tuf_root", "target", "images", "position", "requires")
	switch {
	case f.New && client.IsStale(err):
		m = mistakes{}
		m.add("name", "There is a trust root of this name already. Choose another name, or change that one.")
	case !ok:
		return err
	}
	f.Mistakes = m
	return v.rootAgain(f)
}

// previewRoot shows what a form's root would change before it is saved.
func previewRoot(v *view) error {
	var old client.TrustRoot
	if name := v.FormValue("of"); name != "" {
		var err error
		if old, err = v.api.TrustRoot(v.Request().Context(), name); err != nil {
			return err
		}
	}
	f := v.readRoot(old)
	f.New = old.Name == ""
	if old.Name != "" {
		f.Name = old.Name
	}
	put := f.put()
	if !f.renewed() { // its bytes stay, wherever they come from
		put.TrustedRoot, put.TUFURL, put.Target = old.TrustedRoot, "", ""
	}
	out := flips{}
	switch {
	case f.Name == "":
		out.Problem = "Give it a name first."
	case f.Mistakes.Any():
		out = f.Mistakes.notYet()
	default:
		out = v.flips(client.Operation{Op: client.OpPutTrustRoot, Name: f.Name, TrustRoot: &put})
	}
	return v.part(http.StatusOK, "change", "flips", out)
}

func confirmRoot(v *view) error {
	r, err := v.api.TrustRoot(v.Request().Context(), v.Param("name"))
	if err != nil {
		return err
	}
	return v.asks(change{
		Tab: "trust", Heading: "Remove " + r.Name + "?", Button: "Remove " + r.Name,
		Says: []string{"What only its certificates, logs and timestamps prove counts no more, from the next verdict on, on every server."},
		Path: "/trust/" + url.PathEscape(r.Name) + "/remove", Back: "/trust", Sent: url.Values{"version": {strconv.FormatInt(r.Version, 10)}},
	}, &client.Operation{Op: client.OpDeleteTrustRoot, Name: r.Name})
}

func removeRoot(v *view) error {
	version, err := strconv.ParseInt(v.FormValue("version"), 10, 64)
	if err != nil {
		return errIncomplete
	}
	if err := v.api.WithWhy(v.FormValue("why")).DeleteTrustRoot(v.Request().Context(), v.Param("name"), version); err != nil {
		return err
	}
	return v.to("/trust", "root-removed")
}
