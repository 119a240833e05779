/* A threshold that is drawn while it is moved, addresses that follow it, and a filter of the page of all features.
   Without this file every form and link works as it is. */
"use strict";

const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

function filter(text) {
  const wanted = words(text);
  let count = 0;
  for (const part of document.querySelectorAll("[data-words]")) {
    part.hidden = !wanted.every((word) => part.dataset.words.includes(word));
    if (!part.hidden) count += 1;
  }
  document.getElementById("count").textContent = `${count} features`;
}

function cut(form, step) {
  form.querySelector("output").textContent = (step / form.elements.step.max).toFixed(2);
  for (const image of document.querySelectorAll(".live img:not([src*='/photo-'])")) {
    const to = image.getAttribute("src").replace(/-\d+-(\d+)\.jpg$/, `-${step}-$1.jpg`);
    if (image.getAttribute("src") !== to) image.setAttribute("src", to);
  }
}

/* The address of a form's state, without what is empty or as it is anyway. */
function addressOf(form) {
  const given = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value && !(name === "page" && value === "1")) given.append(name, value);
  const path = form.getAttribute("action") || location.pathname;
  return given.size ? `${path}?${given}` : path;
}

document.addEventListener("input", (event) => {
  if (event.target.id === "filter") filter(event.target.value);
  const form = event.target.closest("[data-live]");
  if (form && event.target.name === "step") cut(form, event.target.value);
});

document.addEventListener("change", (event) => {
  const form = event.target.closest("[data-live]");
  if (form) history.replaceState(null, "", addressOf(form));
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id === "found") history.replaceState(null, "", addressOf(document.querySelector("form[hx-target='#found']")));
});

for (const part of document.querySelectorAll(".script")) part.hidden = false;
