import { busy } from "./busy.js";

// verify asks for a verdict and shows the stages as the server tells of them (server-sent events, read from a POST:
// asking changes what is recorded, so that it is no GET).
export async function verify(form, csrf) {
	const out = document.getElementById(form.dataset.stream);
	const body = new URLSearchParams(new FormData(form));
	const idle = busy(form.querySelector("button[type=submit]"));
	out.setAttribute("aria-busy", "true");
	try {
		const response = await fetch(form.action + "/stream", {
			method: "POST", body, credentials: "same-origin",
			headers: { "X-Signet-CSRF": csrf, "HX-Request": "true", Accept: "text/event-stream, text/html" },
		});
		if (!(response.headers.get("Content-Type") || "").startsWith("text/event-stream")) {
			if (!response.headers.get("X-Signet-Page")) throw new Error("what stands before the server answered in its place, with " + response.status);
			show(out, await response.text());
			return;
		}
		const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
		let rest = "", ended = false;
		for (;;) {
			const { value, done } = await reader.read();
			if (done) break;
			rest += value;
			let end;
			while ((end = rest.indexOf("\n\n")) >= 0) {
				ended = take(out, rest.slice(0, end)) || ended;
				rest = rest.slice(end + 2);
			}
		}
		if (!ended) throw new Error("the connection ended before the verdict");
	} catch (error) {
		out.replaceChildren(note("No verdict came: " + error.message + ". Ask again."));
	} finally {
		idle();
		out.removeAttribute("aria-busy");
	}
}

// take reads one event; true for the last one.
function take(out, text) {
	let name = "message";
	const data = [];
	for (const line of text.split("\n")) {
		if (line.startsWith("event:")) name = line.slice(6).trim();
		if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
	}
	if (name === "stages" || name === "verdict") show(out, data.join("\n"));
	return name === "verdict";
}

// note is a text that is told at once. What it says goes by with the next answer.
export function note(text) {
	const out = document.createElement("div");
	out.className = "note bad";
	out.setAttribute("role", "alert");
	out.dataset.passing = "";
	out.textContent = text;
	return out;
}

// show puts HTML of ours in its place, and has htmx look at it.
function show(out, html) {
	out.innerHTML = html;
	if (window.htmx) window.htmx.process(out);
	out.dispatchEvent(new CustomEvent("htmx:load", { bubbles: true, detail: { elt: out } }));
}
