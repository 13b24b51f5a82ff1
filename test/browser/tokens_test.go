package browser

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	_ "modernc.org/sqlite"

	"github.com/signet-policy/signet/client"
)

// A token is shown once; when it is revoked, who has logged in with it is out.
func TestTokens(t *testing.T) {
	s := demo(t)
	admin, other := s.visit(), s.visit()
	admin.login(s.token)
	admin.open("/tokens")
	admin.clicks("New token")
	admin.types("#name", "colleague")
	admin.changes("#role", "viewer")
	admin.clicks("Make the token")
	admin.sees("Shown this once.")
	token := admin.text(`document.querySelector(".command pre").innerText`)
	admin.clicks("I have kept it")
	admin.sees("colleague")
	other.login(token)
	other.open("/signers")
	if other.text(`String([...document.querySelectorAll("a")].some((a) => a.innerText === "Add a signer"))`) != "false" {
		t.Error("a viewer is offered to add a signer")
	}
	if res, _ := s.get("/signers/new", "Authorization", "Bearer "+token); res.StatusCode != http.StatusOK {
		t.Errorf("the form: %d", res.StatusCode)
	}
	admin.until(idle + ` && (() => {
		const row = [...document.querySelectorAll("tr")].find((r) => r.innerText.includes("colleague"));
		if (row) row.querySelector("details").open = true;
		return !!row;
	})()`)
	admin.clicks("Revoke colleague for good")
	admin.sees("The token is revoked.")
	other.do(chromedp.Navigate(other.url+"/results"), chromedp.WaitVisible(`#token`))
	admin.open("/audit")
	admin.sees("token.revoke")
	// What was done with it is found by its name.
	admin.types("#object", "colleague")
	admin.types("#action", "token.")
	admin.clicks("Filter")
	admin.until(`location.search.includes("object=colleague") && document.querySelectorAll("tbody tr").length === 2`)
	admin.open("/tokens")
	admin.until(`!document.body.innerText.includes("colleague")`)
	admin.changes("#state", "revoked")
	admin.until(`document.querySelector("#state")?.value === "revoked" && document.querySelector("tbody")?.innerText.includes("colleague")`)
}

// Who changed the log beneath us is found out.
func TestAuditChain(t *testing.T) {
	s := started(t, settings{})
	for _, name := range []string{"one", "two", "three"} {
		if _, err := s.api.CreateToken(t.Context(), client.NewToken{Name: name, Role: "viewer"}); err != nil {
			t.Fatal(err)
		}
	}
	p := s.visit()
	p.login(s.token)
	p.open("/audit")
	p.clicks("Check the chain")
	p.sees("The chain is whole")
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "data", "signet.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), `DROP TRIGGER audit_no_update; UPDATE audit SET actor = 'token:somebody-else' WHERE seq = 2`); err != nil {
		t.Fatal(err)
	}
	p.clicks("Check the chain")
	p.until(`document.querySelector("#chain [role=alert]")?.innerText.includes("entry 2")`)
}
