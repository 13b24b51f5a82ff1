// The editor of a bundle's files, in place of a text field that works without it. It stands in a shadow root, where its style
// sheets are constructed ones: the page's CSP takes no style that is written into the document.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { bracketMatching, indentOnInput, indentUnit } from "@codemirror/language";
import { linter, lintGutter, lintKeymap } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { colours, rego } from "./rego.js";
import { completion } from "./words.js";

// delay is how long after the last key the server is asked, in milliseconds.
const delay = 500;

const look = EditorView.theme({
	"&": { border: "1px solid var(--line-strong)", borderRadius: "8px", background: "var(--sunk)", color: "var(--text)", fontSize: "13px", overflow: "hidden" },
	"&.cm-focused": { outline: "3px solid var(--accent)", outlineOffset: "1px" },
	".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55", minHeight: "380px", maxHeight: "65vh", overflow: "auto" },
	".cm-content": { caretColor: "var(--text)", padding: "8px 0" },
	".cm-cursor": { borderLeftColor: "var(--text)", borderLeftWidth: "2px" },
	"&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { background: "color-mix(in srgb, var(--accent) 28%, transparent)" },
	".cm-gutters": { background: "var(--sunk)", color: "var(--soft)", border: "0", borderRight: "1px solid var(--line)" },
	".cm-activeLine, .cm-activeLineGutter": { background: "color-mix(in srgb, var(--accent) 7%, transparent)" },
	".cm-matchingBracket": { background: "color-mix(in srgb, var(--accent) 22%, transparent)", outline: "1px solid var(--accent)" },
	".cm-selectionMatch": { background: "color-mix(in srgb, var(--warn) 22%, transparent)" },
	".cm-tooltip": { background: "var(--card)", color: "var(--text)", border: "1px solid var(--line-strong)", borderRadius: "8px", boxShadow: "var(--shadow)", overflow: "hidden" },
	".cm-tooltip-autocomplete > ul > li": { padding: "3px 8px", fontFamily: "var(--mono)" },
	".cm-tooltip-autocomplete > ul > li[aria-selected]": { background: "var(--accent)", color: "var(--on-accent)" },
	".cm-completionDetail": { color: "inherit", opacity: "1", marginLeft: "10px" },
	".cm-completionInfo": { maxWidth: "320px", padding: "8px 10px", whiteSpace: "pre-wrap" },
	".cm-diagnostic": { padding: "8px 12px", borderLeftWidth: "4px", maxWidth: "560px", whiteSpace: "pre-wrap" },
	".cm-diagnostic-error": { borderLeftColor: "var(--bad)" }, ".cm-diagnostic-warning": { borderLeftColor: "var(--warn)" },
	// The library draws these with images, which the CSP takes from this server only.
	...Object.fromEntries(["error", "warning", "info", "hint"].flatMap((severity) => {
		const colour = severity === "error" ? "var(--bad)" : "var(--warn)";
		return [
			[`.cm-lintRange-${severity}`, { backgroundImage: "none", textDecoration: `underline wavy ${colour}`, textUnderlineOffset: "3px" }],
			[`.cm-lint-marker-${severity}`, { content: "normal", background: colour, borderRadius: severity === "error" ? "50%" : "2px", width: ".7em", height: ".7em", margin: ".42em .15em 0" }],
		];
	})),
	".cm-lintRange-active": { background: "color-mix(in srgb, var(--bad) 14%, transparent)" },
	".cm-panels": { background: "var(--card)", color: "var(--text)", borderColor: "var(--line)" },
	".cm-panel.cm-search input, .cm-panel.cm-search button": { background: "var(--card)", backgroundImage: "none", color: "var(--text)", border: "1px solid var(--line-strong)", borderRadius: "6px", padding: "3px 8px", font: "inherit" },
	".cm-searchMatch": { background: "color-mix(in srgb, var(--warn) 40%, transparent)" },
	".cm-panel.cm-panel-lint ul [aria-selected]": { background: "var(--accent-soft)" },
});

// problems asks the server about the form as it stands, and tells what is wrong with other files beside the editor.
function problems(place, form, csrf) {
	const others = place.querySelector("[data-others]");
	let last;
	return async (view) => {
		last?.abort();
		last = new AbortController();
		const body = new URLSearchParams(new FormData(form));
		body.set("text", view.state.doc.toString());
		let answer;
		try {
			const response = await fetch(place.dataset.check, { method: "POST", body, signal: last.signal, headers: { "X-Signet-CSRF": csrf, "HX-Request": "true" } });
			if (!response.ok) throw new Error(String(response.status));
			answer = await response.json();
		} catch (error) {
			if (error.name !== "AbortError") others.textContent = "The server could not be asked what is wrong; Check tries it again.";
			return [];
		}
		const mine = answer.problems.filter((p) => p.file === place.dataset.file);
		const rest = answer.problems.filter((p) => p.file !== place.dataset.file);
		const at = (p) => (p.line ? `${p.file}:${p.line}` : p.file || "The bundle");
		others.textContent = answer.trouble || rest.slice(0, 5).map((p) => `${at(p)}: ${p.message}`).join("\n") + (rest.length > 5 ? `\n… and ${rest.length - 5} others; Check shows all.` : "");
		place.dataset.problems = String(mine.length);
		return mine.map((p) => {
			const line = view.state.doc.line(Math.min(Math.max(p.line, 1), view.state.doc.lines));
			const from = line.from + line.text.search(/\S|$/);
			return { from, to: Math.max(from, line.to), severity: p.severity, message: `${p.message}\n${p.instead}`, source: p.code };
		});
	};
}

window.signetEditor = (place, csrf) => {
	const field = place.querySelector("textarea");
	const host = document.createElement("div");
	host.dataset.host = "";
	const root = host.attachShadow({ mode: "open" });
	const inside = document.createElement("div");
	root.append(inside);
	field.before(host);
	field.hidden = true;
	const isRego = place.dataset.file.endsWith(".rego");
	const view = new EditorView({
		root, parent: inside,
		state: EditorState.create({
			doc: field.value,
			extensions: [
				lineNumbers(), highlightActiveLineGutter(), history(), drawSelection(), indentOnInput(), indentUnit.of(isRego ? "\t" : "  "), EditorState.tabSize.of(4),
				bracketMatching(), closeBrackets(), highlightActiveLine(), highlightSelectionMatches(), look, colours, isRego ? rego : [],
				isRego ? autocompletion({ override: [completion(JSON.parse(place.dataset.params))] }) : [],
				lintGutter(), linter(problems(place, field.form, csrf), { delay }),
				keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...completionKeymap, ...lintKeymap, indentWithTab]),
				EditorView.contentAttributes.of({ "aria-label": "Text of " + place.dataset.file, tabindex: "0", spellcheck: "false", autocapitalize: "off" }),
				EditorView.updateListener.of((update) => { if (update.docChanged) field.value = update.state.doc.toString(); }),
			],
		}),
	});
	document.querySelector(`label[for="${field.id}"]`)?.addEventListener("click", () => view.focus());
	host.signetView = view; // for tests and extensions of browsers
};
