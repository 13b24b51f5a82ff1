package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// insteadOf says what a policy writes instead of a builtin that it does not
// have, by the beginning of its name.
var insteadOf = []struct{ prefix, instead string }{
	{"time.now_ns", "Compare with time.parse_rfc3339_ns(input.evaluated_at), the only time there is."},
	{"http.", "Rules cannot ask anybody; read input, or have it as a parameter (data.params)."},
	{"net.", "Rules cannot ask anybody; read input, or have it as a parameter (data.params)."},
	{"opa.runtime", "Rules do not see where they run; have it as a parameter (data.params)."},
	{"rand.", "Rules answer the same to the same question; there is no chance in them."},
	{"uuid.", "Rules answer the same to the same question; there is no chance in them."},
	{"crypto.x509", "Certificates are verified before rules are asked: read input.signatures[_].signer."},
	{"io.jwt", "Signatures are verified before rules are asked: read input.signatures and input.attestations."},
	{"json.", "Describe parameters in schemas/params.json; the input always fits schemas/input.json."},
	{"trace", "Write print(…), which signet policy test shows."},
	{"", "Write it with the builtins of capabilities.json."},
}

// module looks at one module of the author's.
func (l *linter) module(m *ast.Module) {
	l.builtins(m)
	l.remoteSchemas(m)
	if !ownModule(m.Package.Location.File) {
		return
	}
	l.params(m)
	l.comparisons(m)
	if at := packagePath(m) + "/"; at == root+"/" || strings.HasPrefix(at, root+"/lib/") {
		l.bad(m.Package.Location, "library", "Write package signing.rules.NAME.",
			"%s is the library's: what is added to it can allow what the library denies", m.Package)
		return
	}
	rulePackage, inRules := strings.CutPrefix(packagePath(m)+"/", root+"/rules/")
	rulePackage = strings.TrimSuffix(rulePackage, "/")
	if !inRules {
		return
	}
	if rulePackage == "" || strings.Contains(rulePackage, "/") {
		l.bad(m.Package.Location, "not_collected", "Write package signing.rules.NAME, with one name.",
			"nothing reads %s: rules are collected from the packages directly below signing.rules", m.Package)
		return
	}
	collected := false
	for _, r := range m.Rules {
		switch name, _ := r.Head.Ref()[0].Value.(ast.Var); name {
		case "violation", "warning":
			collected = true
			l.finding(m, r, string(name))
		case "requirements":
			collected = true
			l.requirement(r)
		}
	}
	if !collected {
		l.bad(m.Package.Location, "not_collected", `Name its rule violation, which denies, or warning, which informs: violation contains {"code": …} if { … }.`,
			"nothing reads %s: it has neither a violation nor a warning nor requirements", m.Package)
	}
}

// requirement looks at a rule that adds a requirement. Under a name that is no
// constant nothing is there when nothing meets it, so that nothing is required.
func (l *linter) requirement(r *ast.Rule) {
	ref := r.Head.Ref()
	if len(ref) == 1 && r.Head.RuleKind() == ast.SingleValue {
		return // an object, which the entrypoint checks
	}
	if len(ref) == 2 && r.Head.RuleKind() == ast.MultiValue {
		if name, ok := ref[1].Value.(ast.String); ok && name != "" && name != "signature" {
			return
		}
	}
	l.bad(r.Location, "rule_malformed", "requirements.NAME contains fact.id if { … }, with a name that is written out and is not signature",
		"requirements is not a name with a set of ids, so it would require nothing, or nothing when nothing meets it")
}

// finding looks at a rule that speaks to people.
func (l *linter) finding(m *ast.Module, r *ast.Rule, name string) {
	if r.Head.RuleKind() != ast.MultiValue || len(r.Head.Ref()) != 1 {
		l.bad(r.Location, "rule_malformed", name+" contains {\"code\": …, \"message\": …, \"remediation\": …} if { … }",
			"%s is not a set of findings, so what it says cannot be read", name)
		return
	}
	l.metadata(r, name)
	l.missing(r)
	if name == "violation" {
		l.found(m, r)
	}
}

// metadata wants what the documentation and the page show, and a code of its own.
func (l *linter) metadata(r *ast.Rule, name string) {
	const instead = "# METADATA, with title, description, custom.code, custom.severity and custom.remediation, above the rule."
	if len(r.Annotations) == 0 {
		l.bad(r.Location, "metadata", instead, "the %s has no METADATA", name)
		return
	}
	a := r.Annotations[0]
	var lacks []string
	code, _ := a.Custom["code"].(string)
	severity, _ := a.Custom["severity"].(string)
	remediation, _ := a.Custom["remediation"].(string)
	for _, field := range []struct{ name, value string }{
		{"title", a.Title}, {"description", a.Description}, {"custom.code", code}, {"custom.severity", severity}, {"custom.remediation", remediation},
	} {
		if field.value == "" {
			lacks = append(lacks, field.name)
		}
	}
	if len(lacks) > 0 {
		l.bad(r.Location, "metadata", instead, "METADATA of the %s lacks %s", name, strings.Join(lacks, ", "))
		return
	}
	if at, taken := l.codes[code]; taken {
		l.bad(r.Location, "metadata", "Give every finding a code of its own.", "the code %s is taken by the rule at %s", code, at)
	}
	l.codes[code] = fmt.Sprintf("%s:%d", r.Location.File, r.Location.Row)
	if !strings.Contains(r.Head.String(), fmt.Sprintf("%q", code)) {
		l.bad(r.Location, "metadata", fmt.Sprintf("%q: %q in the finding, as in custom.code.", "code", code), "the rule does not say the code %s of its METADATA", code)
	}
}

// builtins names calls that a policy cannot make (threat 47).
func (l *linter) builtins(m *ast.Module) {
	call := func(operator ast.Ref, at *ast.Location) {
		name := operator.String()
		_, exists := ast.BuiltinMap[name]
		if !exists || slices.ContainsFunc(l.caps.Builtins, func(b *ast.Builtin) bool { return b.Name == name }) {
			return
		}
		for _, x := range insteadOf {
			if strings.HasPrefix(name, x.prefix) {
				l.bad(at, "builtin_not_allowed", x.instead, "a policy has no %s", name)
				return
			}
		}
	}
	eachCall(m, func(operator ast.Ref, _ []*ast.Term, at *ast.Location) { call(operator, at) })
}

// eachCall visits every call below x.
func eachCall(x any, visit func(operator ast.Ref, args []*ast.Term, at *ast.Location)) {
	ast.WalkExprs(x, func(e *ast.Expr) bool {
		if e.IsCall() {
			visit(e.Operator(), e.Operands(), e.Location)
		}
		return false
	})
	ast.WalkTerms(x, func(t *ast.Term) bool {
		if c, ok := t.Value.(ast.Call); ok && len(c) > 0 {
			if op, ok := c[0].Value.(ast.Ref); ok {
				visit(op, c[1:], t.Location)
			}
		}
		return false
	})
}

// remoteSchemas names schemas that would be fetched (threat 47).
func (l *linter) remoteSchemas(m *ast.Module) {
	for _, a := range m.Annotations {
		for _, s := range a.Schemas {
			if s.Definition == nil {
				continue
			}
			if err := checkKeywords(*s.Definition); err != nil {
				l.bad(a.Location, "remote_schema", "Write schema.input, or the schema itself without $ref.", "a schema in METADATA %s", err)
			}
		}
	}
}

// params names parameters that may be missing: to read one that is not there is
// undefined, so that the rule says nothing (threat 59).
func (l *linter) params(m *ast.Module) {
	ast.WalkRefs(m, func(r ast.Ref) bool {
		name, ok := parameter(m, r)
		switch {
		case !ok || l.needed[name]:
		case !l.known[name]:
			l.bad(r[0].Location, "parameter_unknown", fmt.Sprintf("Describe %s in schemas/params.json, and add it to its required list.", name),
				"the parameter %s is none that schemas/params.json has, so that this is never there", name)
		default:
			l.bad(r[0].Location, "parameter_optional", fmt.Sprintf("Add %q to the required list in schemas/params.json.", name),
				"the parameter %s may be missing, and then this is undefined and the rule says nothing", name)
		}
		return false
	})
}

// parameter is the name of the parameter that a reference reads, as
// data.params.NAME or lib.params.NAME.
func parameter(m *ast.Module, r ast.Ref) (string, bool) {
	if len(r) < 3 {
		return "", false
	}
	second, _ := r[1].Value.(ast.String)
	name, constant := r[2].Value.(ast.String)
	if second != "params" || !constant {
		return "", false
	}
	head, _ := r[0].Value.(ast.Var)
	if head == ast.DefaultRootDocument.Value.(ast.Var) { //nolint:errcheck // a constant of OPA
		return string(name), true
	}
	for _, i := range m.Imports {
		if i.Name() == head && i.Path.String() == "data.signing.lib" {
			return string(name), true
		}
	}
	return "", false
}

// Fields of the input by what they hold.
var (
	timeFields     = []string{"evaluated_at", "signed_at", "integrated_at", "time"}
	identityFields = []string{"issuer", "subject", "principal", "builder_id"}
	// optionalFields hold what a signer or builder may leave out; each is followed
	// by a name.
	optionalFields = []string{"claims", "annotations", "predicate", "projection", "provenance", "context"}
	evidenceLists  = []string{"signatures", "attestations", "rejections"}
)

// comparisons names those that do not compare what they seem to.
func (l *linter) comparisons(m *ast.Module) {
	eachCall(m, func(operator ast.Ref, args []*ast.Term, at *ast.Location) {
		switch operator.String() {
		case "lt", "lte", "gt", "gte":
			for _, a := range args {
				if field := lastField(a); slices.Contains(timeFields, field) {
					l.bad(at, "time_as_text", fmt.Sprintf("time.parse_rfc3339_ns(….%s), on both sides.", field),
						"%s is text here: 12:00:00.5Z comes before 12:00:00Z", field)
				}
			}
		case "regex.match", "glob.match", "startswith", "endswith", "contains":
			for _, a := range args {
				if field := lastField(a); slices.Contains(identityFields, field) {
					l.add(at, "identity_as_text", SeverityWarning, "Name the signer in the signing policy (trusted_signers), and read trusted_signers of the signature.",
						fmt.Sprintf("%s is compared in part: https://github.com/org is also the beginning of https://github.com/org-evil", field))
				}
			}
		}
	})
}

func lastField(t *ast.Term) string {
	r, ok := t.Value.(ast.Ref)
	if !ok || len(r) < 2 {
		return ""
	}
	s, _ := r[len(r)-1].Value.(ast.String)
	return string(s)
}

// missing names facts in a finding's body or words that may not be there: then
// the whole rule says nothing (threat 59).
func (l *linter) missing(r *ast.Rule) {
	look := func(x any) {
		positive(x, func(ref ast.Ref) {
			if field := optional(ref); field != "" {
				l.bad(ref[0].Location, "fact_missing", "Ask with a helper that is true when all is well, and deny with not: violation contains … if not _passed. For words: object.get(…, \"unknown\").",
					"what is read below %s may be missing, and then the rule says nothing", field)
			}
		})
	}
	if r.Head.Key != nil {
		look(r.Head.Key)
	}
	for _, e := range r.Body {
		if !e.Negated {
			look(e)
		}
	}
}

// optional is the field of a reference below which something may be missing.
func optional(r ast.Ref) string {
	for i, t := range r {
		s, ok := t.Value.(ast.String)
		if ok && i > 0 && i < len(r)-1 && slices.Contains(optionalFields, string(s)) {
			return string(s)
		}
	}
	return ""
}

// positive visits the references of x that must be defined for x to hold: none
// within a comprehension or an every, nor in what is only counted or read with a
// default.
func positive(x any, visit func(ast.Ref)) {
	v := ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension, *ast.Every:
			return true
		case *ast.Expr:
			return x.Negated || x.IsCall() && lenient(x.Operator())
		case ast.Call:
			op, ok := x[0].Value.(ast.Ref)
			return ok && lenient(op)
		case ast.Ref:
			visit(x)
		case ast.Var: // a rule of the module, before the compiler has made a reference of it
			visit(ast.Ref{ast.NewTerm(x)})
		}
		return false
	})
	v.Walk(x)
}

func lenient(operator ast.Ref) bool {
	name := operator.String()
	return name == "count" || name == "object.get"
}

// found names denials of what is there: whoever withholds it is let pass (threat
// 37). With a manifest that promises that more evidence only helps, it is an
// error.
func (l *linter) found(m *ast.Module, r *ast.Rule) {
	severity, also := SeverityWarning, ""
	if l.c.manifest.signet.Monotone {
		severity, also = SeverityError, "; and the manifest says that it is monotone, so that it may allow before everything was looked at"
	}
	for _, e := range r.Body {
		if list := finds(m, e, map[ast.Var]bool{}); list != "" {
			l.add(e.Location, "deny_if_found", severity,
				"Want the opposite to be there: _passed if { some … }, and violation contains … if not _passed.",
				fmt.Sprintf("denies because something is in input.%s, so that a registry which withholds it silences the rule%s", list, also))
			return
		}
	}
}

// finds is the list of evidence in which an expression must find something,
// by itself or through rules of the module; "" when there is none.
func finds(m *ast.Module, x any, seen map[ast.Var]bool) (list string) {
	if e, ok := x.(*ast.Expr); ok && e.Negated {
		return ""
	}
	helper := func(name ast.Var) {
		if list != "" || seen[name] {
			return
		}
		seen[name] = true
		for _, r := range m.Rules {
			if r.Head.Name != name {
				continue
			}
			for _, e := range r.Body {
				if list = finds(m, e, seen); list != "" {
					return
				}
			}
		}
	}
	positive(x, func(r ast.Ref) {
		if list == "" {
			list = evidenceList(r)
		}
		if list == "" && libraryEvidence(m, r) {
			list = "attestations"
		}
		if head, ok := r[0].Value.(ast.Var); ok {
			helper(head)
		}
	})
	return list
}

// evidenceOfLibrary is what the library says of attestations that are there.
var evidenceOfLibrary = []string{
	"attested.about", "attested.counting", "attested.passing", "base.facts", "base.named", "sbom.denied", "sbom.packages", "sbom.unstated",
	"scan.denied", "scan.findings", "vex.documents",
}

// libraryEvidence says whether a reference, as lib.sbom.denied, is to one of those.
func libraryEvidence(m *ast.Module, r ast.Ref) bool {
	if len(r) < 3 {
		return false
	}
	topic, _ := r[1].Value.(ast.String)
	name, _ := r[2].Value.(ast.String)
	head, _ := r[0].Value.(ast.Var)
	return slices.Contains(evidenceOfLibrary, string(topic)+"."+string(name)) &&
		slices.ContainsFunc(m.Imports, func(i *ast.Import) bool { return i.Name() == head && i.Path.String() == "data.signing.lib" })
}

// evidenceList is the list that a reference into the input iterates over.
func evidenceList(r ast.Ref) string {
	if len(r) < 2 || !r[0].Equal(ast.InputRootDocument) {
		return ""
	}
	if s, ok := r[1].Value.(ast.String); ok && slices.Contains(evidenceLists, string(s)) {
		return string(s)
	}
	return ""
}
