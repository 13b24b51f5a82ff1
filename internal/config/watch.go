package config

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"
)

// EventKinds are the kinds that webhooks may choose.
func EventKinds() []string { return []string{"flip", "ending", "undecidable", "recovered", "verdict"} }

const defaultWebhookTimeout = 10 * time.Second

// nameWebhooks fills in the defaults of each.
func (f *File) nameWebhooks() {
	for i := range f.Webhooks {
		w := &f.Webhooks[i]
		if u, err := url.Parse(w.URL); w.Name == "" && err == nil {
			w.Name = u.Host
		}
		if w.Timeout == 0 {
			w.Timeout = Duration(defaultWebhookTimeout)
		}
	}
}

func (f *File) checkWatch(p *problems) {
	w := f.Watch
	if !(w.Rate > 0) || math.IsInf(w.Rate, 1) { // not a number is none of these
		p.bad("watch.rate", "must be more than 0; recent: 0 turns watching off where nothing is listed")
	}
	if time.Duration(w.Refresh) < time.Minute {
		p.bad("watch.refresh", "must be a minute at least")
	}
	if w.UnknownAfter <= 0 {
		p.bad("watch.unknown_after", "must be more than 0")
	}
	for i, d := range w.WarnBefore {
		if d <= 0 {
			p.bad(fmt.Sprintf("watch.warn_before[%d]", i), "must be more than 0")
		}
	}
	seen := map[string]bool{}
	for i, list := range w.Images {
		at := fmt.Sprintf("watch.images[%d]", i)
		if len(list.Images) == 0 {
			p.bad(at+".images", "is missing or empty; name references, for example ghcr.io/org/app:v1")
		}
		for j, image := range list.Images {
			where := fmt.Sprintf("%s.images[%d]", at, j)
			switch key := image + "\n" + list.Environment; {
			case image == "" || strings.ContainsFunc(image, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
				p.bad(where, "%q is no reference; write it like ghcr.io/org/app:v1", image)
			case strings.Contains(image, "*"):
				p.bad(where, "%q is a pattern; name one image, because a registry cannot be asked for all that match", image)
			case seen[key]:
				p.bad(where, "%s is listed for this environment already", image)
			default:
				seen[key] = true
			}
		}
	}
}

func (f *File) checkWebhooks(p *problems) {
	seen := map[string]bool{}
	for i, w := range f.Webhooks {
		at := fmt.Sprintf("webhooks[%d]", i)
		u, err := url.Parse(w.URL)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http": // the text may hold a secret
			p.bad(at+".url", "is not an http or https URL; write it as https://hooks.example.com/signet")
		case u.User != nil:
			p.bad(at+".url", "holds a user name or a password; the signature says who sends")
		case u.Fragment != "":
			p.bad(at+".url", "ends in a fragment, which is never sent")
		case u.Scheme == "http" && !w.AllowPrivate:
			p.bad(at+".url", "is plain HTTP; use https, or allow_private: true for an address inside")
		}
		switch {
		case strings.ContainsFunc(w.Name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' }):
			p.bad(at+".name", "%q has a space, a slash or a character that is not ASCII", w.Name)
		case seen[w.Name] && w.Name != "":
			p.bad(at+".name", "%s is the name of another one; give each a name of its own", w.Name)
		}
		seen[w.Name] = true
		p.notEmpty(at+".events", w.Events)
		p.notEmpty(at+".images", w.Images)
		for _, kind := range w.Events {
			if !slices.Contains(EventKinds(), kind) {
				p.bad(at+".events", "%q is none of %s", kind, strings.Join(EventKinds(), ", "))
			}
		}
		if w.Timeout < 0 || time.Duration(w.Timeout) > 5*time.Minute {
			p.bad(at+".timeout", "must be five minutes at most")
		}
	}
}
