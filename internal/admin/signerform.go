package admin

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	_ "time/tzdata" // a form's time zone must not depend on what the machine has

	"github.com/signet-policy/signet/client"
)

// issuer is one that the picker offers.
type issuer struct{ Label, URL, Example string }

func issuers() []issuer {
	return []issuer{
		{"GitHub Actions", "https://token.actions.githubusercontent.com", "https://github.com/org/repo/.github/workflows/release.yml@refs/heads/main"},
		{"GitLab CI", "https://gitlab.com", "https://gitlab.com/group/project//.gitlab-ci.yml@refs/heads/main"},
		{"Google", "https://accounts.google.com", "builder@project.iam.gserviceaccount.com"},
		{"Buildkite", "https://agent.buildkite.com", "https://buildkite.com/org/pipeline"},
		{"GitHub (a person)", "https://github.com/login/oauth", "jane@example.com"},
	}
}

// signerForm is the form of a signer with what was typed.
type signerForm struct {
	Signer   client.Signer
	Mistakes mistakes
	Issuers  []issuer
	Roots    []string
	// Gone are roots that the signer names, and that are not there any more.
	Gone []string
	// Had are the names of the claims that the signer has: those that are taken out of
	// the form go.
	Had   []string
	Zones []string
	// Was are the signer's times by field (RFC 3339), which the form shows by the clock
	// of ShownIn.
	Was     map[string]string
	ShownIn string
	// Match is "exact" or "regex"; the others are texts as they were typed.
	Match, Images, Claims, Expires, NotBefore, SignedFrom, SignedUntil, Zone, Why string
	// New says that there is no such signer yet.
	New bool
	// Kept is what was written for other types of signer, and Unsaved says that anything
	// was before another type was chosen.
	Kept    []keptField
	Unsaved bool
	Keys    []keyShown
	Seen    *seen
	// Unchecked is why it could not be checked.
	Unchecked string
}

// keptField is a field that the form carries along unseen.
type keptField struct{ Name, Value string }

// typeFields are the fields that only one type of signer has, with the type.
func typeFields() [][2]string {
	return [][2]string{
		{"issuer", "keyless"}, {"match", "keyless"}, {"subject", "keyless"}, {"claims", "keyless"}, {"trust_roots", "keyless"},
		{"public_key", "public_key"}, {"kms_key_ref", "kms"}, {"auto_rotate", "kms"},
	}
}

// Action is where the form is sent.
func (f signerForm) Action() string {
	if f.New {
		return "/signers/new"
	}
	return "/signers/" + url.PathEscape(f.Signer.ID) + "/edit"
}

// signerFields are those that have a place for what is wrong with them.
func signerFields() []string {
	return []string{"name", "issuer", "subject", "subject_regex", "claims", "trust_roots", "public_key", "kms_key_ref", "images", "expires_at", "not_before", "signed_from", "signed_until", "owner", "note"}
}

func (v *view) form(f signerForm) (signerForm, error) {
	f.Issuers = issuers()
	for r, err := range v.api.AllTrustRoots(v.Request().Context()) {
		if err != nil {
			return f, err
		}
		f.Roots = append(f.Roots, r.Name)
	}
	for _, name := range f.Signer.TrustRoots {
		if !slices.Contains(f.Roots, name) {
			f.Gone = append(f.Gone, name)
		}
	}
	if f.Zone == "" {
		f.Zone = "UTC"
	}
	f.Zones = zonesWith(f.Zone)
	if f.Match == "" {
		f.Match = "exact"
	}
	return f, nil
}

// signerType is the type of signer that is called so; a keyless one where none is.
func signerType(name string) string {
	if name == "public_key" || name == "kms" {
		return name
	}
	return "keyless"
}

// newSigner shows an empty form, or one that is filled with an identity that was
// seen in a verdict.
func newSigner(v *view) error {
	q := v.QueryParams()
	s := client.Signer{Type: signerType(q.Get("type")), Enabled: true, Issuer: q.Get("issuer"), Subject: q.Get("subject"), Name: q.Get("name"), Owner: v.who.Team}
	f, err := v.form(signerForm{Signer: s, New: true})
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "signerform", "signers", "New signer", f)
}

func editSigner(v *view) error {
	s, err := v.api.Signer(v.Request().Context(), v.Param("id"))
	if err != nil {
		return err
	}
	f := signerForm{Signer: s, Images: strings.Join(s.Images, "\n"), Claims: claimsText(s.Claims), Was: map[string]string{}}
	for _, t := range f.times() {
		if at := *t.at; at != nil {
			f.Was[t.name], *t.text = at.UTC().Format(time.RFC3339Nano), inputTime(*at, time.UTC)
		}
	}
	if s.SubjectRegex != "" {
		f.Match = "regex"
	}
	f.Had = slices.Sorted(maps.Keys(s.Claims))
	f.Keys, _ = keysOf(s.PublicKey)
	if f, err = v.form(f); err != nil {
		return err
	}
	return v.render(http.StatusOK, "signerform", "signers", "Edit "+s.Name, f)
}

func claimsText(claims map[string]string) string {
	lines := make([]string, 0, len(claims))
	for name, value := range claims {
		lines = append(lines, name+": "+value)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// signerTime is one of a signer's times, as the form has it and as the signer does.
type signerTime struct {
	name string
	text *string
	at   **time.Time
}

func (f *signerForm) times() []signerTime {
	s := &f.Signer
	return []signerTime{
		{"expires_at", &f.Expires, &s.ExpiresAt}, {"not_before", &f.NotBefore, &s.NotBefore},
		{"signed_from", &f.SignedFrom, &s.SignedFrom}, {"signed_until", &f.SignedUntil, &s.SignedUntil},
	}
}

// readTimes reads the times. One that stands as it was shown stays what it is, whatever
// zone was chosen for another, and is shown by the clock of that zone from now on.
func (v *view) readTimes(f *signerForm) {
	shownIn, err := zoneOf(v.FormValue("shown_in"))
	if err != nil {
		f.Mistakes.Other = append(f.Mistakes.Other, errIncomplete.detail)
		return
	}
	zone, err := zoneOf(f.Zone)
	if err != nil { // is a mistake of the times that were typed
		zone = shownIn
	}
	f.Was, f.ShownIn = map[string]string{}, zone.String()
	for _, t := range f.times() {
		f.Was[t.name] = v.FormValue("was_" + t.name)
		was, err := time.Parse(time.RFC3339Nano, f.Was[t.name])
		if err == nil && shows(*t.text, was, shownIn) {
			*t.at, *t.text = &was, inputTime(was, zone)
			continue
		}
		var problem string
		if *t.at, problem = formTime(*t.text, f.Zone); problem != "" {
			f.Mistakes.add(t.name, problem)
		}
	}
}

// read takes the form that was sent.
func (v *view) readSigner() signerForm {
	field := func(name string) string { return strings.TrimSpace(v.FormValue(name)) }
	of := field("type")
	if as := field("as"); as != "" { // another type was chosen
		of = signerType(as)
	}
	form, _ := v.FormParams() // what cannot be read has no fields
	f := signerForm{
		Signer: client.Signer{
			Name: field("name"), Type: of, Enabled: v.FormValue("enabled") != "off", Owner: field("owner"), Note: strings.ReplaceAll(field("note"), "\r\n", "\n"),
			Images: listOf(v.FormValue("images")), Claims: map[string]string{}, TrustRoots: []string{},
		},
		Match: field("match"), Images: v.FormValue("images"), Claims: v.FormValue("claims"),
		Expires: field("expires_at"), NotBefore: field("not_before"), SignedFrom: field("signed_from"), SignedUntil: field("signed_until"), Zone: field("zone"), Why: field("why"),
	}
	s := &f.Signer
	switch s.Type {
	case "keyless":
		s.Issuer = field("issuer")
		if f.Match == "regex" {
			s.SubjectRegex = field("subject")
		} else {
			s.Subject = field("subject")
		}
		for _, line := range strings.Split(f.Claims, "\n") {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				f.Mistakes.add("claims", fmt.Sprintf("%q has no value; write one claim a line, as source_repository_ref: refs/tags/**.", line))
				continue
			}
			s.Claims[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
		s.TrustRoots = append(s.TrustRoots, form["trust_roots"]...)
		f.Had = form["had_claim"]
	case "public_key":
		s.PublicKey = strings.TrimSpace(v.FormValue("public_key"))
		if s.PublicKey != "" {
			s.PublicKey += "\n"
		}
		f.Keys, _ = keysOf(s.PublicKey)
	case "kms":
		s.KMSKeyRef, s.AutoRotate = field("kms_key_ref"), v.FormValue("auto_rotate") == "on"
	}
	for _, other := range typeFields() {
		for _, value := range form[other[0]] {
			if other[1] != of && value != "" {
				f.Kept = append(f.Kept, keptField{other[0], value})
			}
		}
	}
	v.readTimes(&f)
	return f
}

func createSigner(v *view) error {
	f := v.readSigner()
	f.New = true
	if v.FormValue("as") != "" { // what was written stays, and is not wrong yet
		f.Mistakes, f.Unsaved = mistakes{}, v.FormValue("unsaved") != ""
		f, err := v.form(f)
		if err != nil {
			return err
		}
		return v.render(http.StatusOK, "signerform", "signers", "New signer", f)
	}
	if !f.Mistakes.Any() {
		made, err := v.api.WithWhy(f.Why).CreateSigner(v.Request().Context(), f.Signer)
		if err == nil {
			return v.to("/signers/"+url.PathEscape(made.ID), "signer-created")
		}
		if err := f.wrong(err); err != nil {
			return err
		}
	}
	return v.formAgain(f)
}

// wrong puts an error beside the fields; it returns one that is none of theirs.
func (f *signerForm) wrong(err error) error {
	m, ok := mistakesOf(err, "", signerFields()...)
	if !ok {
		return err
	}
	if regex := m.By["subject_regex"]; regex != "" { // one field has both
		m.add("subject", regex)
	}
	f.Mistakes = m
	return nil
}

func (v *view) formAgain(f signerForm) error {
	f, err := v.form(f)
	if err != nil {
		return err
	}
	return v.render(http.StatusUnprocessableEntity, "signerform", "signers", "Signer", f)
}

func updateSigner(v *view) error {
	f := v.readSigner()
	version, err := strconv.ParseInt(v.FormValue("version"), 10, 64)
	if err != nil {
		return errIncomplete
	}
	f.Signer.ID, f.Signer.Version = v.Param("id"), version
	if !f.Mistakes.Any() {
		_, err := v.api.WithWhy(f.Why).UpdateSigner(v.Request().Context(), f.Signer.ID, version, f.patch())
		if err == nil {
			return v.to("/signers/"+url.PathEscape(f.Signer.ID), "signer-saved")
		}
		if err := f.wrong(err); err != nil {
			return err
		}
	}
	return v.formAgain(f)
}

// patch says every field that the form has, so that one that was emptied goes.
func (f signerForm) patch() map[string]any {
	s := f.Signer
	orNull := func(text string) any {
		if text == "" {
			return nil
		}
		return text
	}
	out := map[string]any{"name": s.Name, "images": s.Images, "owner": orNull(s.Owner), "note": orNull(s.Note), "expires_at": s.ExpiresAt, "not_before": s.NotBefore, "signed_from": s.SignedFrom, "signed_until": s.SignedUntil}
	switch s.Type {
	case "keyless":
		claims := map[string]any{} // is merged: one that is not named stays
		for _, name := range f.Had {
			claims[name] = nil
		}
		for name, value := range s.Claims {
			claims[name] = value
		}
		out["issuer"], out["subject"], out["subject_regex"] = orNull(s.Issuer), orNull(s.Subject), orNull(s.SubjectRegex)
		out["claims"], out["trust_roots"] = claims, s.TrustRoots
	case "public_key":
		out["public_key"] = orNull(s.PublicKey)
	case "kms":
		out["kms_key_ref"], out["auto_rotate"] = orNull(s.KMSKeyRef), s.AutoRotate
	}
	return out
}

// checkSigner answers while one types: what is wrong, which keys a PEM has, and
// what an identity would match. Nothing is kept of it.
func checkSigner(v *view) error {
	f := v.readSigner()
	if f.Signer.Type == "keyless" {
		s, err := v.seen(v.Request().Context(), f.Signer)
		if err != nil {
			return err
		}
		f.Seen = &s
	}
	if f.Signer.Type != "kms" { // a KMS is asked when a person says so
		if err := v.try(&f); err != nil {
			return err
		}
	}
	f.forgive()
	return v.part(http.StatusOK, "signerform", "checked", f)
}

// triedKey is the key of a reference for a person to compare, or why it is none.
type triedKey struct {
	Ref, Problem string
	Keys         []keyShown
}

// tryKey reads the key of a KMS before the signer is saved.
func tryKey(v *view) error {
	t := triedKey{Ref: strings.TrimSpace(v.FormValue("kms_key_ref"))}
	read, err := v.api.ReadKey(v.Request().Context(), client.ReadKey{KMSKeyRef: t.Ref})
	if err == nil {
		t.Keys, err = keysOf(read.PublicKey)
	} else if m, ok := mistakesOf(err, "", "kms_key_ref"); ok && m.By["kms_key_ref"] != "" {
		t.Problem, err = m.By["kms_key_ref"], nil
	}
	if err != nil {
		if t.Problem = mistake(err); t.Problem == "" {
			return err
		}
	}
	return v.part(http.StatusOK, "signerform", "tried", t)
}

// putSigner is the change that a form asks for.
func (v *view) putSigner(f *signerForm) (client.Operation, error) {
	op := client.Operation{Op: client.OpPutSigner, Name: v.FormValue("id")}
	var err error
	if op.Name != "" {
		op.Signer, err = json.Marshal(f.patch())
	} else {
		op.Signer, err = json.Marshal(f.Signer)
	}
	return op, err
}

// try makes the change and takes it back, over no verdicts.
func (v *view) try(f *signerForm) error {
	if !v.who.MayAdminister() || f.Mistakes.Any() {
		return nil
	}
	op, err := v.putSigner(f)
	if err != nil {
		return err
	}
	_, err = v.api.Preview(v.Request().Context(), client.PreviewRequest{Operations: []client.Operation{op}, OnlyCheck: true})
	if client.IsUnavailable(err) { // the next key asks again, and so does saving
		f.Unchecked = mistake(err)
		return nil
	}
	if err == nil {
		return nil
	}
	m, ok := mistakesOf(err, "operations[0].signer.", signerFields()...)
	if !ok || len(m.Other) > 0 {
		if m, ok = mistakesOf(err, "operations[0].", signerFields()...); !ok {
			return err
		}
	}
	if regex := m.By["subject_regex"]; regex != "" {
		m.add("subject", regex)
	}
	f.Mistakes = m
	return nil
}

// forgive leaves out mistakes in fields that nobody has filled in yet: an empty
// form is no mistake.
func (f *signerForm) forgive() {
	empty := map[string]bool{
		"name": f.Signer.Name == "", "issuer": f.Signer.Issuer == "", "subject": f.Signer.Subject+f.Signer.SubjectRegex == "",
		"subject_regex": f.Signer.SubjectRegex == "", "public_key": f.Signer.PublicKey == "", "kms_key_ref": f.Signer.KMSKeyRef == "",
	}
	for field := range f.Mistakes.By {
		if empty[field] {
			delete(f.Mistakes.By, field)
		}
	}
}

// keyShown is a public key for a person to compare.
type keyShown struct{ Algorithm, Fingerprint string }

// keysOf reads every block of a PEM.
func keysOf(text string) ([]keyShown, error) {
	var out []keyShown
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out, nil
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return out, err
		}
		sum := sha256.Sum256(block.Bytes)
		k := keyShown{Fingerprint: "SHA256:" + hex.EncodeToString(sum[:])}
		switch key := key.(type) {
		case *ecdsa.PublicKey:
			k.Algorithm = "ECDSA " + key.Curve.Params().Name
		case *rsa.PublicKey:
			k.Algorithm = "RSA " + strconv.Itoa(key.N.BitLen()) + " bits"
		case ed25519.PublicKey:
			k.Algorithm = "Ed25519"
		default:
			k.Algorithm = fmt.Sprintf("%T", key)
		}
		out = append(out, k)
	}
}

// previewSigner shows what a form's signer would change before it is saved.
func previewSigner(v *view) error {
	f := v.readSigner()
	if f.Mistakes.Any() { // what can be read of it is another signer
		return v.part(http.StatusOK, "change", "flips", f.Mistakes.notYet())
	}
	op, err := v.putSigner(&f)
	if err != nil {
		return err
	}
	return v.part(http.StatusOK, "change", "flips", v.flips(op))
}
