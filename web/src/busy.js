const say = (text) => document.getElementById("signet-busy")?.replaceChildren(text);

// busy says beside a button that what it asks for takes a while, to those who hear the page too, until what it gives is
// called. The button keeps the focus, so it is not disabled: a click on it does nothing meanwhile.
export function busy(button) {
	const word = document.createElement("span");
	word.className = "busy";
	word.setAttribute("aria-hidden", "true");
	word.textContent = "One moment …";
	button.setAttribute("aria-busy", "true");
	(button.closest(".row") || button.parentElement).append(word);
	const late = setTimeout(say, 300, word.textContent); // as the word is shown: nobody is told of what is done at once
	return () => {
		clearTimeout(late);
		say("");
		button.removeAttribute("aria-busy");
		word.remove();
	};
}
