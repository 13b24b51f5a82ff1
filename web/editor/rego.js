// The Rego language, as far as an editor colours and indents it.
import { HighlightStyle, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { tags } from "@lezer/highlight";

const keywords = new Set(["package", "import", "as", "default", "if", "else", "contains", "every", "some", "in", "not", "with"]);
const atoms = new Set(["true", "false", "null"]);
const roots = new Set(["input", "data"]);

// One token at a time; state.raw says that a raw string goes on over lines, state.depth how many brackets are open.
const parser = {
	name: "rego",
	startState: () => ({ raw: false, depth: 0 }),
	copyState: (s) => ({ ...s }),
	token(stream, state) {
		if (state.raw) {
			state.raw = !stream.skipTo("`");
			if (state.raw) stream.skipToEnd(); else stream.next();
			return "string";
		}
		if (stream.eatSpace()) return null;
		const ch = stream.next();
		if (ch === "#") { stream.skipToEnd(); return "comment"; }
		if (ch === "`") { state.raw = true; return "string"; }
		if (ch === '"') {
			for (let c; (c = stream.next()) && c !== '"';) if (c === "\\") stream.next();
			return "string";
		}
		if (/[0-9]/.test(ch)) { stream.match(/^[0-9]*(\.[0-9]+)?([eE][+-]?[0-9]+)?/); return "number"; }
		if (/[A-Za-z_]/.test(ch)) {
			stream.match(/^[A-Za-z0-9_]*/);
			const word = stream.current();
			if (keywords.has(word)) return "keyword";
			if (atoms.has(word)) return "atom";
			if (roots.has(word)) return "variableName.special";
			if (stream.match(/^\s*\(/, false)) return "variableName.function";
			return stream.column() === 0 ? "variableName.definition" : "variableName";
		}
		if ("{[(".includes(ch)) { state.depth++; return "bracket"; }
		if ("}])".includes(ch)) { state.depth = Math.max(0, state.depth - 1); return "bracket"; }
		return /[:=!<>+\-*/%&|]/.test(ch) ? "operator" : "punctuation";
	},
	indent: (state, after, cx) => Math.max(0, state.depth - (/^\s*[}\])]/.test(after) ? 1 : 0)) * cx.unit,
	languageData: { commentTokens: { line: "#" }, closeBrackets: { brackets: ["(", "[", "{", '"', "`"] }, indentOnInput: /^\s*[}\])]$/ },
	tokenTable: {
		"variableName.special": tags.special(tags.variableName), "variableName.function": tags.function(tags.variableName),
		"variableName.definition": tags.definition(tags.variableName),
	},
};

export const rego = StreamLanguage.define(parser);

// The colours are those of the page, which follow the theme of the system.
export const colours = syntaxHighlighting(HighlightStyle.define([
	{ tag: tags.comment, color: "var(--soft)", fontStyle: "italic" },
	{ tag: tags.keyword, color: "var(--accent)", fontWeight: "600" },
	{ tag: [tags.string, tags.special(tags.string)], color: "var(--good)" },
	{ tag: [tags.number, tags.atom, tags.bool, tags.null], color: "var(--warn)" },
	{ tag: tags.special(tags.variableName), color: "var(--bad)" },
	{ tag: tags.function(tags.variableName), color: "var(--accent-strong)" },
	{ tag: tags.definition(tags.variableName), fontWeight: "600" },
	{ tag: [tags.operator, tags.punctuation, tags.bracket], color: "var(--soft)" },
]));
