// Another page may load our fragment, and this script with it, more than once: the first one listens for all.
const first = !window.signetListens;
window.signetListens = true;

export const on = (name, listener, capture = false, target = document) => { if (first) target.addEventListener(name, listener, capture); };
