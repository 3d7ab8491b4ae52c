// The review page: drafts that save themselves, highlights, a lease that follows the writing, the next text at once. All of it works without
// this too. A text that is put in place of another gets parts of its own; those of the old one end with its AbortController.
import { ahead, go, remembered, say as notice } from "./ahead.js";
import { autosave } from "./drafts.js";
import { lease } from "./lease.js";
import { marking } from "./marking.js";
import { marks as keep } from "./marks.js";
import { score } from "./score.js";
import { lock, send } from "./sender.js";
import { shortcuts } from "./shortcuts.js";

let page = null; // what ends the parts of the page that is shown
let shownAt = location.pathname;

function open() {
  page = new AbortController();
  const { signal } = page;
  const form = document.getElementById("verdict");
  const text = document.getElementById("text");
  const token = () => form.elements.csrfmiddlewaretoken.value;
  const marks = keep(form.elements.spans, text.textContent);
  score(form.elements.score, document.getElementById("scale"), document.getElementById("own-scores"), signal);
  grow(form, signal);
  const drafts = autosave(form, marks, signal);
  const held = lease(document.getElementById("lease"), token, signal);
  drafts.onsaved = (expires) => held.renewed(expires);
  shortcuts(form, { ...marking(form, text, marks, signal), signal });

  const next = ahead(form.dataset.prefetch, token, signal);
  const parts = { form, drafts, next, token, signal };
  form.addEventListener("submit", (event) => submit(event, form, parts), { signal });
  document.querySelector("#decline form")?.addEventListener("submit", (event) => submit(event, event.target, parts), { signal });
  document.getElementById("release")?.addEventListener("submit", (event) => release(event, drafts), { signal });
  document.querySelector("#verdict [aria-invalid=true], #decline [aria-invalid=true]")?.focus();
}

// A verdict or a decline: sent, and the next text shown; or what is wrong said, and nothing lost.
async function submit(event, sent, { form, drafts, next, token }) {
  event.preventDefault();
  if (document.body.dataset.sending) return;
  const unsent = document.getElementById("unsent");
  unsent.hidden = true;
  lock(true);
  drafts.pause();
  let result = await send(sent, token);
  // Signed in again meanwhile, in another tab: with the new session's token it goes through.
  if (result.signedOut && (await drafts.freshToken().catch(() => false))) result = await send(sent, token);
  if (result.kind === "done") {
    const { next: address, expires, message, level } = result.answer;
    drafts.done();
    const ready = next.page();
    const leave = () => page.abort();
    const shown = await go(address ?? "/review/", { ready, token: token(), expires, notice: { message, level }, leave });
    if (!shown) return; // the browser loads a page, or there is nothing more to review: everything here stays off
    arrived();
    return;
  }
  lock(false);
  if (result.kind === "errors") {
    showErrors(result.html, form, drafts);
    return;
  }
  drafts.resume();
  unsent.querySelector("span").textContent = result.words;
  unsent.querySelector("a").hidden = !result.signedOut;
  unsent.hidden = false;
  unsent.scrollIntoView({ block: "nearest" });
}

function arrived() {
  shownAt = location.pathname;
  lock(false);
  open();
  window.htmx?.trigger(document.getElementById("review"), "refresh");
}

// The server's errors beside the fields. What stands in the fields stays, also what was typed meanwhile.
function showErrors(html, form, drafts) {
  const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("#review .verdict");
  if (!fresh) {
    location.reload();
    return;
  }
  const [words, key, csrf] = [drafts.values(), form.elements.key.value, form.elements.csrfmiddlewaretoken.value];
  page.abort();
  document.querySelector("#review .verdict").replaceWith(fresh);
  const now = document.getElementById("verdict");
  now.setAttribute("data-bound", "");
  now.dataset.version = drafts.version();
  for (const [name, value] of Object.entries(words)) now.elements[name].value = value;
  now.elements.key.value = key;
  for (const field of document.querySelectorAll("[name=csrfmiddlewaretoken]")) field.value = csrf;
  open();
}

// Given back with its last words.
async function release(event, drafts) {
  event.preventDefault();
  if (document.body.dataset.sending) return;
  await drafts.save();
  lock(true);
  drafts.pause();
  event.target.submit();
}

// Text areas grow with the text where the browser does not do it by itself.
function grow(form, signal) {
  if (CSS.supports("field-sizing", "content")) return;
  for (const area of form.querySelectorAll("textarea")) {
    const fit = () => {
      area.style.height = "auto";
      area.style.height = `${area.scrollHeight + 2}px`;
    };
    area.addEventListener("input", fit, { signal });
    fit();
  }
}

document.documentElement.classList.add("js");
// Coming back with the browser's back button shows the page as it was left, locks included.
window.addEventListener("pageshow", (event) => event.persisted && location.reload());
// Back from a text that was put in place: the address is that of another, the page is not.
window.addEventListener("popstate", () => location.pathname !== shownAt && location.reload());
open();
const left = remembered();
if (left) notice(left);
