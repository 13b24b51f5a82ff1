package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// BuildOptions say what to build, and from what.
type BuildOptions struct {
	// Bundle is a bundle directory, with its tests.
	Bundle fs.FS
	// Params are the parameters that the checks, tests and golden inputs are tried
	// with, a JSON object. They are no part of the archive.
	Params json.RawMessage
	// Revision is for people; empty means the manifest's, and where it has none, one
	// that is made from the contents.
	Revision string
	// Sequence rises with every release; 0 means the manifest's.
	Sequence int64
	// MinimumCoverage is the share of the author's lines that tests must reach, in
	// percent.
	MinimumCoverage float64
	// Signing, where it is set, signs the archive.
	Signing *Signing
	// Checked and Ran, where they are set, are told what the checks found and how
	// the tests ended, before Build judges it.
	Checked func([]Problem)
	Ran     func(Tested)
}

// Info is what an archive holds.
type Info struct {
	Revision string   `json:"revision"`
	Sequence int64    `json:"sequence"`
	Roots    []string `json:"roots"`
	Monotone bool     `json:"monotone"`
	// Library is the version of Signet's library that the manifest says it has.
	Library string `json:"library,omitempty"`
	// Digest is the policy's, over what is part of it, as [Set.Digest] says.
	Digest string `json:"digest"`
	// ArchiveDigest is "sha256:<hex>" of the archive's bytes, and Size their number.
	ArchiveDigest string `json:"archive_digest"`
	Size          int    `json:"size"`
	// Golden are the names of the inputs whose outcome the bundle promises.
	Golden []string `json:"golden"`
	// Files are all of the archive, in order of their names.
	Files []FileInfo `json:"files"`
	// Signature is what the signature says of itself; nil where there is none.
	// [VerifyArchive] says whether it counts.
	Signature *Claimed `json:"signature,omitempty"`
}

// FileInfo is one file of an archive.
type FileInfo struct {
	Name string `json:"name"`
	// Size is in bytes.
	Size int `json:"size"`
}

// Build makes the archive of a bundle directory that is to be published: it wants
// the checks to find no error and every test to pass, packs what is part of the
// policy (tests, fixtures, parameters and what CI needs are not), adds the golden
// input without evidence where the author wrote none, and wants every golden input
// to have its outcome. The same input gives the same bytes, except for signatures
// of RSA keys and of a KMS. Errors wrap [ErrUnfit], [ErrLoad] or [ErrKey].
//
// Nothing is optimised: with parameters that the bundle does not have, "opa build
// -O" deletes the checks over them.
func Build(ctx context.Context, opts BuildOptions) (archive []byte, info Info, err error) {
	defer func() {
		if p := recover(); p != nil {
			archive, info, err = nil, Info{}, fmt.Errorf("%w: panic: %v", ErrLoad, p)
		}
	}()
	if err := opts.judge(ctx); err != nil {
		return nil, Info{}, err
	}
	files, err := opts.files()
	if err != nil {
		return nil, Info{}, fmt.Errorf("%w: bundle: %w", ErrLoad, err)
	}
	if opts.Signing != nil {
		if files[signaturesName], err = opts.Signing.sign(files); err != nil {
			return nil, Info{}, err
		}
	}
	if archive, err = tarball(files); err != nil {
		return nil, Info{}, fmt.Errorf("%w: bundle: %w", ErrLoad, err)
	}
	// Whoever loads it gets no other outcome.
	packed, err := OpenArchive(archive)
	if err != nil {
		return nil, Info{}, err
	}
	if _, err := Load(ctx, Source{Name: "bundle", Bundle: packed, Params: opts.Params}); err != nil {
		return nil, Info{}, err
	}
	info, err = Inspect(archive)
	return archive, info, err
}

// judge runs the checks and the tests.
func (o BuildOptions) judge(ctx context.Context) error {
	src := Source{Name: "bundle", Bundle: o.Bundle, Params: o.Params}
	problems, err := Check(ctx, src)
	if err != nil {
		return err
	}
	if o.Checked != nil {
		o.Checked(problems)
	}
	var bad []string
	for _, p := range problems {
		if p.Severity == SeverityError {
			at := p.File
			if p.Line > 0 {
				at = fmt.Sprintf("%s:%d", p.File, p.Line)
			}
			bad = append(bad, fmt.Sprintf("%s (%s)", at, p.Code))
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("%w: %d errors: %s", ErrUnfit, len(bad), strings.Join(bad, ", "))
	}
	tested, err := RunTests(ctx, src)
	if err != nil {
		return err
	}
	if o.Ran != nil {
		o.Ran(tested)
	}
	for _, t := range tested.Tests {
		if t.Outcome == Failed || t.Outcome == Errored {
			bad = append(bad, t.Package+"."+t.Name)
		}
	}
	switch {
	case len(bad) > 0:
		return fmt.Errorf("%w: %d of %d tests did not pass: %s", ErrUnfit, len(bad), len(tested.Tests), strings.Join(bad, ", "))
	case tested.Coverage < o.MinimumCoverage:
		return fmt.Errorf("%w: tests reach %.1f %% of the rules; wanted are %.1f %%", ErrUnfit, tested.Coverage, o.MinimumCoverage)
	}
	return nil
}

// files are those of the archive, without the signature.
func (o BuildOptions) files() (map[string][]byte, error) {
	files, err := readFiles(o.Bundle, partOfBundle)
	if err != nil {
		return nil, err
	}
	c, err := parseBundle(files)
	if err != nil {
		return nil, err
	}
	if len(c.golden) == 0 {
		if files[goldenName], err = goldenWithoutEvidence(); err != nil {
			return nil, err
		}
	}
	m := c.manifest
	if o.Sequence != 0 {
		m.signet.Sequence = o.Sequence
	}
	if m.signet.Sequence < 1 {
		return nil, fmt.Errorf("%s: metadata.%s.sequence: is %d; write an integer from 1 that rises with every release, or give one (--sequence N)", manifestName, metadataKey, m.signet.Sequence)
	}
	if o.Revision != "" {
		m.Revision = o.Revision
	}
	if m.Revision == "" {
		if files[manifestName], err = m.encode(); err != nil {
			return nil, err
		}
		m.Revision = strings.TrimPrefix(digestOf(files), "sha256:")[:12]
	}
	files[manifestName], err = m.encode()
	return files, err
}

// goldenWithoutEvidence is signing/golden.json with the one input that every
// bundle must have.
func goldenWithoutEvidence() ([]byte, error) {
	in, err := json.Marshal(noEvidence())
	if err != nil {
		return nil, err
	}
	body, err := json.MarshalIndent(struct {
		Golden []golden `json:"golden"`
	}{[]golden{{Name: "no evidence at all", Input: in, Codes: []string{}}}}, "", "  ")
	return append(body, '\n'), err
}

// Inspect says what an archive holds. It is read and not compiled, and its
// signature, if any, is not verified. Errors wrap [ErrLoad].
func Inspect(archive []byte) (Info, error) {
	info, err := inspect(archive)
	if err != nil {
		return Info{}, fmt.Errorf("%w: bundle: %w", ErrLoad, err)
	}
	return info, nil
}

func inspect(archive []byte) (Info, error) {
	files, err := filesOf(archive)
	if err != nil {
		return Info{}, err
	}
	dir, err := inMemory(files)
	if err != nil {
		return Info{}, err
	}
	c, err := readBundle(dir)
	if err != nil {
		return Info{}, err
	}
	sum := sha256.Sum256(archive)
	info := Info{
		Revision: c.manifest.Revision, Sequence: c.manifest.signet.Sequence, Roots: c.manifest.Roots, Monotone: c.manifest.signet.Monotone,
		Library: c.manifest.signet.Library, Digest: c.digest, ArchiveDigest: "sha256:" + hex.EncodeToString(sum[:]), Size: len(archive),
		Golden: []string{},
	}
	for _, g := range c.golden {
		info.Golden = append(info.Golden, g.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		info.Files = append(info.Files, FileInfo{Name: name, Size: len(files[name])})
	}
	info.Signature, err = claimed(files)
	return info, err
}
