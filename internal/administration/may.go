package administration

import (
	"fmt"
	"strings"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/glob"
)

// may asks for the role alone.
func (c Caller) may(p auth.Permission) error {
	if c.Principal.May(p) {
		return nil
	}
	var names []string
	for _, r := range auth.RolesFor(p) {
		names = append(names, string(r))
	}
	return refuse(ErrRole, "this needs the role %s; %q has the role %q", strings.Join(names, " or "), c.Principal.Name, c.Principal.Role)
}

// whole asks for the role, and that the caller is bound to no team and no
// images: what is changed is in force for all of the installation. what names it,
// for example "the secret".
func (c Caller) whole(p auth.Permission, what string) error {
	if err := c.may(p); err != nil {
		return err
	}
	switch {
	case c.Principal.Team != "":
		return refuse(ErrNotYours, "%s: belongs to the whole installation, and %q is of team %q; ask an administrator without a team", what, c.Principal.Name, c.Principal.Team)
	case len(c.Principal.Images) > 0:
		return refuse(ErrOutOfScope, "%s: concerns every image, and %q is bound to %s; ask an administrator who is bound to no images", what, c.Principal.Name, list(c.Principal.Images))
	}
	return nil
}

// owns asks whether the caller may change what is owner's and concerns images.
// what names it, for example `signer "release"`.
func (c Caller) owns(what, owner string, images []string) error {
	if err := c.ofTeam(what, owner); err != nil {
		return err
	}
	if p := c.Principal; !glob.Within(images, p.Images) {
		reach := "every image"
		if len(images) > 0 {
			reach = list(images)
		}
		return refuse(ErrOutOfScope, "%s: concerns %s, and %q may administer %s only", what, reach, p.Name, list(p.Images))
	}
	return nil
}

func (c Caller) ofTeam(what, owner string) error {
	p := c.Principal
	if p.Team == "" || p.Team == owner {
		return nil
	}
	whose := "the whole installation"
	if owner != "" {
		whose = fmt.Sprintf("team %q", owner)
	}
	return refuse(ErrNotYours, "%s: belongs to %s, and %q may change what belongs to team %q only", what, whose, p.Name, p.Team)
}

// ownerOf is the owner of something new: what was asked for, or the caller's team.
func (c Caller) ownerOf(asked string) string {
	if asked == "" {
		return c.Principal.Team
	}
	return asked
}

func list(items []string) string {
	const shown = 5
	if len(items) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(items[:shown], ", "), len(items)-shown)
	}
	return strings.Join(items, ", ")
}
