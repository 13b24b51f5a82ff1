package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/signet-policy/signet/client"
)

type watchCmd struct {
	List   watchListCmd   `cmd:"" help:"Show the images that are decided again without being asked for."`
	Add    watchAddCmd    `cmd:"" help:"Watch an image though nobody asks for it."`
	Remove watchRemoveCmd `cmd:"" help:"Take an image off the list."`
}

type watchListCmd struct {
	remoteFlags
	Source string `help:"Only those of this source: asked, api or configuration." placeholder:"SOURCE"`
	Limit  int    `help:"Show this many at most; 0 shows all." default:"50" placeholder:"N"`
	outFlags
}

// Run lists them.
func (c watchListCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		list, err := first(c.Limit, api.AllWatched(ctx, client.WatchFilter{Source: c.Source, Limit: min(c.Limit, 500)}))
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, list)
		case len(list) == 0:
			fmt.Fprintln(std.err, "signet: no image is watched")
			return nil
		}
		rows := make([][]string, 0, len(list))
		for _, w := range list {
			decision := w.Decision
			switch {
			case w.UnknownSince != nil:
				decision += " (unknown since " + timeOr(w.UnknownSince, "") + ")"
			case decision == "":
				decision = "not yet"
			}
			rows = append(rows, []string{w.ID, decision, w.Image, w.Environment, w.Source, timeOr(w.DecidedAt, ""), timeOr(&w.DueAt, "")})
		}
		return printTable(std.out, []string{"ID", "DECISION", "IMAGE", "ENVIRONMENT", "SOURCE", "DECIDED", "DUE"}, rows)
	})
}

type watchAddCmd struct {
	Image string `arg:"" help:"Reference of the image; with a tag alone, whatever the tag names then."`
	changeFlags
	Environment string `help:"Where it runs: a label of events, and context for policies that declare it." placeholder:"NAME"`
	Platform    string `help:"Platform, as in linux/amd64." placeholder:"OS/ARCH"`
	outFlags
}

// Run lists the image.
func (c watchAddCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		w, err := api.Watch(ctx, client.NewWatch{Image: c.Image, Environment: c.Environment, Platform: c.Platform})
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, w)
		}
		fmt.Fprintf(std.err, "signet: %s is watched\n", w.Image)
		fmt.Fprintln(std.out, w.ID)
		return nil
	})
}

type watchRemoveCmd struct {
	Image string `arg:"" help:"Reference as it was listed, or id of the watched image."`
	changeFlags
	Environment string `help:"Of this environment, where the image is listed for several." placeholder:"NAME"`
}

// Run takes it off the list.
func (c watchRemoveCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		var found []client.WatchedImage
		for w, err := range api.AllWatched(ctx, client.WatchFilter{}) {
			if err != nil {
				return err
			}
			if w.ID == c.Image || w.Image == c.Image && w.Source != "asked" && (c.Environment == "" || w.Environment == c.Environment) {
				found = append(found, w)
			}
		}
		switch {
		case len(found) == 0:
			return usage("%s is not listed; signet watch list shows what is", c.Image)
		case len(found) > 1:
			return usage("%s is listed for several environments; give --environment, or its id", c.Image)
		}
		if err := api.Unwatch(ctx, found[0].ID); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "signet: %s is listed no more\n", found[0].Image)
		return nil
	})
}

type eventsCmd struct {
	List   eventsListCmd   `cmd:"" help:"Show what happened to watched images, the latest first."`
	Follow eventsFollowCmd `cmd:"" help:"Show what happens to watched images, as it happens."`
}

type eventFlags struct {
	Since string `help:"Only after the event of this id, the oldest first." placeholder:"ID"`
	Kind  string `help:"Only of this kind: flip, ending, undecidable, recovered or verdict." placeholder:"KIND"`
	Image string `help:"Only of images of this name, without tag and digest." placeholder:"NAME"`
}

func (f eventFlags) filter() client.EventFilter {
	return client.EventFilter{Since: f.Since, Kind: f.Kind, Image: f.Image}
}

type eventsListCmd struct {
	remoteFlags
	eventFlags
	Limit int `help:"Show this many at most; 0 shows all." default:"50" placeholder:"N"`
	outFlags
}

// Run lists the events.
func (c eventsListCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		f := c.filter()
		f.Limit = min(c.Limit, 500)
		list, err := first(c.Limit, api.AllEvents(ctx, f))
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, list)
		case len(list) == 0:
			fmt.Fprintln(std.err, "signet: there are no such events")
			return nil
		}
		rows := make([][]string, 0, len(list))
		for _, e := range list {
			rows = append(rows, []string{e.ID, timeOr(&e.At, ""), e.Kind, eventText(e), becauseOf(e), strings.Join(e.ReliedOnBy.Principals, ", ")})
		}
		return printTable(std.out, []string{"ID", "AT", "KIND", "WHAT", "BECAUSE OF", "RELIED ON BY"}, rows)
	})
}

// eventText says in a few words what happened.
func eventText(e client.Event) string {
	switch {
	case e.Ending != nil:
		return fmt.Sprintf("%s %s ends at %s; %d images rely on it", e.Ending.Kind, e.Ending.Name, timeOr(&e.Ending.At, ""), e.Ending.Images)
	case e.Environment != "":
		return fmt.Sprintf("%s (%s): %s, was %s", e.Image, e.Environment, e.After, e.Before)
	}
	return fmt.Sprintf("%s: %s, was %s", e.Image, e.After, e.Before)
}

// becauseOf says what caused it: the latest change, or what began or ended.
func becauseOf(e client.Event) string {
	switch c := e.Cause; {
	case c == nil:
		return strings.Join(e.Reasons, ", ")
	case len(c.Changes) > 0:
		return fmt.Sprintf("%s %s by %s", c.Changes[0].Action, c.Changes[0].Object, c.Changes[0].Actor)
	case len(c.Boundaries) > 0:
		return c.Kind + ": " + strings.Join(c.Boundaries, ", ")
	default:
		return c.Kind
	}
}

type eventsFollowCmd struct {
	remoteFlags
	eventFlags
	Count int `help:"End after this many; 0 goes on." placeholder:"N"`
	outFlags
}

// Run shows events until it is interrupted; as JSON, one on each line.
func (c eventsFollowCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		n := 0
		for e, err := range api.FollowEvents(ctx, c.filter()) {
			if err != nil {
				return err
			}
			if c.JSON {
				if err := json.NewEncoder(std.out).Encode(e); err != nil {
					return err
				}
			} else {
				fmt.Fprintln(std.out, printable(fmt.Sprintf("%s  %s  %s  because of %s", timeOr(&e.At, ""), e.Kind, eventText(e), becauseOf(e)), false))
			}
			if n++; n == c.Count {
				return nil
			}
		}
		return nil
	})
}

type webhooksCmd struct {
	Key webhooksKeyCmd `cmd:"" help:"Print the key, in hex, that the requests of a webhook are signed with."`
}

type webhooksKeyCmd struct {
	Name string `arg:"" help:"Name of the webhook, as the configuration has it."`
	remoteFlags
}

// Run prints the key.
func (c webhooksKeyCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		key, err := api.WebhookKey(ctx, c.Name)
		if err != nil {
			return err
		}
		fmt.Fprintln(std.out, key)
		return nil
	})
}
