package administration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// BundleInfo is what the archive of a policy bundle says of itself.
type BundleInfo struct {
	// Revision is for people, Sequence rises with every release.
	Revision string
	Sequence int64
	// PolicyDigest is over what the archive makes a policy of: two archives of the
	// same files, signed by two keys, have the same.
	PolicyDigest string
}

// Archives reads the archives of policy bundles. Its errors may be shown to those
// who publish.
type Archives interface {
	// CheckKeys says what is wrong with public keys, PEM by key id.
	CheckKeys(keys map[string]string, scope string) error
	// Verify wants one of the keys to have signed all of the archive for the scope,
	// and names it.
	Verify(archive []byte, keys map[string]string, scope string) (keyID string, err error)
	// Inspect reads an archive without compiling it.
	Inspect(archive []byte) (BundleInfo, error)
	// Diff is the unified diff of the files of two archives, of which nil is an empty
	// one; DiffText that of two texts.
	Diff(fromName, toName string, from, to []byte) ([]byte, error)
	DiffText(fromName, toName string, from, to []byte) []byte
}

// PreviewFunc says how many recent verdicts would flip under what is proposed,
// and gives some of them, for people. The archive of every bundle that the
// snapshot names is in the store.
type PreviewFunc func(ctx context.Context, proposed store.Snapshot) (flips int, examples []string, err error)

// How an attempt to put a bundle into force ended.
const (
	outcomeActivated   = "activated"
	outcomeUnchanged   = "unchanged"
	outcomeRefused     = "refused"
	outcomeUnreachable = "unreachable"
)

// attempt is what is kept of the last one, beside its time and its error.
type attempt struct {
	Outcome string `json:"outcome"`
	// Sequence and Revision are of what was offered.
	Sequence int64  `json:"sequence,omitempty"`
	Revision string `json:"revision,omitempty"`
	// Flips are the recent verdicts that it changes, nil where that was not asked.
	Flips    *int     `json:"flips,omitempty"`
	Examples []string `json:"examples,omitempty"`
	// Warnings are about what counts no more, and was not refused.
	Warnings []string `json:"warnings,omitempty"`
}

// errUnchanged says that an archive is in force already.
var errUnchanged = errors.New("it is in force already")

// received checks an archive as the next of a bundle: signature, contents,
// sequence. It gives the row as it would be, or [errUnchanged].
func (s *Service) received(row store.BundleRow, archive []byte) (store.BundleRow, error) {
	if s.archives == nil {
		return row, refuse(ErrConflict, "%s: this server reads no policy bundles", bundleNamed(row.Name))
	}
	next := row
	next.SignedBy = ""
	if len(row.Keys) > 0 && !s.onTrial { // what is tried is signed when it is released
		id, err := s.archives.Verify(archive, row.Keys, row.Scope)
		if err != nil {
			return row, fieldError("archive", "%s", err)
		}
		next.SignedBy = id
	}
	info, err := s.archives.Inspect(archive)
	if err != nil {
		return row, fieldError("archive", "%s", err)
	}
	next.Digest, next.PolicyDigest, next.Revision, next.Sequence = facts.Digest(archive), info.PolicyDigest, info.Revision, info.Sequence
	switch {
	case s.onTrial && info.PolicyDigest != row.PolicyDigest: // and numbered
		next.Sequence = row.HighestSequence + 1
	case info.Sequence < 1:
		return row, fieldError("archive", "its manifest has no sequence; write metadata.signet.sequence, an integer that rises with every release, or build it with signet policy build --sequence N")
	case row.Digest != "" && info.Sequence == row.Sequence && info.PolicyDigest == row.PolicyDigest:
		return next, errUnchanged
	case info.Sequence > row.HighestSequence:
	case row.Digest != "" && row.Sequence < row.HighestSequence:
		return next, refuse(ErrConflict, "%s: was rolled back on purpose, from sequence %d to %d; sequence %d is not taken again, publish one above %d",
			bundleNamed(row.Name), row.HighestSequence, row.Sequence, info.Sequence, row.HighestSequence)
	case row.Digest != "":
		return next, refuse(ErrConflict, "%s: sequence %d (%s) is not above %d (%s), which is in force with other content; raise metadata.signet.sequence",
			bundleNamed(row.Name), info.Sequence, shortRevision(info.Revision), row.Sequence, shortRevision(row.Revision))
	default:
		return next, refuse(ErrConflict, "%s: sequence %d is not above %d, the highest that was in force under this name; raise metadata.signet.sequence",
			bundleNamed(row.Name), info.Sequence, row.HighestSequence)
	}
	next.HighestSequence = next.Sequence
	return next, nil
}

func shortRevision(revision string) string {
	if revision == "" {
		return "no revision"
	}
	return fmt.Sprintf("revision %q", revision)
}

// proposal is a change of bundles and policies that is tried whole before any of
// it counts. Rows have the versions that they replace, 0 for new ones.
type proposal struct {
	by  store.Actor
	why string
	// bundle is as it will be, with its archive; nil: none changes.
	bundle  *store.BundleRow
	archive []byte
	// policies are as they will be.
	policies []proposedPolicy
	// settings says that the bundle changes in more than its archive.
	settings bool
	// maxFlips refuses what changes more recent verdicts; nil: any number.
	maxFlips *int
	// compiledWith are the digests of the archives that the policies were compiled
	// with, by the bundle's name; the bundle that changes is not among them.
	compiledWith map[string]string
	// warnings were found when the policies were compiled.
	warnings []string
	// within is asked, within the change, whether it still may be made; nil: it may.
	within func(ctx context.Context, tx *store.Tx) error
}

type proposedPolicy struct {
	row    store.PolicyRow
	policy *signingpolicy.Policy
}

// activate is the one way by which bundles, and the policies that name them, come
// into force: every policy that is touched is compiled with its parameters and
// its bundle, which evaluates the golden inputs; the change is previewed; and
// only then it is made, all of it or nothing. It fills in the rows as kept. What
// was changed by others meanwhile is [ErrStale].
func (s *Service) activate(ctx context.Context, p *proposal) (tried attempt, err error) {
	if p.bundle != nil {
		tried.Sequence, tried.Revision = p.bundle.Sequence, p.bundle.Revision
	}
	snap, err := s.in.Snapshot(ctx, nil)
	if err != nil {
		return tried, err
	}
	touched, err := p.over(&snap)
	if err != nil {
		return tried, err
	}
	for _, t := range touched {
		if err := s.compiles(ctx, p, snap, t); err != nil {
			return tried, err
		}
	}
	tried.Warnings = p.warnings
	if p.archive != nil { // before it is named: a server that sees it named finds it
		if err := s.changeBy(ctx, p.by, p.why, func(tx *store.Tx) error {
			return tx.PutObject(ctx, store.ObjectBundle, p.bundle.Digest, p.archive)
		}); err != nil {
			return tried, err
		}
	}
	if err := s.previewed(ctx, p, snap, &tried); err != nil {
		return tried, err
	}
	return tried, s.changeBy(ctx, p.by, p.why, func(tx *store.Tx) error { return p.write(ctx, tx, touched) })
}

// over makes of what is in force what would be, and names the policies that have
// to be compiled for it: those that change, and those whose bundle does.
func (p *proposal) over(snap *store.Snapshot) (touched []proposedPolicy, err error) {
	if p.bundle != nil {
		snap.Bundles = slices.DeleteFunc(slices.Clone(snap.Bundles), func(r store.BundleRow) bool { return r.Name == p.bundle.Name })
		snap.Bundles = append(snap.Bundles, *p.bundle)
		slices.SortFunc(snap.Bundles, func(a, b store.BundleRow) int { return strings.Compare(a.Name, b.Name) })
	}
	changes := map[string]proposedPolicy{}
	for _, c := range p.policies {
		c.row.Digest = facts.Digest([]byte(c.row.Body))
		changes[c.row.Name] = c
	}
	rows := make([]store.PolicyRow, 0, len(snap.Policies)+len(changes))
	for _, r := range snap.Policies {
		if c, ok := changes[r.Name]; ok {
			r = c.row
			delete(changes, r.Name)
			rows, touched = append(rows, r), append(touched, c)
			continue
		}
		rows = append(rows, r)
		if p.bundle == nil {
			continue
		}
		policy, err := signingpolicy.Parse([]byte(r.Body))
		if err != nil {
			return nil, fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, r.Name, err)
		}
		if policy.Bundle == p.bundle.Name {
			touched = append(touched, proposedPolicy{r, policy})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		rows, touched = append(rows, changes[name].row), append(touched, changes[name])
	}
	slices.SortFunc(rows, func(a, b store.PolicyRow) int { return strings.Compare(a.Name, b.Name) })
	snap.Policies = rows
	return touched, nil
}

// compiles tries one policy as it would be.
func (s *Service) compiles(ctx context.Context, p *proposal, snap store.Snapshot, t proposedPolicy) error {
	archive, err := s.archiveFor(ctx, p, snap, t)
	if err != nil {
		return err
	}
	own := slices.ContainsFunc(p.policies, func(o proposedPolicy) bool { return o.row.Name == t.row.Name })
	warning, err := s.codesOf(ctx, s.checkPolicy(ctx, t.policy, archive), t.row.Name, own)
	if warning != "" {
		p.warnings = append(p.warnings, warning)
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case own && errors.Is(err, signingpolicy.ErrInvalid):
		return linesOf(err)
	case own && p.bundle == nil:
		return fieldError("signing_policy", "%s", err)
	case p.bundle == nil:
		return fieldError("", "%s: %s", policyNamed(t.row.Name), err)
	}
	return fieldError("archive", "with %s: %s", policyNamed(t.row.Name), strings.ReplaceAll(err.Error(), "\n", "; "))
}

// archiveFor is the archive that a policy would be compiled with; nil where it
// names no bundle.
func (s *Service) archiveFor(ctx context.Context, p *proposal, snap store.Snapshot, t proposedPolicy) ([]byte, error) {
	name := t.policy.Bundle
	if name == "" {
		return nil, nil
	}
	if p.bundle != nil && p.bundle.Name == name && p.archive != nil {
		return p.archive, ofSameOwner(t.row, *p.bundle)
	}
	i := slices.IndexFunc(snap.Bundles, func(r store.BundleRow) bool { return r.Name == name })
	switch {
	case i < 0:
		return nil, fieldError("bundle", "there is no bundle %q; put it first: signet bundles put ARCHIVE --name %s", name, name)
	case snap.Bundles[i].Digest == "":
		return nil, fieldError("bundle", "%s has not been fetched yet; signet bundles show %s says why", bundleNamed(name), name)
	}
	if err := ofSameOwner(t.row, snap.Bundles[i]); err != nil {
		return nil, err
	}
	archive, err := s.in.Object(ctx, store.ObjectBundle, snap.Bundles[i].Digest)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", bundleNamed(name), err)
	}
	if p.compiledWith == nil {
		p.compiledWith = map[string]string{}
	}
	p.compiledWith[name] = snap.Bundles[i].Digest
	return archive, nil
}

// ofSameOwner lets a policy name a bundle of its own team, or of the whole
// installation. Else one team would decide over another's images, and could be
// kept from changing its own bundle by being named.
func ofSameOwner(policy store.PolicyRow, bundle store.BundleRow) error {
	if bundle.Owner == "" || bundle.Owner == policy.Owner {
		return nil
	}
	return refuse(ErrNotYours, "%s: belongs to team %q, and %s does not; a policy names a bundle of its own team or of the whole installation",
		bundleNamed(bundle.Name), bundle.Owner, policyNamed(policy.Name))
}

func (s *Service) previewed(ctx context.Context, p *proposal, snap store.Snapshot, tried *attempt) error {
	if s.preview == nil || s.onTrial || p.archive == nil { // a policy is previewed by who asks for it
		return nil
	}
	flips, examples, err := s.preview(ctx, snap)
	if err != nil {
		return fmt.Errorf("previewing the change: %w", err)
	}
	const shown = 5
	tried.Flips, tried.Examples = &flips, examples[:min(len(examples), shown)]
	if p.maxFlips != nil && flips > *p.maxFlips {
		return refuse(ErrConflict, "%s: %d recent verdicts would flip, and max_flips allows %d (%s)", bundleNamed(p.bundle.Name), flips, *p.maxFlips, strings.Join(tried.Examples, "; "))
	}
	return nil
}

// write makes the change, if what was compiled is still what there is.
func (p *proposal) write(ctx context.Context, tx *store.Tx, touched []proposedPolicy) error {
	if p.within != nil {
		if err := p.within(ctx, tx); err != nil {
			return err
		}
	}
	if p.bundle != nil {
		if err := p.stillTouches(ctx, tx, touched); err != nil {
			return err
		}
		kept, err := tx.PutBundle(ctx, *p.bundle)
		if err != nil {
			return putError(err, bundleNamed(p.bundle.Name), p.bundle.Version)
		}
		*p.bundle = kept
	}
	for i, c := range p.policies {
		if err := fits(ctx, tx, nil, []*signingpolicy.Policy{c.policy}); err != nil {
			return err
		}
		if c.policy.Bundle != "" {
			named, err := tx.Bundle(ctx, c.policy.Bundle)
			if err != nil {
				return missing(err, "bundle %q was removed meanwhile", c.policy.Bundle)
			}
			if digest, ok := p.compiledWith[c.policy.Bundle]; ok && digest != named.Digest {
				return refuse(ErrStale, "%s was changed while %s was tried with it; try again", bundleNamed(named.Name), policyNamed(c.row.Name))
			}
			if err := ofSameOwner(c.row, named); err != nil {
				return err
			}
		}
		kept, err := tx.PutPolicy(ctx, c.row)
		if err != nil {
			return putError(err, policyNamed(c.row.Name), c.row.Version)
		}
		p.policies[i].row = kept
	}
	return nil
}

// stillTouches makes sure that the policies which name the bundle are those that
// were compiled with it.
func (p *proposal) stillTouches(ctx context.Context, tx *store.Tx, touched []proposedPolicy) error {
	rows, err := tx.Policies(ctx)
	if err != nil {
		return err
	}
	compiled := map[string]string{}
	for _, t := range touched {
		compiled[t.row.Name] = t.row.Digest
	}
	for _, c := range p.policies {
		delete(compiled, c.row.Name)
	}
	for _, r := range rows {
		if slices.ContainsFunc(p.policies, func(c proposedPolicy) bool { return c.row.Name == r.Name }) {
			continue
		}
		policy, err := signingpolicy.Parse([]byte(r.Body))
		if err != nil {
			return fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, r.Name, err)
		}
		if policy.Bundle == p.bundle.Name && compiled[r.Name] != r.Digest {
			return refuse(ErrStale, "%s was changed while %s was tried with it; try again", policyNamed(r.Name), bundleNamed(p.bundle.Name))
		}
	}
	return nil
}

// putError gives the store's errors about versions a message.
func putError(err error, what string, version int64) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refuse(ErrNotFound, "%s was removed meanwhile; leave out the version to make it anew", what)
	case errors.Is(err, store.ErrConflict) && version == 0:
		return refuse(ErrConflict, "%s: is there already; name its version to replace it", what)
	case errors.Is(err, store.ErrConflict):
		return refuse(ErrStale, "%s was changed meanwhile; read it again", what)
	}
	return err
}

// noteAttempt keeps how an attempt to put a bundle into force ended, for those who
// look and for the metrics. It is not worth failing for.
func (s *Service) noteAttempt(ctx context.Context, name string, tried attempt, failed error) {
	if s.onTrial {
		return
	}
	switch {
	case tried.Outcome != "":
	case failed == nil:
		tried.Outcome = outcomeActivated
	case errors.Is(failed, errUnchanged):
		tried.Outcome = outcomeUnchanged
	default:
		tried.Outcome = outcomeRefused
	}
	if s.activated != nil {
		s.activated(name, tried.Outcome)
	}
	if tried.Outcome == outcomeUnchanged && s.noted(ctx, name) {
		return
	}
	u := store.Upkeep{Kind: store.UpkeepBundle, Key: name, CheckedAt: s.now()}
	if tried.Outcome == outcomeRefused || tried.Outcome == outcomeUnreachable {
		u.Error = failed.Error()
	}
	detail, err := json.Marshal(tried)
	if err == nil {
		u.Detail = detail
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
		defer cancel()
		err = s.store.PutUpkeep(ctx, u)
	}
	if err != nil {
		s.log.WarnContext(ctx, "keeping how the activation of a bundle went", "bundle", name, "error", err)
	}
}

// noted says that a good end was noted just now, so that looking every two seconds
// does not write every two seconds.
func (s *Service) noted(ctx context.Context, name string) bool {
	last, err := s.lastAttempts(ctx)
	return err == nil && last[name].Error == "" && s.now().Sub(last[name].CheckedAt) < time.Minute
}

// noteTime bounds keeping what became of an attempt.
const noteTime = 5 * time.Second

// lastAttempts are what is kept of the last attempt of each bundle, by name.
func (s *Service) lastAttempts(ctx context.Context) (map[string]store.Upkeep, error) {
	all, err := s.store.Upkeep(ctx, store.UpkeepBundle)
	if err != nil {
		return nil, err
	}
	out := map[string]store.Upkeep{}
	for _, u := range all {
		out[u.Key] = u
	}
	return out, nil
}
