import { on } from "./listen.js";

// What is typed while an answer is on its way is not in the answer. Where one takes the place of fields (data-keeps), what was
// changed meanwhile is put into the new ones, and sent in its turn: that of the field that one writes in when one leaves it,
// as what comes back is trimmed, and half a word is none.
const fields = (within) => [...within.querySelectorAll("input, select, textarea")].filter((e) => e.name);
const read = (e) => (e.type === "checkbox" ? e.checked : e.value);
const put = (e, value) => { if (e.type === "checkbox") e.checked = value; else e.value = value; };
const same = (e) => (other) => other.tagName === e.tagName && other.name === e.name && (e.tagName !== "BUTTON" || other.value === e.value);
// Parts are told by their first field.
const parts = (within) => [...within.querySelectorAll("details")].map((details) => [fields(details)[0]?.name, details]);

const sent = new WeakMap(); // by request: what the fields were then
const kept = new WeakMap(); // by request: what is to be put into the new ones
const untold = new WeakSet(); // fields with a text that is sent when one leaves them
const tell = (field) => field.dispatchEvent(new Event("change", { bubbles: true }));
on("change", (event) => untold.delete(event.target)); // the browser has told it
on("focusout", (event) => { if (untold.has(event.target)) tell(event.target); });

const ours = (event) => event.detail.target?.matches?.(".signet [data-keeps]");

on("htmx:beforeRequest", (event) => {
	if (ours(event)) sent.set(event.detail.xhr, new Map(fields(event.detail.target).map((e) => [e.name, read(e)])));
});
on("htmx:beforeSwap", (event) => {
	const { target, xhr, requestConfig } = event.detail;
	const then = ours(event) && sent.get(xhr);
	if (!then) return;
	// Where a part of a list is removed, those behind it move up: nothing is put into another part than it was typed into.
	const removed = /^remove:(.*)\[\d+\]$/.exec(requestConfig.elt.value)?.[1];
	const at = document.activeElement;
	// Who goes to another window and comes back writes on, though the browser has told of the field.
	const writing = (e) => untold.has(e) || e === at && e === requestConfig.triggeringEvent?.target && typeof e.selectionStart === "number";
	const changed = (e) => then.has(e.name) && (then.get(e.name) !== read(e) || writing(e));
	kept.set(xhr, {
		changed: fields(target).filter((e) => changed(e) && !(removed && e.name.startsWith(`p.${removed}[`))).map((e) => [e, read(e)]),
		open: parts(target).filter(([, details]) => details.open).map(([name]) => name),
		at: target.contains(at) && at.name ? at : undefined, from: at.selectionStart, to: at.selectionEnd,
	});
});
on("htmx:afterSwap", (event) => {
	const { target, xhr } = event.detail;
	const keep = kept.get(xhr);
	if (!keep || keep.fresh) return;
	for (const [name, details] of parts(target)) if (keep.open.includes(name)) details.open = true;
	keep.fresh = [];
	for (const [old, value] of keep.changed) {
		const field = fields(target).find(same(old));
		if (!field || read(field) === value) continue;
		put(field, value);
		if (old === keep.at && typeof keep.from === "number") untold.add(field);
		else keep.fresh.push(field);
	}
	const at = keep.at && [...target.querySelectorAll("input, select, textarea, button")].find(same(keep.at));
	if (!at) return;
	at.focus({ preventScroll: true });
	if (typeof keep.from === "number" && at.setSelectionRange) at.setSelectionRange(keep.from, keep.to);
});
on("htmx:afterSettle", (event) => {
	const keep = kept.get(event.detail.xhr);
	kept.delete(event.detail.xhr);
	const last = keep?.fresh?.filter((field) => field.isConnected).pop();
	if (last) tell(last);
});
