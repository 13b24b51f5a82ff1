// What is offered while one types: the fields of the input by its schema, the parameters, the library and the builtins that a
// policy may call.
import { snippetCompletion } from "@codemirror/autocomplete";
import input from "../../rego/schemas/input.json";
import capabilities from "../../rego/capabilities.json";
import library from "./library.json";

// resolve follows references within the schema, and takes the part that is not null of a choice.
function resolve(schema) {
	for (let i = 0; schema && i < 10; i++) {
		if (schema.$ref) schema = schema.$ref.slice(2).split("/").reduce((at, key) => at?.[key], input);
		else if (schema.anyOf || schema.oneOf) schema = (schema.anyOf || schema.oneOf).find((s) => s.type !== "null");
		else if (schema.allOf?.length === 1 && !schema.properties) schema = schema.allOf[0];
		else return schema;
	}
	return schema;
}

function kind(schema) {
	const s = resolve(schema) || {};
	return Array.isArray(s.type) ? s.type.filter((t) => t !== "null").join(", ") : s.type || "";
}

// fields of input.<path>: an index, such as [i] or [_], is one more step into a list.
function fields(path) {
	let at = resolve(input);
	for (const step of path) {
		at = resolve(at);
		if (!at) return [];
		if (step === "[]") at = at.items || at.additionalProperties;
		else at = at.properties?.[step] || (typeof at.additionalProperties === "object" ? at.additionalProperties : undefined);
	}
	at = resolve(at);
	return Object.entries(at?.properties || {}).map(([label, s]) => ({ label, type: "property", detail: kind(s), info: resolve(s)?.description || s.description }));
}

const builtins = capabilities.builtins.filter((b) => /^[a-z][a-z0-9_.]*$/.test(b.name) && !b.infix && !b.name.startsWith("internal.")).map((b) => ({
	label: b.name, type: "function", detail: "(" + (b.decl.args || []).map((a) => a.name || a.type).join(", ") + ")", apply: b.name + "(", boost: -1,
}));
const words = ["package", "import", "default", "if", "else", "contains", "every", "some", "in", "not", "with", "as", "true", "false", "null"].map((label) => ({ label, type: "keyword" }));
const frames = [
	snippetCompletion("violation contains {\n\t\"code\": \"${code}\",\n\t\"message\": sprintf(\"Image %s ${says what is wrong}.\", [lib.image]),\n\t\"remediation\": \"${What would mend it}.\",\n} if {\n\t${condition}\n}", { label: "violation", detail: "a rule", type: "text" }),
];

// lib gives what the library has below a package, and the packages below that.
function lib(prefix) {
	const seen = new Map();
	for (const whole of library) {
		if (!whole.startsWith(prefix + ".")) continue;
		const rest = whole.slice(prefix.length + 1);
		const name = rest.match(/^[a-z0-9_]+/)?.[0];
		if (!name || seen.has(name)) continue;
		const call = rest.slice(name.length);
		seen.set(name, { label: name, type: call.startsWith(".") ? "namespace" : call ? "function" : "variable", detail: call.startsWith("(") ? call : "" });
	}
	return [...seen.values()];
}

// variables that stand for an element of a list of the input: "some s in input.signatures".
function elements(text) {
	const found = new Map();
	for (const m of text.matchAll(/\b(?:some|every)\s+(?:[a-z_]\w*\s*,\s*)?([a-z_]\w*)\s+in\s+input((?:\.\w+|\[[^\]]*\])+)/gi)) found.set(m[1], [...steps(m[2]), "[]"]);
	return found;
}

const steps = (text) => [...text.matchAll(/\.(\w+)|\[("([^"]*)"|[^\]]*)\]/g)].map((m) => m[1] || m[3] || "[]");

export function completion(params) {
	return (context) => {
		const before = context.matchBefore(/[A-Za-z_][\w]*(?:\.\w*|\[[^\]\n]*\])*$/);
		const line = context.state.doc.lineAt(context.pos);
		const text = line.text.slice(0, context.pos - line.from);
		if (/#/.test(text.replace(/"(?:[^"\\]|\\.)*"|`[^`]*`/g, "")) || (text.match(/(?<!\\)"/g) || []).length % 2) return null; // a comment, or a string
		if (!before) return context.explicit ? { from: context.pos, options: [...frames, ...words, ...builtins] } : null;
		const dot = before.text.lastIndexOf(".");
		const from = before.from + dot + 1;
		const path = before.text.slice(0, Math.max(0, dot));
		const answer = (options) => (options.length ? { from, options, validFor: /^\w*$/ } : null);
		if (dot < 0) {
			if (!context.explicit && before.text.length < 2) return null;
			const own = [...new Set([...context.state.doc.toString().matchAll(/^(?:default\s+)?([a-z_]\w*)/gim)].map((m) => m[1]))].filter((w) => !words.some((k) => k.label === w));
			return { from: before.from, validFor: /^\w*$/, options: [...frames, ...words, ...["input", "data", "lib"].map((label) => ({ label, type: "namespace", boost: 1 })), ...own.map((label) => ({ label, type: "variable" })), ...builtins] };
		}
		const [root] = path.match(/^\w+/);
		const rest = path.slice(root.length);
		if (root === "input") return answer(fields(steps(rest)));
		if (path === "data") return answer([{ label: "params", type: "namespace" }, { label: "signing", type: "namespace" }]);
		if (path === "data.params") return answer(params.map((label) => ({ label, type: "property" })));
		if (path === "data.signing") return answer([{ label: "lib", type: "namespace" }, { label: "rules", type: "namespace" }]);
		if (path.startsWith("data.signing.lib")) return answer(lib(path.slice("data.".length)));
		for (const m of context.state.doc.toString().matchAll(/^import\s+data\.(signing\.lib[\w.]*)(?:\s+as\s+(\w+))?/gm)) {
			if ((m[2] || m[1].split(".").pop()) === root) return answer(lib(m[1] + rest));
		}
		const element = elements(context.state.doc.toString()).get(root);
		if (element) return answer(fields([...element, ...steps(rest)]));
		return answer(builtins.filter((b) => b.label.startsWith(path + ".")).map((b) => ({ ...b, label: b.label.slice(path.length + 1), apply: b.label.slice(path.length + 1) + "(" })));
	};
}
