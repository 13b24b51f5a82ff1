package glob

import (
	"errors"
	"fmt"
	"strings"
)

// check says what is wrong with a pattern, and what would be right.
func check(pattern string) error {
	switch {
	case pattern == "":
		return errors.New("is empty; write a name such as ghcr.io/org/app, or ghcr.io/org/** for all below")
	case len(pattern) > maxBytes:
		return fmt.Errorf("is longer than %d bytes", maxBytes)
	case pattern == deep:
		return nil
	case strings.Contains(pattern, "://"):
		return errors.New("has a scheme; names have none: write host/path")
	case strings.Contains(pattern, "@"):
		return errors.New("has a digest; patterns speak of names, without tag or digest")
	}
	if i := strings.IndexFunc(pattern, func(r rune) bool { return r <= ' ' || r >= 0x7f }); i >= 0 {
		return fmt.Errorf("has a character that image names cannot have, at byte %d", i+1)
	}
	segments := strings.Split(pattern, "/")
	if len(segments) == 1 {
		return errors.New("has no path; names are host[:port]/path: write " + suggestHost(pattern))
	}
	if err := checkHost(segments[0], segments[1:]); err != nil {
		return err
	}
	for i, s := range segments[1:] {
		if err := checkSegment(s, i == len(segments)-2); err != nil {
			return err
		}
	}
	return checkHub(normalHost(segments[0]), segments[1:])
}

func checkHost(host string, path []string) error {
	switch {
	case host == "":
		return errors.New("begins with a slash; write the registry's host first")
	case host == deep:
		return nil
	case strings.Contains(host, deep):
		return errors.New("has ** beside other characters; ** stands alone between slashes")
	case strings.ContainsAny(host, "?{}!\\"):
		return errors.New("has a wildcard that is not supported; only * and ** are")
	case host == "localhost" || strings.ContainsAny(host, ".:*"):
		return nil
	case len(path) == 1:
		return fmt.Errorf("has no registry host; write %s/%s/%s", hub, host, path[0])
	default:
		return fmt.Errorf("has no registry host; write it first, for example ghcr.io/%s/%s", host, strings.Join(path, "/"))
	}
}

func checkSegment(s string, last bool) error {
	switch {
	case s == "":
		return errors.New("has an empty segment: two slashes, or one at the end")
	case s == "." || s == "..":
		return errors.New("has a . or .. segment, which no image name has")
	case s == deep:
		return nil
	case strings.Contains(s, deep):
		return errors.New("has ** beside other characters; ** stands alone between slashes")
	case last && strings.Contains(s, ":"):
		return errors.New("has a tag; patterns speak of names, without tag or digest")
	case strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-*") == "":
		return nil
	case s != strings.ToLower(s):
		return errors.New("has upper-case letters in its path, which no image name has")
	default:
		return errors.New("has a character that image names cannot have; only * and ** are wildcards")
	}
}

// checkHub refuses one-part paths on Docker Hub, where every name has two.
func checkHub(host string, path []string) error {
	if host != hub || len(path) != 1 || path[0] == deep {
		return nil
	}
	if strings.Contains(path[0], "*") {
		return fmt.Errorf("matches nothing, because names on %s have two parts; write %s/library/%s, or %s/** for all", hub, hub, path[0], hub)
	}
	return fmt.Errorf("matches nothing, because names on %s have two parts; write %s/library/%s", hub, hub, path[0])
}

func suggestHost(pattern string) string {
	if strings.ContainsAny(pattern, ".:") || pattern == "localhost" {
		return pattern + "/**"
	}
	if strings.Trim(pattern, "*") == "" {
		return deep + " for every image"
	}
	return hub + "/library/" + pattern
}
