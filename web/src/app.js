// The page's own script. Everything can be read without it; it makes forms answer while one types, and shows a
// verification as it goes on. It also runs inside a page of another program, beside that page's htmx.
import { verify } from "./verify.js";

const root = () => document.querySelector(".signet");
const csrf = () => {
	try { return JSON.parse(root().getAttribute("hx-headers"))["X-Signet-CSRF"]; } catch { return ""; }
};

// Answers to mistakes are pages too: they say what is wrong beside the field.
document.addEventListener("htmx:beforeSwap", (event) => {
	const { target, xhr, detail } = { ...event.detail, detail: event.detail };
	if (!target || !target.closest || !target.closest(".signet") || xhr.status < 400) return;
	if ((xhr.getResponseHeader("Content-Type") || "").startsWith("text/html")) {
		detail.shouldSwap = true;
		detail.isError = false;
	}
});

document.addEventListener("click", async (event) => {
	const copy = event.target.closest(".signet [data-copy]");
	if (copy) {
		await navigator.clipboard.writeText(copy.dataset.copy);
		copy.textContent = "Copied";
		setTimeout(() => { copy.textContent = "Copy"; }, 1500);
	}
});

// A changed select of a form that only filters is a changed list.
document.addEventListener("change", (event) => {
	const form = event.target.closest(".signet form[data-autosubmit]");
	if (form) form.requestSubmit();
	const to = event.target.dataset && event.target.dataset.fill;
	if (to && event.target.closest(".signet") && event.target.value) {
		const field = document.getElementById(to);
		field.value = event.target.value;
		field.dispatchEvent(new Event("input", { bubbles: true }));
		field.focus();
	}
});

document.addEventListener("submit", (event) => {
	const form = event.target.closest(".signet form[data-stream]");
	if (!form) return;
	event.preventDefault();
	event.stopImmediatePropagation();
	verify(form, csrf());
}, true);

function dropping(area) {
	const field = area.querySelector("textarea");
	const over = (on) => (event) => { event.preventDefault(); area.classList.toggle("over", on); };
	area.addEventListener("dragover", over(true));
	area.addEventListener("dragleave", over(false));
	area.addEventListener("drop", async (event) => {
		over(false)(event);
		const file = event.dataTransfer.files[0];
		if (!file) return;
		field.value = await file.text();
		field.dispatchEvent(new Event("input", { bubbles: true }));
	});
}

// Times are in UTC as they are sent; here they become those of the reader, with the UTC time in the title.
function localTimes(within) {
	const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
	for (const t of within.querySelectorAll("time[datetime]")) {
		if (t.dataset.local) continue;
		t.dataset.local = "yes";
		t.title = t.textContent.trim();
		t.textContent = format.format(new Date(t.dateTime));
	}
}

function zones(within) {
	const mine = Intl.DateTimeFormat().resolvedOptions().timeZone;
	for (const select of within.querySelectorAll("select[data-zone]")) {
		if (select.dataset.zone || !mine) continue;
		select.dataset.zone = mine;
		if (![...select.options].some((o) => o.value === mine)) select.add(new Option(mine, mine));
		select.value = mine;
	}
}

// On a narrow screen the bar scrolls: the tab that one is on is in sight.
function showTab(within) {
	const tab = within.querySelector(".tabs a[aria-current]");
	if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - (tab.parentElement.clientWidth - tab.offsetWidth) / 2;
}

// The editor is large, so its script comes only to the page that has one. It mounts itself on what is there.
function editor(place) {
	const mount = () => window.signetEditor(place, csrf());
	if (window.signetEditor) { mount(); return; }
	const script = document.createElement("script");
	script.src = place.dataset.editor;
	script.addEventListener("load", mount);
	document.head.append(script);
}

function setUp(within) {
	if (!within || !within.querySelectorAll) return;
	showTab(within);
	localTimes(within);
	zones(within);
	for (const b of within.querySelectorAll("[data-copy]")) b.hidden = !navigator.clipboard;
	for (const b of within.querySelectorAll("[data-script-only]")) b.hidden = false;
	for (const b of within.querySelectorAll("[data-no-script]")) b.hidden = true;
	for (const place of within.querySelectorAll("[data-editor]:not([data-ready])")) {
		place.dataset.ready = "yes";
		editor(place);
	}
	for (const area of within.querySelectorAll(".drop:not([data-ready])")) {
		area.dataset.ready = "yes";
		dropping(area);
	}
}

document.addEventListener("htmx:load", (event) => { if (event.target.closest && (event.target.closest(".signet") || event.target.querySelector(".signet"))) setUp(event.target); });
// A row that is expanded folds, and unfolds without being asked for again.
function expanded(button, is) {
	button.setAttribute("aria-expanded", is);
	button.querySelector("[data-word]").textContent = is ? "Fold" : "Expand";
}
document.addEventListener("htmx:load", (event) => {
	if (event.target.matches?.("tr[data-more]")) expanded(event.target.previousElementSibling.querySelector("[data-fold]"), true);
});
document.addEventListener("htmx:beforeRequest", (event) => {
	const button = event.detail.elt;
	const more = button.matches("[data-fold]") && button.closest("tr").nextElementSibling;
	if (!more || !more.matches("[data-more]")) return;
	event.preventDefault();
	more.hidden = !more.hidden;
	expanded(button, !more.hidden);
});
// A reader with a screen reader is told where they are after the content was changed.
document.addEventListener("htmx:afterSettle", (event) => {
	if (event.detail.boosted && event.target.id === "signet") event.target.querySelector("main")?.focus({ preventScroll: true });
});
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => setUp(root()));
else setUp(root());
