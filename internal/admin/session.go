package admin

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/signet-policy/signet/internal/auth"
)

const (
	cookieSession = "signet_session"
	cookieLogin   = "signet_login"
	labelSessions = "sessions"
	labelCSRF     = "csrf"
	// sessionTime is how long a session lives, however long its token does.
	sessionTime = 12 * time.Hour
	// loginTime is how long a login may take.
	loginTime = 15 * time.Minute
	// csrfTime is for how long a page's CSRF token counts at least, and half of how long
	// at most: a form that was left open over a weekend can be sent on Monday.
	csrfTime = 7 * 24 * time.Hour
)

// session is what the cookie holds, sealed: the browser cannot read it, and nobody
// can make one. A token is named by its id alone and looked at anew for each
// request, so that a session ends with it.
type session struct {
	// TokenID is of the API token that was presented; "" for a person.
	TokenID string `json:"t,omitempty"`
	// Person is who an identity provider said it was.
	Person *person   `json:"p,omitempty"`
	Until  time.Time `json:"u"`
}

// person is a principal without a token.
type person struct {
	Name   string    `json:"name"`
	Role   auth.Role `json:"role"`
	Team   string    `json:"team,omitempty"`
	Images []string  `json:"images,omitempty"`
	// Rules names the configuration that gave the role: with another one it counts
	// no more.
	Rules string `json:"rules"`
}

// keys are derived from the installation's secret for each use, so that rotating
// it ends every session.
type keys struct{ secret auth.Secret }

func (p *Page) keys(ctx context.Context) (keys, error) {
	secret, err := p.cfg.Secret(ctx)
	return keys{secret}, err
}

func (k keys) aead(label string) (cipher.AEAD, error) {
	key, err := k.secret.Derive(label)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal encodes v for a cookie of that name; a value of one cookie is none of
// another.
func (k keys) seal(cookie string, v any) (string, error) {
	aead, err := k.aead(labelSessions)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, body, []byte(cookie))), nil
}

var errNoSession = errors.New("there is no session, or it has ended")

func (k keys) unseal(cookie, value string, v any) error {
	aead, err := k.aead(labelSessions)
	if err != nil {
		return err
	}
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(raw) < aead.NonceSize() {
		return errNoSession
	}
	body, err := aead.Open(nil, raw[:aead.NonceSize()], raw[aead.NonceSize():], []byte(cookie))
	if err != nil || json.Unmarshal(body, v) != nil {
		return errNoSession
	}
	return nil
}

// csrf is the token that goes with a credential: only pages that we gave to its
// holder have it.
func (k keys) csrf(credential string) (string, error) {
	key, err := k.secret.Derive(labelCSRF)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(credential))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}

func random() (string, error) {
	raw := make([]byte, 18)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// setCookie keeps a sealed value in the browser; "" takes it away.
func (v *view) setCookie(name, value string, life time.Duration) {
	age := int(life.Seconds())
	if value == "" {
		age = -1
	}
	http.SetCookie(v.Response(), &http.Cookie{ //nolint:gosec // secure where the connection is
		Name: name, Value: value, Path: v.base, MaxAge: age, HttpOnly: true, Secure: v.secure, SameSite: http.SameSiteLaxMode,
	})
}

// begin logs the browser in.
func (v *view) begin(s session) error {
	k, err := v.page.keys(v.Request().Context())
	if err != nil {
		return err
	}
	now := v.page.cfg.Now()
	if latest := now.Add(sessionTime); s.Until.IsZero() || s.Until.After(latest) {
		s.Until = latest
	}
	value, err := k.seal(cookieSession, s)
	if err != nil {
		return err
	}
	v.setCookie(cookieSession, value, s.Until.Sub(now))
	v.setCookie(cookieLogin, "", 0)
	return nil
}
