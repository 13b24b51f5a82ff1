import { on } from "./listen.js";

// What is written into a form with data-guard is not lost by a click on something else: the browser asks, and so do we where
// htmx follows a link. data-guard="unsaved" is a form that comes back with what could not be saved. Fields with data-loose
// are not worth asking.
const written = (form) => {
	const loose = new Set([...form.querySelectorAll("[data-loose]")].map((e) => e.name));
	return JSON.stringify([...new FormData(form)].filter(([name]) => !loose.has(name)));
};

const saved = new WeakMap(); // by form: what was written in it when it came
const changed = (form) => saved.has(form) && (form.dataset.guard === "unsaved" || saved.get(form) !== written(form));
const unsaved = () => [...document.querySelectorAll(".signet form[data-guard]")].find(changed);

export function guard(within) {
	for (const form of within.querySelectorAll("form[data-guard]")) if (!saved.has(form)) saved.set(form, written(form));
}

// What is sent to another window, such as a download, is not htmx's: this page stays as it is.
on("submit", (event) => {
	if (event.submitter?.formTarget === "_blank" && event.target.closest(".signet")) event.stopPropagation();
}, true);

let leaving = false; // by a form that the browser itself sends, where htmx is missing
on("submit", (event) => { leaving = !event.defaultPrevented && event.target.matches(".signet form[data-guard]"); }, false, window);
on("beforeunload", (event) => { if (!leaving && unsaved()) event.preventDefault(); }, false, window);
on("htmx:beforeRequest", (event) => {
	const { boosted, elt } = event.detail;
	const form = boosted && unsaved();
	if (form && elt !== form && !window.confirm("What you wrote is not saved. Leave it?")) event.preventDefault();
});
// The server is told whether there is something to lose, where the form that it answers with is another one.
on("htmx:configRequest", (event) => {
	const { elt, parameters } = event.detail;
	if (elt.matches(".signet form[data-guard]") && changed(elt)) parameters.unsaved = "yes";
});
