package trust_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
)

// stack is a Sigstore instance whose every part begins at the same time.
func stack(t *testing.T) *sigstack.Stack {
	t.Helper()
	s, err := sigstack.New(sigstack.Options{Seed: "contents"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is that instance's root, edited.
func instance(t *testing.T, edit func(*sigstack.TrustedRoot)) *trust.Root {
	t.Helper()
	tr := stack(t).TrustedRoot()
	if edit != nil {
		edit(tr)
	}
	body, err := tr.JSON()
	if err != nil {
		t.Fatal(err)
	}
	r, err := trust.Parse("x", body, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestContents(t *testing.T) {
	s := stack(t)
	later := s.From.Add(48 * time.Hour).UTC()
	want := trust.Contents{CertificateAuthorities: 1, TransparencyLogs: 2, CTLogs: 1, TimestampAuthorities: len(s.TSAs), NewestSince: later}
	for name, edit := range map[string]func(*sigstack.TrustedRoot){
		"a certificate authority": func(r *sigstack.TrustedRoot) { r.Authorities[0].ValidFor.Start = later },
		"a transparency log":      func(r *sigstack.TrustedRoot) { r.Rekor[0].PublicKey.ValidFor.Start = later },
		"a CT log":                func(r *sigstack.TrustedRoot) { r.CT[0].PublicKey.ValidFor.Start = later },
		"a timestamp authority":   func(r *sigstack.TrustedRoot) { r.TSAs[0].ValidFor.Start = later },
	} {
		t.Run(name+" is the newest", func(t *testing.T) {
			got := instance(t, edit).Contents()
			if n := want.CertificateAuthorities + want.TransparencyLogs + want.CTLogs + want.TimestampAuthorities; len(got.Parts) != n {
				t.Errorf("%d parts, want %d", len(got.Parts), n)
			}
			got.Parts = nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What counts now and ends first is told; what has ended, and what is to come, is not
// what ends next.
func TestNextEnd(t *testing.T) {
	from := stack(t).From.UTC()
	day := 24 * time.Hour
	r := instance(t, func(r *sigstack.TrustedRoot) {
		r.Rekor[0].PublicKey.ValidFor.End = ends(t, 10*day)
		r.Rekor[1].PublicKey.ValidFor.Start, r.Rekor[1].PublicKey.ValidFor.End = from.Add(20*day), ends(t, 30*day)
	}).Contents()
	logs := map[string]bool{}
	var certificates time.Time // the end of the first certificate
	for _, p := range r.Parts {
		if p.Kind == trust.KindTransparencyLog {
			logs[p.Since.Format(time.DateOnly)+" "+p.Until.Format(time.DateOnly)] = p.Name != ""
		}
		if p.Kind == trust.KindCertificateAuthority {
			certificates = p.Until
			if p.Name == "" {
				t.Error("an authority has no name")
			}
		}
	}
	want := map[string]bool{
		from.Format(time.DateOnly) + " " + from.Add(10*day).Format(time.DateOnly):             true,
		from.Add(20*day).Format(time.DateOnly) + " " + from.Add(30*day).Format(time.DateOnly): true,
	}
	if diff := cmp.Diff(want, logs); diff != "" {
		t.Error(diff)
	}
	if certificates.IsZero() {
		t.Fatal("the certificates of an authority end, and that is not told")
	}
	for _, tt := range []struct {
		at   time.Duration
		want time.Time
	}{{day, from.Add(10 * day)}, {10 * day, certificates}, {21 * day, from.Add(30 * day)}} {
		want := tt.want
		if certificates.Before(want) {
			want = certificates
		}
		if got := r.NextEnd(from.Add(tt.at)); !got.Equal(want) {
			t.Errorf("after %s the next end is %s, want %s", tt.at, got, want)
		}
	}
}

// ends is so long after everything began.
func ends(t *testing.T, d time.Duration) *time.Time {
	t.Helper()
	at := stack(t).From.Add(d)
	return &at
}

func TestOlder(t *testing.T) {
	now := instance(t, nil)
	start := func(d time.Duration) func(*sigstack.TrustedRoot) {
		return func(r *sigstack.TrustedRoot) { r.Rekor[1].PublicKey.ValidFor.Start = stack(t).From.Add(d) }
	}
	end := func(d time.Duration) func(*sigstack.TrustedRoot) {
		return func(r *sigstack.TrustedRoot) { r.Rekor[0].PublicKey.ValidFor.End = ends(t, d) }
	}
	newer := instance(t, start(time.Hour))
	fewer := instance(t, func(r *sigstack.TrustedRoot) { r.Rekor = r.Rekor[:1] })
	for name, tt := range map[string]struct {
		next, inUse *trust.Root
		want        bool
	}{
		"the same":               {now, now, false},
		"a newer part":           {newer, now, false},
		"without the newer part": {now, newer, true},
		"fewer parts":            {fewer, now, true},
		"more parts":             {now, fewer, false},
		"fewer parts, of which one is newer": {instance(t, func(r *sigstack.TrustedRoot) {
			r.Rekor = r.Rekor[1:]
			r.Rekor[0].PublicKey.ValidFor.Start = stack(t).From.Add(time.Hour)
		}), now, false},
		"a log is open again that was closed":    {now, instance(t, end(24*time.Hour)), true},
		"a log was closed":                       {instance(t, end(24*time.Hour)), now, false},
		"a log was closed earlier than before":   {instance(t, end(time.Hour)), instance(t, end(24*time.Hour)), false},
		"an authority is open that was closed":   {now, instance(t, func(r *sigstack.TrustedRoot) { r.Authorities[0].ValidFor.End = ends(t, time.Hour) }), true},
		"a TSA is open again that was closed":    {now, instance(t, func(r *sigstack.TrustedRoot) { r.TSAs[0].ValidFor.End = ends(t, time.Hour) }), true},
		"a CT log is open again that was closed": {now, instance(t, func(r *sigstack.TrustedRoot) { r.CT[0].PublicKey.ValidFor.End = ends(t, time.Hour) }), true},
		"a part that begins earlier is no loss":  {instance(t, start(-time.Hour)), now, false},
	} {
		t.Run(name, func(t *testing.T) {
			older, why := trust.Older(tt.next, tt.inUse)
			if older != tt.want || (why != "") != tt.want {
				t.Errorf("older %t (%s), want %t", older, why, tt.want)
			}
		})
	}
}

func TestRootFor(t *testing.T) {
	all := instance(t, nil)
	some, err := all.For([]string{"ghcr.io/org/**"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"ghcr.io/org/app": true, "ghcr.io/stranger/app": false, "": false} {
		if got := some.Covers(name); got != want {
			t.Errorf("covers %q: %t", name, got)
		}
		if !all.Covers(name) {
			t.Errorf("a root for all images does not cover %q", name)
		}
	}
	renewed, err := some.Renewed(instance(t, func(r *sigstack.TrustedRoot) { r.Rekor = r.Rekor[:1] }).Bytes())
	if err != nil || renewed.Name() != some.Name() || renewed.Requires() != some.Requires() || renewed.Digest() == some.Digest() {
		t.Errorf("renewed it is %v (%v)", renewed, err)
	}
	if renewed.Covers("ghcr.io/stranger/app") || !renewed.Covers("ghcr.io/org/app") {
		t.Error("renewed it vouches for other images")
	}
	if _, err := some.Renewed([]byte("{}")); err == nil {
		t.Error("nothing is taken for a root")
	}
	if some.Digest() != all.Digest() {
		t.Error("its images are no part of a root's bytes")
	}
	if _, err := all.For([]string{"nginx"}); err == nil {
		t.Error("a pattern without a registry is accepted")
	}
}
