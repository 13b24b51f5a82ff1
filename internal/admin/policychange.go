package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/signingpolicy"
)

func confirmRollback(v *view) error {
	ctx, name := v.Request().Context(), v.Param("name")
	to, err := strconv.ParseInt(v.QueryParam("to"), 10, 64)
	if err != nil {
		return &client.Problem{Status: http.StatusNotFound, Detail: "Say which state is to come back: choose one in the history of the policy."}
	}
	policy, gone := v.api.Policy(ctx, name) // before its history, so that what is newer than both is noticed
	if gone != nil && !client.IsNotFound(gone) {
		return gone
	}
	var newest, target *client.PolicyVersion
	for one, err := range v.api.AllPolicyHistory(ctx, name) {
		if err != nil {
			return err
		}
		if newest == nil {
			newest = &one
		}
		if one.ActiveRevision == to {
			target = &one
			break
		}
	}
	if target == nil || target.Change == "removed" {
		return &client.Problem{Status: http.StatusNotFound, Detail: fmt.Sprintf("The policy has no state that began with revision %d.", to)}
	}
	diff, err := v.api.DiffPolicy(ctx, name, newest.ActiveRevision, to)
	if err != nil {
		return err
	}
	path := "/policy/" + url.PathEscape(name)
	c := change{
		Tab: "policy", Of: name,
		Heading: fmt.Sprintf("Put %s back to revision %d?", name, to), Button: fmt.Sprintf("Put back revision %d", to),
		Says: []string{"It is in force from the next verdict on, on every server. The history keeps what is in force now, so that this can be taken back."},
		Path: path + "/rollback", Back: path + "/history", Diff: &diff, Differs: "What differs from what is in force",
		Sent: url.Values{"to": {strconv.FormatInt(to, 10)}, "version": {strconv.FormatInt(policy.Version, 10)}, "seen": {strconv.FormatInt(newest.ActiveRevision, 10)}},
	}
	if gone != nil { // version 0 says so
		c.Heading, c.Button, c.Differs = fmt.Sprintf("Bring %s back, as of revision %d?", name, to), fmt.Sprintf("Bring back revision %d", to), "What comes back"
		c.Says = []string{"It was removed. It is in force again from the next verdict on, on every server, with the owner that it had."}
	}
	if err := v.bundleGoesBack(&c, name, *target); err != nil {
		return err
	}
	return v.asks(c, &client.Operation{Op: client.OpRollbackPolicy, Name: name, To: &to})
}

// bundleGoesBack says what going back does to the bundle that the policy named then,
// and with it to all others that name it.
func (v *view) bundleGoesBack(c *change, policy string, target client.PolicyVersion) error {
	if target.BundleDigest == "" {
		return nil
	}
	b, err := v.api.Bundle(v.Request().Context(), target.Bundle)
	switch {
	case client.IsNotFound(err):
		c.Never = fmt.Sprintf("It named the bundle %s then, which was removed. Publish one of that name first.", target.Bundle)
		return nil
	case err != nil:
		return err
	case b.Digest == target.BundleDigest:
		return nil
	}
	says := fmt.Sprintf("The bundle %s goes back with it, from sequence %d to sequence %d.", b.Name, b.Sequence, target.BundleSequence)
	if others := slices.DeleteFunc(slices.Clone(b.Policies), func(name string) bool { return name == policy }); len(others) > 0 {
		says += fmt.Sprintf(" That also changes the policies that decide by it: %s.", strings.Join(others, ", "))
	}
	c.Says = append(c.Says, says)
	return nil
}

func rollbackPolicy(v *view) error {
	ctx, name := v.Request().Context(), v.Param("name")
	to, err := strconv.ParseInt(v.FormValue("to"), 10, 64)
	if err != nil {
		return errIncomplete
	}
	version, err := strconv.ParseInt(v.FormValue("version"), 10, 64)
	if err != nil {
		return errIncomplete
	}
	for newest, err := range v.api.AllPolicyHistory(ctx, name) { // where its bundle has changed, it has the same version still
		if err != nil {
			return err
		}
		if v.FormValue("seen") != strconv.FormatInt(newest.ActiveRevision, 10) { // else another change than the one that was shown
			return &client.Problem{Status: http.StatusPreconditionFailed, Code: "stale", Detail: staleText}
		}
		break
	}
	if _, err := v.api.WithWhy(v.FormValue("why")).RollbackPolicy(ctx, name, &to, &version); err != nil {
		return err
	}
	return v.to("/policy/"+url.PathEscape(name), "rolled-back")
}

func confirmPolicyRemoval(v *view) error {
	ctx := v.Request().Context()
	policy, err := v.api.Policy(ctx, v.Param("name"))
	if err != nil {
		return err
	}
	path := "/policy/" + url.PathEscape(policy.Name)
	c := change{
		Tab: "policy", Of: policy.Name,
		Heading: fmt.Sprintf("Remove %s?", policy.Name), Button: "Remove " + policy.Name,
		Says: []string{"It is asked no more from the next verdict on, on every server. The audit log and past verdicts keep it, and it can be brought back from its history."},
		Path: path + "/remove", Back: path, Sent: url.Values{"version": {strconv.FormatInt(policy.Version, 10)}},
	}
	all, err := v.api.Policies(ctx, 2, "")
	if err != nil {
		return err
	}
	if len(all.Items) == 1 {
		c.Says = append(c.Says, "No other policy is in force: without one every question is answered unknown.")
	}
	if policy.Bundle != "" {
		c.Says = append(c.Says, fmt.Sprintf("The bundle %s, by which it decides, stays.", policy.Bundle))
	}
	switch policy.Source {
	case "configuration":
		c.Never = "It stands in the servers' configuration; remove it there."
	case "embedded":
		c.Never = "It is the policy of an installation that has written none; it goes when you write one."
	}
	return v.asks(c, &client.Operation{Op: client.OpDeletePolicy, Name: policy.Name})
}

func removePolicy(v *view) error {
	version, err := strconv.ParseInt(v.FormValue("version"), 10, 64)
	if err != nil {
		return errIncomplete
	}
	if err := v.api.WithWhy(v.FormValue("why")).DeletePolicy(v.Request().Context(), v.Param("name"), version); err != nil {
		return err
	}
	return v.to("/policy/"+url.PathEscape(v.Param("name")), "policy-removed")
}

func confirmBundleRemoval(v *view) error {
	b, err := v.api.Bundle(v.Request().Context(), v.Param("name"))
	if err != nil {
		return err
	}
	path := "/bundle/" + url.PathEscape(b.Name)
	c := change{
		Tab: "policy", Of: b.Name,
		Heading: fmt.Sprintf("Remove the bundle %s?", b.Name), Button: "Remove the bundle",
		Says: []string{"No policy decides by it, so no verdict changes. The audit log and past verdicts keep it, and a draft of it stays."},
		Path: path + "/remove", Back: path, Sent: url.Values{"version": {strconv.FormatInt(b.Version, 10)}},
	}
	switch {
	case b.Source == "configuration":
		c.Says, c.Never = nil, "It is fetched as the servers' configuration says; remove it there."
	case len(b.Policies) > 0:
		c.Says, c.Never = nil, fmt.Sprintf("Policies decide by it: %s. Give them another bundle first, or remove them.", strings.Join(b.Policies, ", "))
	}
	return v.asks(c, nil)
}

func removeBundle(v *view) error {
	version, err := strconv.ParseInt(v.FormValue("version"), 10, 64)
	if err != nil {
		return errIncomplete
	}
	if err := v.api.WithWhy(v.FormValue("why")).DeleteBundle(v.Request().Context(), v.Param("name"), version); err != nil {
		return err
	}
	return v.to("/policy", "bundle-removed")
}

func confirmExceptionRemoval(v *view) error {
	policy, err := v.api.Policy(v.Request().Context(), v.Param("name"))
	if err != nil {
		return err
	}
	place, _ := strconv.Atoi(v.QueryParam("place")) // 0 is none
	if place < 1 || place > len(policy.Exceptions) {
		return &client.Problem{Status: http.StatusNotFound, Detail: fmt.Sprintf("The policy %s has %d exceptions, and none at that place.", policy.Name, len(policy.Exceptions))}
	}
	e := policy.Exceptions[place-1]
	path := "/policy/" + url.PathEscape(policy.Name)
	c := change{
		Tab: "policy", Of: policy.Name,
		Heading: fmt.Sprintf("Remove an exception of %s?", policy.Name), Button: "Remove the exception",
		Says: []string{
			fmt.Sprintf("It waives %s for %s. Why: %s (%s).", strings.Join(e.Codes, ", "), strings.Join(e.Images, ", "), e.Reason, e.Owner),
			"What it waives is wanted again from the next verdict on, on every server.",
		},
		Path: path + "/exceptions/remove", Back: path + "#exceptions",
		Sent: url.Values{"version": {strconv.FormatInt(policy.Version, 10)}, "place": {strconv.Itoa(place)}},
	}
	document, err := withoutException(policy.SigningPolicy, place)
	if err != nil {
		return err
	}
	return v.asks(c, &client.Operation{Op: client.OpPutPolicy, Name: policy.Name, SigningPolicy: document})
}

func withoutException(document string, place int) (string, error) {
	p, err := signingpolicy.Parse([]byte(document))
	if err != nil {
		return "", err
	}
	if place > len(p.Exceptions) {
		return "", fmt.Errorf("the document has %d exceptions, and none at %d", len(p.Exceptions), place)
	}
	p.Exceptions = slices.Delete(p.Exceptions, place-1, place)
	body, err := p.Canonical()
	return string(body), err
}

func removeException(v *view) error {
	name := v.Param("name")
	version, _ := strconv.ParseInt(v.FormValue("version"), 10, 64) // 0 is never current
	place, _ := strconv.Atoi(v.FormValue("place"))                 // 0 is none
	if _, err := v.api.WithWhy(v.FormValue("why")).RemoveException(v.Request().Context(), name, place, version); err != nil {
		return err
	}
	return v.to("/policy/"+url.PathEscape(name), "exception-removed")
}
