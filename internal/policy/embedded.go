package policy

import (
	_ "embed" // of the compiled policy
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/version"

	"github.com/signet-policy/signet/internal/policy/compiled"
)

// topics are the files of the embedded policy that some parameters alone give
// something to do, with those parameters. Without every one of them the rules of the
// file say nothing about any image, and nothing else asks for what they define, so
// that a policy that has none of them leaves the file out, and the packages that no
// other file imports. The rest of the policy is always there.
var topics = map[string][]string{
	"signing/lib/requirement/attestations.rego": {"attestations", "contents"},
	"signing/lib/requirement/base_images.rego":  {"contents"},
	"signing/lib/requirement/groups.rego":       {"groups"},
	"signing/lib/requirement/platforms.rego":    {"platforms"},
	"signing/lib/requirement/provenance.rego":   {"slsa"},
	"signing/lib/requirement/vsa.rego":          {"verification_summaries", "platforms"}, // platforms.rego asks which facts met it
}

// maxCompiled bounds how many selections of the embedded policy a process holds
// beside the whole one, each of some megabytes.
const maxCompiled = 8

// selections are the embedded policy as it was compiled, by the files that each
// selection has of [topics], in order.
type selections struct {
	mu sync.Mutex
	by map[string]func() (*ast.Compiler, error)
}

var embedded selections

// compiler is the embedded policy, compiled with what its parameters ask for and no
// more: once for all parameters that ask for the same, which are data.
func (s *selections) compiler(params any) (*ast.Compiler, error) {
	return s.of(topicsOf(params))()
}

func (s *selections) of(wanted []string) func() (*ast.Compiler, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.by[strings.Join(wanted, " ")]
	if !ok && len(wanted) < len(topics) && len(s.by) >= maxCompiled {
		wanted = slices.Sorted(maps.Keys(topics)) // is right for all
		found, ok = s.by[strings.Join(wanted, " ")]
	}
	if !ok {
		found = sync.OnceValues(func() (*ast.Compiler, error) { return compileEmbedded(wanted) })
		if s.by == nil {
			s.by = map[string]func() (*ast.Compiler, error){}
		}
		s.by[strings.Join(wanted, " ")] = found
	}
	return found
}

// topicsOf are the files of [topics] that have something to do, in order: all of
// them where the parameters are none.
func topicsOf(params any) []string {
	given, ok := params.(map[string]any)
	var out []string
	for file, names := range topics {
		if !ok || slices.ContainsFunc(names, func(name string) bool { _, has := given[name]; return has }) {
			out = append(out, file)
		}
	}
	slices.Sort(out)
	return out
}

// embeddedSources are the sources of the embedded policy, and what they may use.
func embeddedSources() (*contents, *ast.Capabilities, error) {
	c, err := embeddedContents()
	if err != nil {
		return nil, nil, err
	}
	caps, err := capabilities()
	return c, caps, err
}

// compileEmbedded compiles the policy's entrypoint, the packages that it imports, what
// those import, and so on; of the files of [topics] those that are wanted.
func compileEmbedded(wanted []string) (*ast.Compiler, error) {
	c, caps, err := embeddedSources()
	if err != nil {
		return nil, err
	}
	compiler := ast.NewCompiler().WithCapabilities(caps).WithSkipStages(dispensable...)
	read := c.parsed(caps)
	if file, err := compiled.Read(precompiled); err != nil {
		return nil, err
	} else if file.OPA == version.Version && file.Digest == c.digest {
		compiler, read = compiler.WithSkipStages(done...), c.precompiled(file)
	}
	modules, err := c.reachable(wanted, read)
	if err != nil {
		return nil, err
	}
	return compileModules(modules, compiler)
}

// readModule gives a module of the policy, and the folders that it imports.
type readModule func(name string) (m *ast.Module, imports []string, err error)

// parsed reads modules out of their source. One after the other: side by side they are
// no sooner done, and cost a twentieth more of CPU for the stacks that grow.
func (c *contents) parsed(caps *ast.Capabilities) readModule {
	return func(name string) (*ast.Module, []string, error) {
		m, err := c.parseModule(name, caps)
		if err != nil {
			return nil, nil, err
		}
		var imports []string
		for _, i := range m.Imports {
			if at, ok := i.Path.Value.(ast.Ref); ok && at[0].Equal(ast.DefaultRootDocument) {
				folder, err := at.Ptr()
				if err != nil {
					return nil, nil, fmt.Errorf("%s: import %s: %w", name, at, err)
				}
				imports = append(imports, folder)
			}
		}
		return m, imports, nil
	}
}

// precompiled reads modules out of a file that was made from the same sources.
func (c *contents) precompiled(file *compiled.File) readModule {
	return func(name string) (*ast.Module, []string, error) {
		at, ok := slices.BinarySearchFunc(file.Modules, name, func(m compiled.Module, name string) int { return strings.Compare(m.Name, name) })
		if !ok {
			return nil, nil, fmt.Errorf("%s: is not among the compiled modules", name)
		}
		m, err := file.Modules[at].Decode(c.modules[name])
		return m, file.Modules[at].Imports, err
	}
}

func (c *contents) reachable(wanted []string, read readModule) (map[string]*ast.Module, error) {
	modules := map[string]*ast.Module{}
	names := slices.Sorted(maps.Keys(c.modules))
	for folders := []string{root}; len(folders) > 0; folders = folders[1:] {
		for _, name := range names {
			_, optional := topics[name]
			if path.Dir(name) != folders[0] || modules[name] != nil || optional && !slices.Contains(wanted, name) {
				continue
			}
			m, imports, err := read(name)
			if err != nil {
				return nil, err
			}
			modules[name], folders = m, append(folders, imports...)
		}
	}
	return modules, nil
}

// precompiled is the embedded policy as the compiler leaves it: decoding it takes a
// fifth of the time of parsing and compiling it, of every command. Where it was made of
// other sources, as in the midst of a change, the sources are compiled.
//
//go:generate go run ./precompile -out embedded.compiled
//go:embed embedded.compiled
var precompiled []byte

// Precompile is what [precompiled] has to be.
func Precompile() ([]byte, error) {
	c, caps, err := embeddedSources()
	if err != nil {
		return nil, err
	}
	file := &compiled.File{OPA: version.Version, Digest: c.digest}
	imports := map[string][]string{}
	read := c.parsed(caps)
	modules, err := c.reachable(slices.Sorted(maps.Keys(topics)), func(name string) (*ast.Module, []string, error) {
		m, folders, err := read(name)
		imports[name] = folders
		return m, folders, err
	})
	if err != nil {
		return nil, err
	}
	compiler, err := compileModules(modules, ast.NewCompiler().WithCapabilities(caps).WithSkipStages(dispensable...))
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(compiler.Modules)) {
		m, err := compiled.Encode(compiler.Modules[name], name, imports[name], c.modules[name])
		if err != nil {
			return nil, err
		}
		file.Modules = append(file.Modules, m)
	}
	return file.Bytes(), nil
}

// done are the stages that rewrite, which a compiled module has behind it: what is left
// is to lay out the rules of all modules and to index them.
var done = []ast.StageID{
	ast.StageResolveRefs,
	ast.StageRewriteRuleHeadRefs,
	ast.StageRemoveImports,
	ast.StageRewriteLocalVars,
	ast.StageRewriteExprTerms,
	ast.StageRewriteComprehensionTerms,
	ast.StageRewriteRefsInHead,
	ast.StageRewriteEquals,
	ast.StageRewriteDynamicTerms,
}

// dispensable are the compiler's stages that find mistakes and change nothing,
// and those that rewrite what the embedded policy does not use or has in order
// already (the safety of a body is the order of its expressions). This project's
// tests put the embedded policy through every one of them (opa check --strict,
// a Load of the same modules as a bundle that must answer alike, and a comparison
// of what comes out); leaving them out here saves half of the compile time of
// every command.
var dispensable = []ast.StageID{
	ast.StageCheckUnusedImports,
	ast.StageCheckKeywordOverrides,
	ast.StageCheckDuplicateImports,
	ast.StageRewriteTemplateStrings,
	ast.StageCheckVoidCalls,
	ast.StageRewritePrintCalls,
	ast.StageParseMetadataBlocks,
	ast.StageSetAnnotationSet,
	ast.StageRewriteRegoMetadataCalls,
	ast.StageRewriteWithValues,
	ast.StageCheckRuleConflicts,
	ast.StageCheckUndefinedFuncs,
	ast.StageSetGraph,
	ast.StageCheckSafetyRuleHeads,
	ast.StageCheckSafetyRuleBodies,
	ast.StageRewriteTestRulesForTracing,
	ast.StageCheckRecursion,
	ast.StageCheckTypes,
	ast.StageCheckUnsafeBuiltins,
	ast.StageCheckDeprecatedBuiltins,
	ast.StageBuildComprehensionIndices,
	ast.StageBuildRequiredCapabilities,
}
