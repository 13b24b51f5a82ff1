package admin

import (
	"net/http"
	"strings"

	"github.com/signet-policy/signet/client"
)

// compromisePage asks until when a signer's signatures count, and then lists what was
// allowed because of later ones.
type compromisePage struct {
	Signer           client.Signer
	Since, Zone, Why string
	Zones            []string
	Mistakes         mistakes
	// Preview is nil until it was asked for, Done until it was done.
	Preview *flips
	Done    *client.Compromised
}

func (v *view) compromise(status int, p compromisePage) error {
	if p.Zone == "" {
		p.Zone = "UTC"
	}
	p.Zones = zonesWith(p.Zone)
	title := "Signatures of " + p.Signer.Name + " that no longer count"
	return v.render(status, "compromise", "signers", title, p)
}

func askCompromise(v *view) error {
	s, err := v.api.Signer(v.Request().Context(), v.Param("id"))
	if err != nil {
		return err
	}
	return v.compromise(http.StatusOK, compromisePage{Signer: s})
}

func compromiseSigner(v *view) error {
	ctx := v.Request().Context()
	s, err := v.api.Signer(ctx, v.Param("id"))
	if err != nil {
		return err
	}
	p := compromisePage{Signer: s, Since: strings.TrimSpace(v.FormValue("since")), Zone: v.FormValue("zone"), Why: strings.TrimSpace(v.FormValue("why"))}
	since, problem := formTime(p.Since, p.Zone)
	if problem == "" && since == nil {
		problem = "It is missing: the last moment at which its signatures still count."
	}
	if problem != "" {
		p.Mistakes.add("since", problem)
		return v.compromise(http.StatusUnprocessableEntity, p)
	}
	if v.FormValue("action") == "preview" {
		f := v.flips(client.Operation{Op: client.OpCompromiseSigner, Name: s.ID, Since: since})
		p.Preview = &f
		return v.compromise(http.StatusOK, p)
	}
	done, err := v.api.CompromiseSigner(ctx, s.ID, client.Compromise{Since: *since, Why: p.Why})
	if err != nil {
		m, ok := mistakesOf(err, "", "since", "why")
		if !ok {
			return err
		}
		p.Mistakes = m
		return v.compromise(http.StatusUnprocessableEntity, p)
	}
	p.Signer, p.Done = done.Signer, &done
	return v.compromise(http.StatusOK, p)
}
