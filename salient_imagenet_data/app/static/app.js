/* Keys, sliders and views of the page of a pair. Without this file its forms and links work as they are. */
"use strict";

const kept = { view: null, opacity: "100", heat: "0", contour: null, large: false };
try { Object.assign(kept, JSON.parse(sessionStorage.getItem("looks") || "{}")); } catch { /* nothing was kept */ }

const byId = (id) => document.getElementById(id);
const page = () => byId("page");
const drawing = () => (page().dataset.view === "contour" ? "contour" : "heat");

function keep() {
  try { sessionStorage.setItem("looks", JSON.stringify(kept)); } catch { /* stays for this page */ }
}

/* Show the pictures as the person last wanted them. */
function draw() {
  if (!byId("tiles")) return;
  const view = page().dataset.view, kind = drawing(), large = kept.large ? 512 : 256;
  const step = kept[kind] ?? "10";
  byId("threshold").value = step;
  byId("opacity").value = kept.opacity;
  byId("opacity").disabled = view === "side";
  for (const image of document.querySelectorAll("#tiles img")) {
    const isLayer = image.classList.contains("layer");
    const to = image.getAttribute("src").replace(/[a-z]+-\d+-\d+\.jpg$/, isLayer ? `${kind}-${step}-${large}.jpg` : `photo-0-${large}.jpg`);
    if (image.getAttribute("src") !== to) image.setAttribute("src", to);
    if (isLayer) image.style.opacity = view === "side" ? "1" : String(kept.opacity / 100);
  }
  byId("tiles").classList.toggle("large", kept.large);
  byId("zoom").setAttribute("aria-pressed", String(kept.large));
  for (const link of document.querySelectorAll(".views a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  for (const field of document.querySelectorAll("input[name=view]")) field.value = view;
}

function look(view) {
  page().dataset.view = kept.view = view;
  keep();
  draw();
}

/* After a page came, whole or swapped in: what needs this script appears, and the keyboard begins at the heading. */
function settle() {
  for (const part of document.querySelectorAll(".script")) part.hidden = false;
  if (kept.view && byId("tiles")) page().dataset.view = kept.view;
  draw();
  const field = document.querySelector("[autofocus]");
  (field || document.querySelector("[data-focus]"))?.focus({ preventScroll: true });
}

function say(words) {
  const place = byId("said");
  if (!place) return;
  place.textContent = words;
  place.classList.add("wrong");
}

function choose(name, number) {
  const field = document.querySelectorAll(`#answer input[name=${name}]`)[number - 1];
  if (field) field.checked = true;
  return Boolean(field);
}

function save() {
  if (!document.querySelector("#answer input[name=answer]:checked")) {
    say("Choose 1, 2 or 3 first.");
    return;
  }
  byId("answer").requestSubmit(document.querySelector("#answer button.first"));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || byId("keys")?.open) return;
  const at = event.target, typing = at.matches("input:not([type=radio]):not([type=range]), textarea, select");
  if (typing) {
    if (event.key === "Escape") { at.blur(); event.preventDefault(); }
    if (event.key === "Enter" && at.id === "reason") { event.preventDefault(); save(); }
    return;
  }
  if (!byId("answer")) {
    if (event.key === "b" || event.key === "Backspace") document.querySelector("[data-key=b]")?.click();
    return;
  }
  /* By the place of the key, since on some keyboards digits need Shift. */
  const digit = /^(?:Digit|Numpad)([1-5])$/.exec(event.code);
  if (digit) {
    const number = Number(digit[1]);
    if (event.shiftKey ? choose("confidence", number) : number < 4 && choose("answer", number)) event.preventDefault();
    return;
  }
  const onControl = at.matches("button, a[href], summary");
  if (event.key === "Enter" && !onControl) { event.preventDefault(); save(); return; }
  const key = event.key === "Backspace" ? "b" : event.key.toLowerCase();
  const views = [...document.querySelectorAll(".views a")].map((link) => link.dataset.view);
  if (key === "r") byId("reason").focus();
  else if (key === "v") look(views[(views.indexOf(page().dataset.view) + 1) % views.length]);
  else if (key === "z") byId("zoom").click();
  else {
    const target = ["b", "n", "s", "u", "?"].includes(key) && document.querySelector(`[data-key="${key}"]`);
    if (!target) return;
    target.click();
  }
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  const link = event.target.closest(".views a");
  if (link) { event.preventDefault(); look(link.dataset.view); }
  else if (event.target.closest("#zoom")) { kept.large = !kept.large; keep(); draw(); }
  else if (event.target.closest("#help")) byId("keys").showModal();
});

document.addEventListener("input", (event) => {
  if (event.target.id === "opacity") kept.opacity = event.target.value;
  else if (event.target.id === "threshold") kept[drawing()] = event.target.value;
  else return;
  keep();
  draw();
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("#answer");
  if (form && event.submitter?.classList.contains("first") && !form.querySelector("input[name=answer]:checked")) {
    event.preventDefault();
    event.stopImmediatePropagation();
    say("Choose 1, 2 or 3 first.");
  }
}, true);

document.addEventListener("htmx:sendError", () => say("The server does not answer. Your answer is still here: start the server again, then press Enter."));
document.addEventListener("htmx:timeout", () => say("The server does not answer. Your answer is still here: press Enter to try again."));
/* Not afterSwap, which is told to the part that went. htmx has by then given the focus to the new reason field. */
document.addEventListener("htmx:load", (event) => { if (event.detail.elt.id === "page") settle(); });
document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", settle) : settle();
