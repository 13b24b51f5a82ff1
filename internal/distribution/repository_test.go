package distribution

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/freeport"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
)

const (
	oci = "oci://"
	// archive is what a layer has; nothing here looks into it.
	archive = "the bytes of a bundle"
)

// anonymous is a keychain without credentials.
type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

func config(s *registrytest.Server, ref string) Config {
	return Config{URL: oci + s.Image("org/policy", ref), Keychain: anonymous{}}
}

func mustPush(t testing.TB, cfg Config, body, revision string) Pushed {
	t.Helper()
	p, err := Push(t.Context(), cfg, []byte(body), revision)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRepository(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{})
	cfg := config(reg, "v1")
	pushed := mustPush(t, cfg, archive, "r1")
	if again := mustPush(t, cfg, archive, "r1"); again != pushed {
		t.Errorf("pushed twice: %+v and %+v", pushed, again)
	}
	s := mustNew(t, cfg)
	one := fetch(t, s, Validator{})
	if string(one.Archive) != archive || one.Validator.Manifest != pushed.Digest || one.Validator.Digest != pushed.Archive {
		t.Errorf("%s with %+v, pushed %+v", one.Archive, one.Validator, pushed)
	}
	// What has not changed costs one request.
	reg.Forget()
	fails(t, s, one.Validator, ErrNotModified, "")
	if got := reg.Counts(); len(got) != 1 || got["HEAD /v2/org/policy/manifests/v1"] != 1 {
		t.Errorf("an unchanged tag costs %v", got)
	}
	// Another manifest of the same layer: nothing to fetch, and something to remember.
	relabelled := mustPush(t, cfg, archive, "r2")
	reg.Forget()
	f, err := s.Fetch(t.Context(), one.Validator)
	if !errors.Is(err, ErrNotModified) || f.Validator.Manifest != relabelled.Digest || reg.Count("", "/blobs/") != 0 {
		t.Errorf("%+v, %v, %v", f, err, reg.Counts())
	}
	second := mustPush(t, cfg, "another", "r3")
	if two := fetch(t, s, one.Validator); string(two.Archive) != "another" || two.Validator.Manifest != second.Digest {
		t.Errorf("%s", two.Archive)
	}
	// A digest is what it was, and once fetched costs nothing.
	pinned := mustNew(t, config(reg, pushed.Digest))
	f = fetch(t, pinned, Validator{})
	if string(f.Archive) != archive {
		t.Errorf("%s", f.Archive)
	}
	reg.Forget()
	fails(t, pinned, f.Validator, ErrNotModified, "")
	if got := reg.Counts(); len(got) != 0 {
		t.Errorf("a digest costs %v", got)
	}
}

func TestPushRefuses(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{})
	small := config(reg, "v1")
	small.MaxBytes = 3
	for name, tt := range map[string]struct {
		cfg  Config
		want error
		says string
	}{
		"a digest":     {config(reg, "sha256:"+strings.Repeat("0", 64)), ErrConfig, "names a digest"},
		"no tag":       {Config{URL: oci + reg.Host() + "/org/policy"}, ErrConfig, "oci://HOST"},
		"another kind": {Config{URL: "https://bundles.example.com/b"}, ErrConfig, "not oci"},
		"too large":    {small, ErrInvalid, "larger than 3 bytes"},
	} {
		if _, err := Push(t.Context(), tt.cfg, []byte(archive), ""); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
	reg.On(registrytest.Path(http.MethodPut, "/manifests/"), registrytest.Status(http.StatusForbidden))
	if _, err := Push(t.Context(), config(reg, "v1"), []byte(archive), ""); !errors.Is(err, ErrDenied) {
		t.Errorf("a registry that refuses: %v", err)
	}
}

// layout puts a bundle into the registry, its manifest edited.
func layout(t testing.TB, reg *registrytest.Server, edit func(m map[string]any)) {
	t.Helper()
	layer := reg.PutBlob("org/policy", []byte(archive))
	empty := reg.PutBlob("org/policy", []byte("{}"))
	m := map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": map[string]any{"mediaType": configType, "digest": empty, "size": 2},
		"layers": []any{map[string]any{"mediaType": layerType, "digest": layer, "size": len(archive)}},
	}
	kind := manifestType
	if edit != nil {
		edit(m)
	}
	if s, ok := m["served as"].(string); ok {
		kind = s
		delete(m, "served as")
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	reg.PutManifest("org/policy", "v1", kind, raw)
}

// What other tools push: with OCI's empty configuration, an artifact type, names
// and notes.
func TestRepositoryReadsOthers(t *testing.T) {
	for name, edit := range map[string]func(m map[string]any){
		"as OPA's page says":         nil,
		"without its own media type": func(m map[string]any) { delete(m, "mediaType") },
		"with an empty configuration": func(m map[string]any) {
			m["artifactType"] = "application/vnd.acme.policy"
			m["config"].(map[string]any)["mediaType"] = emptyConfigType
			m["config"].(map[string]any)["data"] = "e30="
			m["layers"].([]any)[0].(map[string]any)["annotations"] = map[string]any{"org.opencontainers.image.title": "bundle.tar.gz"}
			m["annotations"] = map[string]any{"org.opencontainers.image.created": "2026-11-25T12:00:00Z"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			reg := registrytest.New(t, registrytest.Options{})
			layout(t, reg, edit)
			if f := fetch(t, mustNew(t, config(reg, "v1")), Validator{}); string(f.Archive) != archive {
				t.Errorf("%s", f.Archive)
			}
		})
	}
}

func TestRepositoryRefuses(t *testing.T) {
	layer := func(m map[string]any) map[string]any { return m["layers"].([]any)[0].(map[string]any) }
	for _, tt := range []struct {
		name string
		edit func(m map[string]any)
		says string
	}{
		{"an image of Docker's", func(m map[string]any) {
			m["mediaType"], m["served as"] = "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.v2+json"
		}, "not an OCI image manifest"},
		{"threat 32: an index by its own word", func(m map[string]any) { m["mediaType"] = "application/vnd.oci.image.index.v1+json" }, "not an OCI image manifest"},
		{"threat 32: an index too", func(m map[string]any) { m["manifests"] = []any{map[string]any{}} }, "index"},
		{"another schema", func(m map[string]any) { m["schemaVersion"] = 1 }, "schema 2"},
		{"another configuration", func(m map[string]any) {
			m["config"].(map[string]any)["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
		}, "helm"},
		{"no layers", func(m map[string]any) { m["layers"] = []any{} }, "0 layers"},
		{"two layers", func(m map[string]any) { m["layers"] = []any{layer(m), maps.Clone(layer(m))} }, "2 layers"},
		{"another layer", func(m map[string]any) { layer(m)["mediaType"] = "application/vnd.oci.image.layer.v1.tar" }, "of the type"},
		{"a layer that is too large", func(m map[string]any) { layer(m)["size"] = 1 << 30 }, "at most"},
		{"a layer without a size", func(m map[string]any) { layer(m)["size"] = 0 }, "0 bytes"},
		{"a layer that is smaller than it says", func(m map[string]any) { layer(m)["size"] = len(archive) + 1 }, ""},
		{"a layer that is larger than it says", func(m map[string]any) { layer(m)["size"] = len(archive) - 1 }, ""},
		{"threat 33: a digest of another kind", func(m map[string]any) { layer(m)["digest"] = "sha256:../../etc/passwd" }, "not sha256"},
		{"a key in other letters", func(m map[string]any) { m["Layers"] = m["layers"] }, "case"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reg := registrytest.New(t, registrytest.Options{})
			layout(t, reg, tt.edit)
			f, err := mustNew(t, config(reg, "v1")).Fetch(t.Context(), Validator{})
			if err == nil || !strings.Contains(err.Error(), tt.says) || f.Archive != nil {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

func TestRepositoryMisbehaves(t *testing.T) {
	for _, tt := range []struct {
		name  string
		match registrytest.Match
		act   registrytest.Action
		want  error
	}{
		{"nothing there", registrytest.Manifest("v1"), registrytest.Status(404), ErrNotFound},
		{"refused", registrytest.Manifest("v1"), registrytest.Status(403), ErrDenied},
		{"busy", registrytest.Manifest("v1"), registrytest.Status(429), ErrUnavailable},
		{"broken", registrytest.Manifest("v1"), registrytest.Status(503), ErrUnavailable},
		{"threat 31: another manifest than its digest says", registrytest.Path(http.MethodGet, "/manifests/sha256:"), registrytest.Body(manifestType, []byte("{}")), nil},
		{"another layer than its digest says", registrytest.Blob(""), registrytest.Body("application/octet-stream", []byte("the bytes of a BUNDLE")), nil},
		{"a layer without an end", registrytest.Blob(""), registrytest.Endless("application/octet-stream"), nil},
		{"a manifest without an end", registrytest.Path(http.MethodGet, "/manifests/sha256:"), registrytest.Endless(manifestType), ErrInvalid},
		{"a layer at plain HTTP elsewhere", registrytest.Blob(""), registrytest.RedirectTo("http://blobs.example.com/x"), ErrInvalid},
		{"a layer that moves for ever", registrytest.Blob(""), func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, r.URL.Path+"?again", http.StatusTemporaryRedirect)
		}, ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reg := registrytest.New(t, registrytest.Options{})
			pushed := mustPush(t, config(reg, "v1"), archive, "r1")
			s := mustNew(t, config(reg, "v1"))
			reg.On(tt.match, tt.act)
			f, err := s.Fetch(t.Context(), Validator{})
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || f.Archive != nil || f.Validator != (Validator{}) {
				t.Errorf("%+v, %v, want %v", f, err, tt.want)
			}
			reg.Behave()
			if f := fetch(t, s, Validator{}); f.Validator.Manifest != pushed.Digest {
				t.Errorf("afterwards: %+v", f.Validator)
			}
		})
	}
}

// A layer may be kept elsewhere; the registry's credentials are not shown there.
func TestRepositoryRedirects(t *testing.T) {
	auth := registrytest.Auth{Username: "u", Password: "p"}
	reg := registrytest.New(t, registrytest.Options{TLS: true, Auth: &auth})
	mirror := reg.Mirror(true)
	cfg := config(reg, "v1")
	cfg.CAFile = put(t, "ca.pem", string(reg.CAPEM())+string(mirror.CAPEM()))
	cfg.Username, cfg.PasswordFile = "u", put(t, "password", "p")
	mustPush(t, cfg, archive, "r1")
	reg.On(registrytest.Blob(""), registrytest.Redirect(mirror.URL()))
	if f := fetch(t, mustNew(t, cfg), Validator{}); string(f.Archive) != archive {
		t.Errorf("%s", f.Archive)
	}
	if n := len(mirror.Requests()); n != 1 || mirror.Requests()[0].Authorization != "" {
		t.Errorf("the other host received %+v", mirror.Requests())
	}
}

// Credentials: of the configuration, else of the keychain; renewed ones are seen.
func TestRepositoryCredentials(t *testing.T) {
	for name, auth := range map[string]registrytest.Auth{"token": {Username: "u", Password: "p"}, "basic": {Username: "u", Password: "p", Basic: true}} {
		t.Run(name, func(t *testing.T) {
			reg := registrytest.New(t, registrytest.Options{Auth: &auth})
			cfg := config(reg, "v1")
			if _, err := Push(t.Context(), cfg, []byte(archive), ""); !errors.Is(err, ErrDenied) {
				t.Errorf("anonymous: %v", err)
			}
			docker := t.TempDir()
			t.Setenv("DOCKER_CONFIG", docker)
			cfg.Keychain = nil
			write(t, docker+"/config.json", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, reg.Host(), base64.StdEncoding.EncodeToString([]byte("u:p"))))
			mustPush(t, cfg, archive, "")
			fetch(t, mustNew(t, cfg), Validator{})

			password := put(t, "password", "wrong")
			cfg.Username, cfg.PasswordFile = "u", password
			s := mustNew(t, cfg)
			fails(t, s, Validator{}, ErrDenied, "")
			write(t, password, "p")
			fetch(t, s, Validator{})
		})
	}
}

// Credentials stay with the registry that they are for (threat 45), whatever host it
// says that its tokens come from, unless that host is listed.
func TestTokenHosts(t *testing.T) {
	tokens := serve(t)
	host := tokens.Listener.Addr().String()
	ask := func(method, contentType string, listed ...string) error {
		w, err := newWire(Config{TokenHosts: listed, MaxBytes: 100}, schemeOCI, "registry.example.com")
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range listed { // which are spoken to over https; the double has none
			w.trusted[h] = true
		}
		req, err := http.NewRequestWithContext(t.Context(), method, tokens.URL+"/token", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Basic dTpw")
		req.Header.Set("Content-Type", contentType)
		res, err := w.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
		}
		w.other.(*http.Transport).CloseIdleConnections()
		if req.Header.Get("Authorization") == "" {
			t.Error("the caller's request was changed")
		}
		return err
	}
	if err := ask(http.MethodGet, ""); err != nil || tokens.last(t).authorization != "" {
		t.Errorf("%v: another host was shown %q", err, tokens.last(t).authorization)
	}
	if err := ask(http.MethodPost, "application/x-www-form-urlencoded"); !errors.Is(err, errTokenHost) {
		t.Errorf("another host was posted to: %v", err)
	}
	if err := ask(http.MethodGet, "", host); err != nil || tokens.last(t).authorization == "" {
		t.Errorf("%v: a token host was shown nothing", err)
	}

	hub, err := New(Config{URL: "oci://docker.io/org/policy:v1", Keychain: anonymous{}})
	if err != nil {
		t.Fatal(err)
	}
	if got := hub.(*repository).wire.trusted; !got["index.docker.io:443"] || !got["auth.docker.io:443"] || len(got) != 2 {
		t.Errorf("Docker Hub's credentials go to %v", got)
	}
}

// What we push, OPA's own downloader reads.
func TestOPADownloads(t *testing.T) {
	opa := require.OPA(t)
	reg := registrytest.New(t, registrytest.Options{})
	build := exec.CommandContext(t.Context(), opa, "build", "--bundle", ".", "--revision", "r1")
	build.Dir = t.TempDir()
	write(t, build.Dir+"/.manifest", `{"roots":["signing"]}`)
	write(t, build.Dir+"/verdict.rego", "package signing\n\nverdict := \"from the registry\"\n")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	packed, err := readFile(build.Dir+"/bundle.tar.gz", DefaultMaxBytes)
	if err != nil {
		t.Fatal(err)
	}
	pushed := mustPush(t, config(reg, "v1"), string(packed), "r1")
	addr, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), opa, "run", "--server", "--addr", addr, "--disable-telemetry",
		"--set", "services.registry.url="+reg.URL(), "--set", "services.registry.type=oci",
		"--set", "bundles.signing.service=registry", "--set", "bundles.signing.resource="+reg.Image("org/policy", "v1"),
		"--set", "persistence_directory="+t.TempDir())
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if !eventually.Comes(50*time.Millisecond, func() bool {
		res, err := client.Get("http://" + addr + "/v1/data/signing/verdict")
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		body, _ := readAll(res.Body, 1000)
		return strings.Contains(string(body), "from the registry")
	}) {
		t.Fatalf("opa has not loaded %s:\n%s", pushed.Reference, out.String())
	}
	if f := fetch(t, mustNew(t, config(reg, "v1")), Validator{}); string(f.Archive) != string(packed) {
		t.Error("we fetch something else")
	}
}

// FuzzBundleLayer: whatever a manifest says, a layer that is taken is bounded and
// named by a digest.
func FuzzBundleLayer(f *testing.F) {
	raw, err := manifestOf([]byte(archive), "r1", "policy")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(raw))
	f.Fuzz(func(t *testing.T, body []byte) {
		layer, err := bundleLayer(body, manifestType, 100)
		if err == nil && (layer.Size < 1 || layer.Size > 100 || !isSHA256(layer.Digest) || layer.MediaType != layerType) {
			t.Errorf("%+v of %s", layer, body)
		}
	})
}
