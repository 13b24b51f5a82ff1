package administration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
)

// TestWhoMay is the table of who may do what: every method, for every kind of
// caller. A dot is yes; else what the error is: the (R)ole, the (T)eam, the
// (I)mages, or that there is (N)othing of the kind to see.
func TestWhoMay(t *testing.T) {
	var f *fixture // each row's own, so that none compares what all before it have made
	ctx := t.Context()
	principal := func(name string, role auth.Role, team string, images ...string) Caller {
		return Caller{Principal: auth.Principal{Name: name, Role: role, Team: team, Images: images}}
	}
	callers := []Caller{
		principal("viewer", auth.Viewer, ""), principal("verifier", auth.Verifier, ""), principal("author", auth.Author, ""), principal("admin", auth.Admin, ""),
		principal("web-author", auth.Author, "web"), principal("web-admin", auth.Admin, "web"),
		principal("org-admin", auth.Admin, "", "ghcr.io/org/**"),
		principal("", auth.Admin, ""), // nobody was authenticated
	}
	letters := map[string]error{"R": ErrRole, "T": ErrNotYours, "I": ErrOutOfScope, "N": ErrNotFound}

	n := 0
	name := func() string { n++; return fmt.Sprintf("s%d", n) }
	made := func(w client.Signer, owner string, images ...string) client.Signer {
		w.Owner, w.Images = owner, images
		return must[client.Signer](t)(f.CreateSigner(ctx, root, w))
	}
	pending := func(owner string) (string, string) {
		w := made(kmsSigner(name()), owner)
		next := newKey(t)
		f.kms.set(vaultRef, next.PEM, nil)
		if err := f.RefreshKeys(ctx, f.now()); err != nil {
			t.Fatal(err)
		}
		return w.ID, next.Fingerprint
	}
	policyOf := func(owner string) (string, int64) {
		p := must[client.Policy](t)(f.PutPolicy(ctx, root, name(), owner, []byte(anyone), nil))
		return p.Name, p.Version
	}
	tokenOf := func(team string) string {
		return must[client.Token](t)(f.CreateToken(ctx, root, client.NewToken{Name: "t", Role: "viewer", Team: team})).ID
	}
	update := func(w client.Signer, patch string) func(Caller) error {
		return func(c Caller) error { _, err := f.UpdateSigner(ctx, c, w.ID, w.Version, []byte(patch)); return err }
	}

	tests := []struct {
		name string
		// prepare makes what is acted on, and returns the act.
		prepare func() func(Caller) error
		// viewer, verifier, author, admin; web's author and admin; org/**'s admin; nobody
		want string
	}{
		{"list signers", func() func(Caller) error {
			return func(c Caller) error { _, err := f.Signers(ctx, c, SignerFilter{}); return err }
		}, ".R.. .. . R"},
		{"read a signer of ops", func() func(Caller) error {
			w := made(keyless(name()), "ops")
			return func(c Caller) error { _, err := f.Signer(ctx, c, w.ID); return err }
		}, ".R.. .. . R"},
		{"register a signer", func() func(Caller) error {
			return func(c Caller) error { _, err := f.CreateSigner(ctx, c, keyless(name())); return err }
		}, "RRR. R. I R"},
		{"register a signer for images of org", func() func(Caller) error {
			return func(c Caller) error {
				w := keyless(name())
				w.Images = []string{"ghcr.io/org/a/**", "ghcr.io/org/b"}
				_, err := f.CreateSigner(ctx, c, w)
				return err
			}
		}, "RRR. R. . R"},
		{"register a signer for one image beside org", func() func(Caller) error {
			return func(c Caller) error {
				w := keyless(name())
				w.Images = []string{"ghcr.io/org/a/**", "ghcr.io/org-evil/b"}
				_, err := f.CreateSigner(ctx, c, w)
				return err
			}
		}, "RRR. R. I R"},
		{"register a signer for ops", func() func(Caller) error {
			return func(c Caller) error {
				w := keyless(name())
				w.Owner = "ops"
				_, err := f.CreateSigner(ctx, c, w)
				return err
			}
		}, "RRR. RT I R"},
		{"change a signer of nobody", func() func(Caller) error { return update(made(keyless(name()), ""), `{"note": "x"}`) }, "RRR. RT I R"},
		{"change a signer of web", func() func(Caller) error { return update(made(keyless(name()), "web"), `{"note": "x"}`) }, "RRR. R. I R"},
		{"change a signer of ops", func() func(Caller) error { return update(made(keyless(name()), "ops"), `{"note": "x"}`) }, "RRR. RT I R"},
		{"change a signer of ops by nothing", func() func(Caller) error { return update(made(keyless(name()), "ops"), `{}`) }, "RRR. RT I R"},
		{"change a signer of web for org", func() func(Caller) error {
			return update(made(keyless(name()), "web", "ghcr.io/org/**"), `{"note": "x"}`)
		}, "RRR. R. . R"},
		{"give a signer away", func() func(Caller) error { return update(made(keyless(name()), "web"), `{"owner": "ops"}`) }, "RRR. RT I R"},
		{"give a signer to nobody", func() func(Caller) error { return update(made(keyless(name()), "web"), `{"owner": null}`) }, "RRR. RT I R"},
		{"take a signer", func() func(Caller) error { return update(made(keyless(name()), "ops"), `{"owner": "web"}`) }, "RRR. RT I R"},
		{"narrow a signer of every image to org", func() func(Caller) error {
			return update(made(keyless(name()), ""), `{"images": ["ghcr.io/org/**"]}`)
		}, "RRR. RT I R"},
		{"widen a signer for org to every image", func() func(Caller) error {
			return update(made(keyless(name()), "web", "ghcr.io/org/**"), `{"images": null}`)
		}, "RRR. R. I R"},
		{"remove a signer of web", func() func(Caller) error {
			w := made(keyless(name()), "web")
			return func(c Caller) error { return f.DeleteSigner(ctx, c, w.ID, 1) }
		}, "RRR. R. I R"},
		{"remove a signer of ops for org", func() func(Caller) error {
			w := made(keyless(name()), "ops", "ghcr.io/org/a")
			return func(c Caller) error { return f.DeleteSigner(ctx, c, w.ID, 1) }
		}, "RRR. RT . R"},
		{"compromise a signer of web", func() func(Caller) error {
			w := made(keyless(name()), "web")
			return func(c Caller) error {
				_, err := f.CompromiseSigner(ctx, c, w.ID, client.Compromise{Since: start, Why: "stolen"})
				return err
			}
		}, "RRR. R. I R"},
		{"compromise a signer of ops", func() func(Caller) error {
			w := made(keyless(name()), "ops")
			return func(c Caller) error {
				_, err := f.CompromiseSigner(ctx, c, w.ID, client.Compromise{Since: start, Why: "stolen"})
				return err
			}
		}, "RRR. RT I R"},
		{"accept a key of web", func() func(Caller) error {
			id, fingerprint := pending("web")
			return func(c Caller) error {
				_, err := f.AcceptKey(ctx, c, id, client.AcceptKey{Fingerprint: fingerprint})
				return err
			}
		}, "RRR. R. I R"},
		{"accept a key of ops", func() func(Caller) error {
			id, fingerprint := pending("ops")
			return func(c Caller) error {
				_, err := f.AcceptKey(ctx, c, id, client.AcceptKey{Fingerprint: fingerprint})
				return err
			}
		}, "RRR. RT I R"},
		{"read a key", func() func(Caller) error {
			return func(c Caller) error { _, err := f.ReadKey(ctx, c, client.ReadKey{KMSKeyRef: vaultRef}); return err }
		}, "RRR. R. . R"},
		{"refresh a key of web", func() func(Caller) error {
			w := made(kmsSigner(name()), "web")
			return func(c Caller) error { _, err := f.RefreshKey(ctx, c, w.ID); return err }
		}, "RRR. R. I R"},
		{"refresh a key of nobody", func() func(Caller) error {
			w := made(kmsSigner(name()), "")
			return func(c Caller) error { _, err := f.RefreshKey(ctx, c, w.ID); return err }
		}, "RRR. RT I R"},
		{"what a signer allowed", func() func(Caller) error {
			w := made(keyless(name()), "ops")
			return func(c Caller) error { _, err := f.SignerVerdicts(ctx, c, w.ID, 0, ""); return err }
		}, ".R.. .. . R"},
		{"import a signer", func() func(Caller) error {
			return func(c Caller) error {
				_, err := f.ImportSigners(ctx, c, document(keyless(name())), ImportOptions{})
				return err
			}
		}, "RRR. R. I R"},
		{"import a signer, to see what would be", func() func(Caller) error {
			return func(c Caller) error {
				_, err := f.ImportSigners(ctx, c, document(keyless(name())), ImportOptions{DryRun: true})
				return err
			}
		}, "RRR. R. I R"},
		{"import a signer over one of ops", func() func(Caller) error {
			w := made(keyless(name()), "ops")
			return func(c Caller) error {
				_, err := f.ImportSigners(ctx, c, document(client.Signer{Name: w.Name, Subject: "other"}), ImportOptions{Replace: true})
				return err
			}
		}, "RRR. RT I R"},
		{"export the signers", func() func(Caller) error {
			return func(c Caller) error { _, err := f.ExportSigners(ctx, c); return err }
		}, ".R.. .. . R"},
		{"list tokens", func() func(Caller) error {
			return func(c Caller) error { _, err := f.Tokens(ctx, c, "", 0, ""); return err }
		}, ".R.. .. . R"},
		{"read a token of web", func() func(Caller) error {
			id := tokenOf("web")
			return func(c Caller) error { _, err := f.Token(ctx, c, id); return err }
		}, ".R.. .. . R"},
		{"read a token of nobody", func() func(Caller) error {
			id := tokenOf("")
			return func(c Caller) error { _, err := f.Token(ctx, c, id); return err }
		}, ".R.. NN . R"},
		{"make a token", func() func(Caller) error {
			return func(c Caller) error {
				_, err := f.CreateToken(ctx, c, client.NewToken{Name: "t", Role: "viewer"})
				return err
			}
		}, "RRR. R. I R"},
		{"make a token for org", func() func(Caller) error {
			return func(c Caller) error {
				_, err := f.CreateToken(ctx, c, client.NewToken{Name: "t", Role: "viewer", Images: []string{"ghcr.io/org/**"}})
				return err
			}
		}, "RRR. R. . R"},
		{"make a token for ops", func() func(Caller) error {
			return func(c Caller) error {
				_, err := f.CreateToken(ctx, c, client.NewToken{Name: "t", Role: "viewer", Team: "ops"})
				return err
			}
		}, "RRR. RT I R"},
		{"revoke a token of web", func() func(Caller) error {
			id := tokenOf("web")
			return func(c Caller) error { return f.RevokeToken(ctx, c, id) }
		}, "RRR. R. I R"},
		{"revoke a token of nobody", func() func(Caller) error {
			id := tokenOf("")
			return func(c Caller) error { return f.RevokeToken(ctx, c, id) }
		}, "RRR. RN I R"},
		{"list policies", func() func(Caller) error {
			return func(c Caller) error { _, err := f.Policies(ctx, c, 0, ""); return err }
		}, ".R.. .. . R"},
		{"read a policy of ops", func() func(Caller) error {
			p, _ := policyOf("ops")
			return func(c Caller) error { _, err := f.Policy(ctx, c, p); return err }
		}, ".R.. .. . R"},
		{"write a policy", func() func(Caller) error {
			return func(c Caller) error { _, err := f.PutPolicy(ctx, c, name(), "", []byte(anyone), nil); return err }
		}, "RR.. .. I R"},
		{"write a policy for org", func() func(Caller) error {
			return func(c Caller) error {
				_, err := f.PutPolicy(ctx, c, name(), "", []byte(anyone+"images: [ghcr.io/org/**]\n"), nil)
				return err
			}
		}, "RR.. .. . R"},
		{"write a policy for ops", func() func(Caller) error {
			return func(c Caller) error {
				_, err := f.PutPolicy(ctx, c, name(), "ops", []byte(anyone), nil)
				return err
			}
		}, "RR.. TT I R"},
		{"replace a policy of web", func() func(Caller) error {
			p, v := policyOf("web")
			return func(c Caller) error {
				_, err := f.PutPolicy(ctx, c, p, "", []byte(anyone+"mode: audit\n"), &v)
				return err
			}
		}, "RR.. .. I R"},
		{"replace a policy of nobody", func() func(Caller) error {
			p, v := policyOf("")
			return func(c Caller) error {
				_, err := f.PutPolicy(ctx, c, p, "web", []byte(anyone+"mode: audit\nimages: [ghcr.io/org/**]\n"), &v)
				return err
			}
		}, "RR.. TT I R"},
		{"give a policy away", func() func(Caller) error {
			p, v := policyOf("web")
			return func(c Caller) error { _, err := f.PutPolicy(ctx, c, p, "ops", []byte(anyone), &v); return err }
		}, "RR.. TT I R"},
		{"remove a policy of web", func() func(Caller) error {
			p, v := policyOf("web")
			return func(c Caller) error { return f.DeletePolicy(ctx, c, p, v) }
		}, "RR.. .. I R"},
		{"remove a policy of ops", func() func(Caller) error {
			p, v := policyOf("ops")
			return func(c Caller) error { return f.DeletePolicy(ctx, c, p, v) }
		}, "RR.. TT I R"},
		{"read the audit log", func() func(Caller) error {
			return func(c Caller) error { _, err := f.Audit(ctx, c, AuditFilter{}); return err }
		}, ".R.. .. . R"},
		{"read the head of the audit log", func() func(Caller) error {
			return func(c Caller) error { _, err := f.AuditHead(ctx, c); return err }
		}, ".R.. .. . R"},
		{"check the audit log", func() func(Caller) error {
			return func(c Caller) error { _, err := f.VerifyAudit(ctx, c, client.AuditHead{}); return err }
		}, ".R.. .. . R"},
		{"rotate the secret", func() func(Caller) error {
			return func(c Caller) error { return f.RotateSecret(ctx, c) }
		}, "RRR. RT I R"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f = onSQLite(t)
			f.kms.set(vaultRef, newKey(t).PEM, nil)
			want := strings.Split(strings.ReplaceAll(tt.want, " ", ""), "")
			if len(want) != len(callers) {
				t.Fatalf("%d letters for %d callers", len(want), len(callers))
			}
			for i, c := range callers {
				act := tt.prepare()
				if want[i] == "." {
					if err := act(c); err != nil {
						t.Errorf("%s: %v", c.Principal.Name, err)
					}
					continue
				}
				f.untouched(t, func() {
					err := act(c)
					if kind := letters[want[i]]; !errors.Is(err, kind) {
						t.Errorf("%s: error %v, want %v", c.Principal.Name, err, kind)
					}
					if want[i] != "N" && !errors.Is(err, ErrForbidden) {
						t.Errorf("%s: error %v is not %v", c.Principal.Name, err, ErrForbidden)
					}
				})
			}
		})
	}
}

// What a team makes is the team's.
func TestOwnerOfWhatATeamMakes(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	same(t, "web", must[client.Signer](t)(f.CreateSigner(ctx, web, keyless("a"))).Owner)
	same(t, "web", must[client.Policy](t)(f.PutPolicy(ctx, web, "a", "", []byte(anyone), nil)).Owner)
	same(t, "web", must[client.Token](t)(f.CreateToken(ctx, web, client.NewToken{Name: "a", Role: "viewer"})).Team)
	must[client.Imported](t)(f.ImportSigners(ctx, web, document(keyless("b")), ImportOptions{}))
	same(t, 2, len(must[client.Page[client.Signer]](t)(f.Signers(ctx, root, SignerFilter{Owner: "web"})).Items))
}

func TestWhole(t *testing.T) {
	if err := root.whole(auth.Administer, "the secret"); err != nil {
		t.Error(err)
	}
	wants(t, web.whole(auth.Administer, "the secret"), ErrNotYours, `"web-admin" is of team "web"; ask an administrator without a team`)
	wants(t, org.whole(auth.Administer, "the secret"), ErrOutOfScope, `"org-admin" is bound to ghcr.io/org/**`)
	wants(t, Caller{}.whole(auth.Administer, "the secret"), ErrRole, `this needs the role admin; "" has the role ""`)
}

func TestRefusalsSayWho(t *testing.T) {
	images := []string{"ghcr.io/a/b", "ghcr.io/c/d", "ghcr.io/e/f", "ghcr.io/g/h", "ghcr.io/i/j", "ghcr.io/k/l"}
	for want, err := range map[string]error{
		`signer "x": belongs to team "ops", and "web-admin" may change what belongs to team "web" only`:                                                       web.owns(`signer "x"`, "ops", nil),
		`signer "x": belongs to the whole installation, and "web-admin" may change what belongs to team "web" only`:                                           web.owns(`signer "x"`, "", nil),
		`signer "x": concerns every image, and "org-admin" may administer ghcr.io/org/** only`:                                                                org.owns(`signer "x"`, "", nil),
		`signer "x": concerns ghcr.io/a/b, ghcr.io/c/d, ghcr.io/e/f, ghcr.io/g/h, ghcr.io/i/j and 1 more, and "org-admin" may administer ghcr.io/org/** only`: org.owns(`signer "x"`, "", images),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}
