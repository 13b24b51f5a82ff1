package admin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/signet-policy/signet/web"
)

// assets are the built files by the names that they have in URLs, which hold a
// hash of their content: a name never means anything else, so it may be kept for
// good.
type assets struct {
	files map[string]asset
	names map[string]string // in URLs, by name in the folder
}

type asset struct {
	body        []byte
	contentType string
}

func loadAssets() (assets, error) {
	out := assets{files: map[string]asset{}, names: map[string]string{}}
	all := web.Static()
	err := fs.WalkDir(all, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(all, name)
		if err != nil {
			return err
		}
		ext := path.Ext(name)
		contentType := mime.TypeByExtension(ext)
		switch ext { // whatever this machine's own table says
		case ".js":
			contentType = "text/javascript; charset=utf-8"
		case ".css":
			contentType = "text/css; charset=utf-8"
		case ".svg":
			contentType = "image/svg+xml"
		}
		if contentType == "" {
			return fmt.Errorf("%s: of no known type", name)
		}
		sum := sha256.Sum256(body)
		hashed := name[:len(name)-len(ext)] + "-" + hex.EncodeToString(sum[:6]) + ext
		out.files[hashed], out.names[name] = asset{body, contentType}, hashed
		return nil
	})
	return out, err
}

// serveAsset needs no login: what it gives is in every copy of Signet.
func (p *Page) serveAsset(c echo.Context) error {
	h := c.Response().Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'")
	a, ok := p.assets.files[c.Param("name")]
	if !ok {
		return c.String(http.StatusNotFound, "There is no such file; load the page again.\n")
	}
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(c.Response(), c.Request(), "", time.Time{}, bytes.NewReader(a.body))
	return nil
}
