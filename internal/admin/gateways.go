package admin

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/signet-policy/signet/client"
)

// gatewaysPage is what stands behind the gateways of an MCP gateway.
type gatewaysPage struct {
	Gateways []client.Gateway
	// Query is what was looked for.
	Query string
	Next  string
	First bool
}

// Page is the address of a page of the same list.
func (p gatewaysPage) Page(cursor string) string {
	return with(url.Values{}, "query", p.Query, "cursor", cursor)
}

func listGateways(v *view) error {
	cursor, query := v.QueryParam("cursor"), strings.TrimSpace(v.QueryParam("query"))
	page, err := v.api.FindGateways(v.Request().Context(), query, pageLength, cursor)
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "gateways", "gateways", "Gateways", gatewaysPage{page.Items, query, page.Next, cursor == ""})
}

// gatewayForm is the form of a gateway with what was typed.
type gatewayForm struct {
	Name string
	// Told is what tells the gateway: "gateway_id", "url" or "tag"; Value what it is.
	Told, Value      string
	Image, Note, Why string
	Version          int64
	New              bool
	Mistakes         mistakes
	// Meaning is what the image comes to; nil until it was asked for.
	Meaning *gatewayMeaning
}

// Action is where the form is sent.
func (f gatewayForm) Action() string {
	if f.New {
		return "/gateways/new"
	}
	return "/gateways/" + url.PathEscape(f.Name) + "/edit"
}

// gatewayMeaning says what tool calls would be answered with.
type gatewayMeaning struct {
	Verdict client.Verdict
	// Pinned is the image with the digest that its tag has now, where it was named by
	// a tag.
	Pinned  string
	Problem string
}

func newGateway(v *view) error {
	return v.render(http.StatusOK, "gatewayform", "gateways", "Add a gateway", gatewayForm{New: true, Told: "gateway_id", Image: v.QueryParam("image")})
}

func editGateway(v *view) error {
	g, err := v.api.Gateway(v.Request().Context(), v.Param("name"))
	if err != nil {
		return err
	}
	f := gatewayForm{Name: g.Name, Image: g.Image, Note: g.Note, Version: g.Version}
	f.Told, f.Value = toldBy(g)
	return v.render(http.StatusOK, "gatewayform", "gateways", "Change "+g.Name, f)
}

// toldBy is what tells a gateway.
func toldBy(g client.Gateway) (told, value string) {
	switch {
	case g.GatewayID != "":
		return "gateway_id", g.GatewayID
	case g.URL != "":
		return "url", g.URL
	}
	return "tag", g.Tag
}

func (v *view) readGateway() gatewayForm {
	field := func(name string) string { return strings.TrimSpace(v.FormValue(name)) }
	return gatewayForm{Name: field("name"), Told: field("told"), Value: field("value"), Image: field("image"), Note: field("note"), Why: field("why")}
}

// put is what is sent of the form.
func (f gatewayForm) put() client.PutGateway {
	out := client.PutGateway{Image: f.Image, Note: f.Note}
	switch f.Told {
	case "url":
		out.URL = f.Value
	case "tag":
		out.Tag = f.Value
	default:
		out.GatewayID = f.Value
	}
	return out
}

func createGateway(v *view) error {
	f := v.readGateway()
	f.New = true
	return v.saveGateway(f, nil)
}

func updateGateway(v *view) error {
	f := v.readGateway()
	var err error
	if f.Version, err = strconv.ParseInt(v.FormValue("version"), 10, 64); err != nil {
		return errIncomplete
	}
	f.Name = v.Param("name")
	return v.saveGateway(f, &f.Version)
}

func (v *view) saveGateway(f gatewayForm, version *int64) error {
	if f.Name == "" { // else it would name the list
		f.Mistakes.add("name", "It needs a name.")
	} else {
		_, err := v.api.WithWhy(f.Why).PutGateway(v.Request().Context(), f.Name, f.put(), version)
		if err == nil {
			return v.to("/gateways", "gateway-saved")
		}
		m, ok := mistakesOf(err, "", "name", "gateway_id", "url", "tag", "image", "note")
		switch {
		case f.New && client.IsStale(err):
			m = mistakes{}
			m.add("name", "There is an entry of this name already. Choose another name, or change that one.")
		case !ok:
			return err
		}
		for _, told := range []string{"gateway_id", "url", "tag"} { // one field has them all
			if problem := m.By[told]; problem != "" {
				m.add("value", problem)
			}
		}
		f.Mistakes = m
	}
	return v.render(http.StatusUnprocessableEntity, "gatewayform", "gateways", "Gateway", f)
}

// checkGateway decides on a form's image, and says what that means for tool calls.
func checkGateway(v *view) error {
	image := strings.TrimSpace(v.FormValue("image"))
	verdict, problem, err := v.ask(v.Request().Context(), client.VerdictRequest{Image: image})
	if err != nil {
		return err
	}
	m := gatewayMeaning{Verdict: verdict, Problem: problem}
	if !strings.Contains(image, "@") {
		m.Pinned = verdict.Pinned
	}
	return v.part(http.StatusOK, "gatewayform", "meaning", m)
}

func confirmGateway(v *view) error {
	g, err := v.api.Gateway(v.Request().Context(), v.Param("name"))
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "gatewayremove", "gateways", "Forget "+g.Name, g)
}

func removeGateway(v *view) error {
	version, err := strconv.ParseInt(v.FormValue("version"), 10, 64)
	if err != nil {
		return errIncomplete
	}
	if err := v.api.WithWhy(v.FormValue("why")).DeleteGateway(v.Request().Context(), v.Param("name"), version); err != nil {
		return err
	}
	return v.to("/gateways", "gateway-removed")
}
