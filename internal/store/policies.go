package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/facts"
)

// PolicyRow is a signing policy as it is kept. What its body means is for package
// signingpolicy to check before it is put.
type PolicyRow struct {
	Name string `json:"name"`
	// Source is "api", "configuration" for a policy that only changes there, or
	// "embedded" for the one of an installation that has written none.
	Source string `json:"source"`
	// Owner is the team that may change it; "" is the whole installation.
	Owner string `json:"owner"`
	// Body is the policy in its canonical form, as YAML.
	Body string `json:"body"`
	// The store fills in these: Digest is the SHA-256 of Body, who and when come
	// from the change, and Version counts the changes from 1.
	Digest    string    `json:"digest"`
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedBy string    `json:"updated_by"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int64     `json:"version"`
}

func (r *PolicyRow) complete() error {
	switch {
	case r.Name == "":
		return fmt.Errorf("%w: policy name: is empty", ErrInvalid)
	case r.Source != "api" && r.Source != "configuration" && r.Source != "embedded":
		return fmt.Errorf("%w: policy source: %q is not api or configuration", ErrInvalid, r.Source)
	case r.Body == "":
		return fmt.Errorf("%w: policy body: is empty", ErrInvalid)
	}
	r.Digest = facts.Digest([]byte(r.Body))
	return nil
}

const policyColumns = `name, source, owner, body, digest, created_by, created_at, updated_by, updated_at, version`

func scanPolicy(row rower) (PolicyRow, error) {
	var r PolicyRow
	err := row.Scan(&r.Name, &r.Source, &r.Owner, &r.Body, &r.Digest,
		&r.CreatedBy, timeColumn{&r.CreatedAt}, &r.UpdatedBy, timeColumn{&r.UpdatedAt}, &r.Version)
	if err == nil && r.Digest != facts.Digest([]byte(r.Body)) {
		err = fmt.Errorf("%w: policy %q does not hash to its digest", ErrCorrupt, r.Name)
	}
	return r, err
}

// Policies lists all policies by name.
func (s *Store) Policies(ctx context.Context) ([]PolicyRow, error) { return readPolicies(ctx, s.read) }

func readPolicies(ctx context.Context, q querier) ([]PolicyRow, error) {
	const op = "reading the policies"
	rows, err := q.QueryContext(ctx, `SELECT `+policyColumns+` FROM policies ORDER BY name`)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, scanPolicy)
}

// Policy returns one policy, or [ErrNotFound].
func (s *Store) Policy(ctx context.Context, name string) (PolicyRow, error) {
	return readPolicy(ctx, s.read, name)
}

// Policy returns one policy as this change sees it, or [ErrNotFound].
func (t *Tx) Policy(ctx context.Context, name string) (PolicyRow, error) {
	return readPolicy(ctx, t.tx, name)
}

// Policies lists all policies by name as this change sees them.
func (t *Tx) Policies(ctx context.Context) ([]PolicyRow, error) { return readPolicies(ctx, t.tx) }

func readPolicy(ctx context.Context, q querier, name string) (PolicyRow, error) {
	r, err := scanPolicy(q.QueryRowContext(ctx, `SELECT `+policyColumns+` FROM policies WHERE name = ?`, name))
	if err != nil {
		return PolicyRow{}, wrap(fmt.Sprintf("reading policy %q", name), err)
	}
	return r, nil
}

// PutPolicy keeps a policy and returns it as kept. With Version 0 it must be new;
// else Version must be that of the row in the store: [ErrConflict] otherwise,
// [ErrNotFound] for a version of what is not there. Where body, owner and source
// are what they were, nothing is written.
func (t *Tx) PutPolicy(ctx context.Context, r PolicyRow) (PolicyRow, error) {
	if err := r.complete(); err != nil {
		return PolicyRow{}, err
	}
	before, err := changing(r.Version, "policy", r.Name, func(p PolicyRow) int64 { return p.Version })(readPolicy(ctx, t.tx, r.Name))
	if err != nil {
		return PolicyRow{}, err
	}
	action := "policy.create"
	r.Version, r.CreatedBy, r.CreatedAt = 1, t.by.Name, t.at
	if before != nil {
		if r.Body == before.Body && r.Owner == before.Owner && r.Source == before.Source {
			return *before, nil
		}
		action = "policy.update"
		r.Version, r.CreatedBy, r.CreatedAt = before.Version+1, before.CreatedBy, before.CreatedAt
	}
	r.UpdatedBy, r.UpdatedAt = t.by.Name, t.at
	err = t.exec(ctx, "keeping a policy", `INSERT INTO policies (`+policyColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET source = excluded.source, owner = excluded.owner, body = excluded.body, digest = excluded.digest,
			updated_by = excluded.updated_by, updated_at = excluded.updated_at, version = excluded.version`,
		r.Name, r.Source, r.Owner, r.Body, r.Digest, r.CreatedBy, formatTime(r.CreatedAt), r.UpdatedBy, formatTime(r.UpdatedAt), r.Version)
	if err != nil {
		return PolicyRow{}, err
	}
	if err := t.policyChanged(ctx, action, before, &r); err != nil {
		return PolicyRow{}, err
	}
	return r, nil
}

// DeletePolicy removes a policy of that version; [ErrNotFound] and [ErrConflict]
// as for PutPolicy. Its history stays.
func (t *Tx) DeletePolicy(ctx context.Context, name string, version int64) error {
	old, err := readPolicy(ctx, t.tx, name)
	if err != nil {
		return err
	}
	if old.Version != version {
		return stale("policy", name, old.Version, version)
	}
	if err := t.exec(ctx, "deleting a policy", `DELETE FROM policies WHERE name = ?`, name); err != nil {
		return err
	}
	return t.policyChanged(ctx, "policy.delete", &old, nil)
}

func (t *Tx) policyChanged(ctx context.Context, action string, before, after *PolicyRow) error {
	t.touched[InputPolicies] = true
	return changed(ctx, t, action, "policy", "policy_history", nameOf(before, after, func(p PolicyRow) string { return p.Name }), before, after)
}

func (t *Tx) digestPolicies(ctx context.Context) (string, error) {
	digests, err := t.policyDigests(ctx)
	if err != nil {
		return "", err
	}
	return digests[0], nil
}

// policyDigests are those of [digestPolicyRows], without reading the bodies.
func (t *Tx) policyDigests(ctx context.Context) ([]string, error) {
	const op = "reading the policies"
	rows, err := t.tx.QueryContext(ctx, `SELECT name, digest, source FROM policies ORDER BY name`)
	if err != nil {
		return nil, wrap(op, err)
	}
	list, err := collect(op, rows, func(r rower) (PolicyRow, error) {
		var p PolicyRow
		err := r.Scan(&p.Name, &p.Digest, &p.Source)
		return p, err
	})
	if err != nil {
		return nil, err
	}
	return digestPolicies(list)
}

// digestPolicies is over names, digests of the bodies, and sources: what is decided
// depends on them too, because the embedded policy gives way where one of the
// configuration speaks. The source "api" is left out. A second digest is what a
// version that digested no sources had for the same rows, where it is another;
// revisions made then say it still.
func digestPolicies(rows []PolicyRow) ([]string, error) {
	pairs := make([][2]string, len(rows))
	list := make([][]string, len(rows))
	for i, r := range rows {
		pairs[i] = [2]string{r.Name, r.Digest}
		list[i] = pairs[i][:]
		if r.Source != "api" {
			list[i] = []string{r.Name, r.Digest, r.Source}
		}
	}
	first, err := digestPairs(pairs)
	if err != nil || first == "" {
		return []string{first}, err
	}
	body, err := facts.Canonical(list)
	if err != nil {
		return nil, err
	}
	digest := facts.Digest(body)
	if digest == first {
		return []string{digest}, nil
	}
	return []string{digest, first}, nil
}

func digestPolicyRows(rows []PolicyRow) ([]string, error) {
	list := make([]PolicyRow, len(rows))
	for i, r := range rows {
		list[i] = PolicyRow{Name: r.Name, Digest: facts.Digest([]byte(r.Body)), Source: r.Source}
	}
	return digestPolicies(list)
}

// PoliciesAt returns the policies that were in force under a revision, by name.
// They must hash to what the revision says, else [ErrCorrupt].
func (s *Store) PoliciesAt(ctx context.Context, revision int64) ([]PolicyRow, error) {
	return stateAt(ctx, s, InputPolicies, "policy_history", revision, digestPolicyRows)
}

// changing compares the version that a change was made to with what is there: a
// row, or nil where it is to be new.
func changing[T any](version int64, what, name string, of func(T) int64) func(T, error) (*T, error) {
	return func(old T, err error) (*T, error) {
		switch {
		case err == nil && version == 0:
			return nil, fmt.Errorf("%s %q: %w: it exists, at version %d; name the version to change it", what, name, ErrConflict, of(old))
		case err == nil && of(old) != version:
			return nil, stale(what, name, of(old), version)
		case err == nil:
			return &old, nil
		case errors.Is(err, ErrNotFound) && version == 0:
			return nil, nil
		default:
			return nil, err
		}
	}
}

func stale(what, name string, have, made int64) error {
	return fmt.Errorf("%s %q: %w: it is at version %d, and the change was made to version %d; read it again", what, name, ErrConflict, have, made)
}

func nameOf[T any](before, after *T, name func(T) string) string {
	if after != nil {
		return name(*after)
	}
	return name(*before)
}

// changed audits a change of a row that is known by its name, and keeps its
// history.
func changed[T any](ctx context.Context, t *Tx, action, what, table, name string, before, after *T) error {
	was, err := bodyOf(before)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	is, err := bodyOf(after)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	// A name that was deleted may come back, so there may always be states before.
	if err := t.remember(ctx, table, name, name, true, is); err != nil {
		return err
	}
	return t.audit(ctx, action, what+"/"+name, was, is)
}
