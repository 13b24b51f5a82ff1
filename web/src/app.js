// The page's own script. Everything can be read without it; it makes forms answer while one types, and shows a
// verification as it goes on. It also runs inside a page of another program, beside that page's htmx.
import { busy } from "./busy.js";
import { guard } from "./guard.js";
import "./keep.js";
import { on } from "./listen.js";
import { note, verify } from "./verify.js";

const root = () => document.querySelector(".signet");
const csrf = () => {
	try { return JSON.parse(root().getAttribute("hx-headers"))["X-Signet-CSRF"]; } catch { return ""; }
};

// What a form was told stands above it, and the form stays.
const notice = () => document.getElementById("signet-notice");
// What one does by a click is told of anew each time, and what goes on while one types only once, until it is something else.
const asked = (config) => ["click", "submit"].includes(config.triggeringEvent?.type);
const news = (config, text) => {
	const said = notice()?.firstElementChild;
	return asked(config) || !said || "passing" in said.dataset && said.textContent.trim() !== text.trim();
};
const writes = (config) => config.verb !== "get";

// Answers to mistakes are pages too: they say what is wrong beside the field. What is not ours, like what a proxy says
// when it cannot reach the server, would leave nothing of the page.
on("htmx:beforeSwap", (event) => {
	const { detail } = event, { target, xhr, requestConfig } = detail;
	if (!target?.closest?.(".signet")) return;
	if (!xhr.getResponseHeader("X-Signet-Page")) {
		detail.shouldSwap = false;
		unanswered(requestConfig, `What stands before the server answered in its place, with ${xhr.status}.`);
		return;
	}
	if (xhr.status >= 400) {
		detail.shouldSwap = target !== notice() || news(requestConfig, new DOMParser().parseFromString(xhr.responseText, "text/html").body.textContent);
		detail.isError = false;
	} else if (notice()?.querySelector("[data-passing]")) {
		notice().replaceChildren();
	}
});

// What a page waits for since it was loaded says in its own place that it has not come, and is asked for again there.
function unanswered(config, why) {
	if (config.elt.matches("[hx-trigger=load]")) {
		const card = document.createElement("section"), row = document.createElement("div"), again = document.createElement("button");
		card.className = "card";
		row.className = "row";
		again.className = "button plain small";
		again.type = "button";
		again.textContent = "Try again";
		again.setAttribute("hx-get", config.elt.getAttribute("hx-get"));
		row.append(again);
		card.append(...config.elt.querySelectorAll("h2"), note(why), row);
		config.elt.replaceChildren(card);
		window.htmx.process(again);
		return;
	}
	const text = why + (writes(config) ? " Whether this was done is not known. What you wrote is still here: send it again in a moment." : " Try again in a moment.");
	if (news(config, text)) notice()?.replaceChildren(note(text));
}
for (const name of ["htmx:sendError", "htmx:timeout"]) {
	on(name, (event) => {
		if (event.target.closest?.(".signet")) unanswered(event.detail.requestConfig, "The server could not be reached.");
	});
}

const asking = (button) => button.hasAttribute("aria-busy") || button.closest("form.htmx-request");
const done = new WeakMap(); // by request
on("htmx:beforeSend", (event) => {
	const { elt, xhr, requestConfig } = event.detail;
	if (!elt.closest(".signet") || !asked(requestConfig)) return;
	notice()?.replaceChildren();
	const button = elt.matches("button") ? elt : requestConfig.triggeringEvent.submitter;
	if (button) done.set(xhr, busy(button));
});
on("htmx:afterRequest", (event) => done.get(event.detail.xhr)?.());
// A form that the browser sends itself leaves the page, but for a download. Who stays, or stops it, may ask again: some
// browsers tell of that, and there is an end of waiting in the others.
const waits = 10_000; // ms, longer than an answer takes
on("submit", (event) => {
	const button = event.submitter;
	if (!button?.closest(".signet") || event.defaultPrevented || button.formTarget) return;
	const idle = busy(button);
	window.addEventListener("pageshow", idle, { once: true }); // somebody came back
	window.navigation?.addEventListener("navigate", (leaving) => leaving.signal.addEventListener("abort", idle), { once: true });
	setTimeout(idle, waits);
});
on("click", (event) => {
	const button = event.target.closest?.(".signet button");
	if (!button || !asking(button)) return;
	event.preventDefault();
	event.stopImmediatePropagation();
}, true);

on("click", async (event) => {
	const copy = event.target.closest(".signet [data-copy]");
	if (copy) {
		await navigator.clipboard.writeText(copy.dataset.copy);
		copy.textContent = "Copied";
		setTimeout(() => { copy.textContent = "Copy"; }, 1500);
	}
});

// A changed select of a form that only filters is a changed list. What is typed waits for Enter or the button: who goes on
// to the next field would lose what they write there, and parts of a time tell of their change one by one.
on("change", (event) => {
	if (event.target.matches?.(".signet form[data-autosubmit] select")) event.target.form.requestSubmit();
	const to = event.target.dataset && event.target.dataset.fill;
	if (to && event.target.closest(".signet") && event.target.value) {
		const field = document.getElementById(to);
		field.value = event.target.value;
		field.dispatchEvent(new Event("input", { bubbles: true }));
		field.focus();
	}
});

on("submit", (event) => {
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

// A time that nobody has touched stays the moment that it is when the zone changes, and is shown by the clock there. What
// was typed is left as it is: the zone is chosen for it.
const clock = (moment, zone) => new Date(moment).toLocaleString("sv-SE", { timeZone: zone }).replace(" ", "T");
on("change", (event) => {
	const zone = event.target.closest(".signet select[name=zone]");
	const shownIn = zone?.form?.elements.shown_in;
	if (!shownIn) return;
	for (const was of zone.form.querySelectorAll("input[name^=was_]")) {
		const field = zone.form.elements[was.name.slice("was_".length)];
		const shown = clock(was.value, shownIn.value || "UTC");
		if (field.value === shown || field.value + ":00" === shown) field.value = clock(was.value, zone.value);
	}
	shownIn.value = zone.value;
});

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

// What was done is said once: who loads the page again, or sends its address to others, is told nothing of it.
function said() {
	const here = new URL(window.location.href);
	if (!here.searchParams.has("done") || root()?.matches(".signet-embedded")) return; // the address is another page's
	here.searchParams.delete("done");
	window.history.replaceState(window.history.state, "", here);
}

function setUp(within) {
	if (!within || !within.querySelectorAll) return;
	said();
	showTab(within);
	localTimes(within);
	zones(within);
	guard(within);
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

on("htmx:load", (event) => { if (event.target.closest && (event.target.closest(".signet") || event.target.querySelector(".signet"))) setUp(event.target); });
// A row that is expanded folds, and unfolds without being asked for again.
function expanded(button, is) {
	button.setAttribute("aria-expanded", is);
	button.querySelector("[data-word]").textContent = is ? "Fold" : "Expand";
}
on("htmx:load", (event) => {
	if (event.target.matches?.("tr[data-more]")) expanded(event.target.previousElementSibling.querySelector("[data-fold]"), true);
});
on("htmx:beforeRequest", (event) => {
	const button = event.detail.elt;
	const more = button.matches("[data-fold]") && button.closest("tr").nextElementSibling;
	if (!more || !more.matches("[data-more]")) return;
	event.preventDefault();
	more.hidden = !more.hidden;
	expanded(button, !more.hidden);
});
// An answer that nobody waits for any more is not waited for: what is asked goes on while its browser does, and a preview
// keeps others from theirs.
const underWay = new WeakMap(); // by element
on("htmx:beforeSend", (event) => { if (event.detail.elt.closest(".signet")) underWay.set(event.detail.elt, event.detail.xhr); });
function leave(elt) {
	const xhr = underWay.get(elt);
	if (xhr && xhr.readyState !== XMLHttpRequest.DONE) xhr.abort();
}
on("htmx:beforeCleanupElement", (event) => leave(event.target));
// What was found out about a field's value says nothing of another value, nor does what is being found out.
on("input", (event) => {
	const stale = event.target.closest?.(".signet [data-clears]")?.dataset.clears;
	if (!stale) return;
	document.getElementById(stale)?.replaceChildren();
	for (const elt of root().querySelectorAll(`[hx-target="#${stale}"]`)) leave(elt);
});
// A reader with a screen reader is told where they are after the content was changed, unless they are in a field already.
on("htmx:afterSettle", (event) => {
	const lost = !document.activeElement || document.activeElement === document.body;
	if (lost && event.detail.boosted && event.target.id === "signet") event.target.querySelector("main")?.focus({ preventScroll: true });
});
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => setUp(root()));
else setUp(root());
