// Sends what has been written to the server a moment after a pause, and at the latest every few seconds. Until the server has it, a copy stays
// in this browser. Nothing is ever overwritten unseen.
import { local, prune } from "./local.js";
import { canonical } from "./marks.js";
import { every } from "./timers.js";

const PAUSE = 1200; // ms without a key before saving
const LONGEST = 5000; // ms between saves while the typing goes on
const RETRY = 6000; // ms before trying again without a network
const FIELDS = ["critique", "deliberation", "score", "spans"];

export function autosave(form, marks, signal) {
  const status = document.getElementById("saved");
  const conflict = document.getElementById("conflict");
  const copy = local(form.dataset.user, form.dataset.item);
  const self = { onsaved: () => {}, pause, resume, save, done, freshToken, write, values, version: () => version };
  let version = Number(form.dataset.version) || 0;
  let timer = 0;
  let changedAt = 0; // first unsaved change
  let savedAt = 0;
  let sending = null; // the save that is on its way
  let paused = false; // while the verdict itself is on its way
  let stopped = false; // the server takes no more drafts of this text
  let theirs = null;
  let kept = true; // whether this browser holds the copy

  signal.addEventListener("abort", () => clearTimeout(timer));

  function values() {
    return Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));
  }

  function write(other) {
    for (const name of FIELDS) form.elements[name].value = name === "spans" ? canonical(other.spans) : (other[name] ?? "");
    marks.load();
    form.elements.score.dispatchEvent(new Event("redraw"));
  }

  const same = (a, b) => FIELDS.every((name) => (name === "spans" ? canonical(a.spans) === canonical(b.spans) : (a[name] ?? "") === (b[name] ?? "")));

  function say(text, bad = false) {
    if (signal.aborted) return;
    status.classList.toggle("bad", bad);
    if (status.textContent !== text) status.textContent = text;
  }

  function changed() {
    kept = copy.write(values(), version);
    later();
  }

  function later() {
    if (stopped || paused || theirs) return;
    if (!changedAt) changedAt = Date.now();
    clearTimeout(timer);
    timer = setTimeout(save, Math.max(0, Math.min(PAUSE, changedAt + LONGEST - Date.now())));
  }

  // Resolves when what had changed by now is sent, or could not be.
  async function save() {
    while (sending) await sending;
    if (stopped || paused || theirs || !changedAt) return;
    sending = send().finally(() => (sending = null));
    await sending;
  }

  async function send() {
    const since = changedAt;
    const sent = values();
    changedAt = 0;
    try {
      const body = new URLSearchParams({ ...sent, version, csrfmiddlewaretoken: form.elements.csrfmiddlewaretoken.value });
      // keepalive: a tab that is being closed still sends its last words (browsers allow 64 kB there).
      const response = await fetch(form.dataset.draft, { method: "POST", body, keepalive: body.toString().length < 60000, redirect: "manual" });
      await answered(response, since, sent);
    } catch {
      again(since, kept ? "Not saved: no connection. Kept in this browser." : "Not saved: no connection. Trying again.");
    }
  }

  async function answered(response, since, sent) {
    if (signal.aborted) return;
    if (response.ok) {
      const data = await response.json();
      version = data.version;
      savedAt = Date.now();
      if (same(sent, values())) copy.drop();
      else copy.write(values(), version);
      if (!changedAt) say("Saved just now");
      self.onsaved(data.expires);
    } else if (response.status === 409) {
      changedAt = since;
      disagree(await response.json(), "This draft was changed in another window");
    } else if (response.status === 410) {
      stopped = true;
      say("The lease has ended. You can still submit.", true);
    } else if (response.status === 403 && isJson(response)) {
      stopped = true;
      say(`${(await response.json()).message} ${kept ? "Your words stay in this browser." : ""}`, true);
    } else if (response.type === "opaqueredirect" || response.status === 403) {
      again(since, "Not saved: you are signed out. Sign in again in another tab; your words stay here.");
      if (await freshToken()) {
        clearTimeout(timer);
        timer = setTimeout(save, 0);
      }
    } else {
      again(since, "Not saved: the server did not take it. Trying again.");
    }
  }

  // After signing in again, forms need the new session's token. Submitting uses it too.
  async function freshToken() {
    const response = await fetch(window.location.href, { redirect: "manual" });
    if (!response.ok) return false;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const token = page.querySelector("#verdict [name=csrfmiddlewaretoken]")?.value;
    if (token) for (const field of document.querySelectorAll("[name=csrfmiddlewaretoken]")) field.value = token;
    return Boolean(token);
  }

  function again(since, words) {
    if (signal.aborted) return;
    changedAt = changedAt || since;
    say(words, true);
    clearTimeout(timer);
    timer = setTimeout(save, RETRY);
  }

  function disagree(other, title) {
    theirs = other;
    say("Not saved: two versions", true);
    document.getElementById("conflict-title").textContent = title;
    const box = conflict.querySelector(".theirs");
    box.replaceChildren();
    for (const name of FIELDS) {
      const text = name === "spans" ? listed(other.spans) : other[name];
      if (!text) continue;
      const head = document.createElement("h4");
      head.textContent = name === "spans" ? "Highlights" : name[0].toUpperCase() + name.slice(1);
      const words = document.createElement("p");
      words.textContent = text;
      box.append(head, words);
    }
    if (!box.childElementCount) box.textContent = "Nothing: the draft there is empty.";
    conflict.hidden = false;
    conflict.focus();
  }

  conflict.addEventListener(
    "click",
    (event) => {
      const keep = event.target.closest("button")?.dataset.keep;
      if (!keep || !theirs) return;
      version = theirs.version;
      if (keep === "theirs") write(theirs);
      theirs = null;
      conflict.hidden = true;
      changedAt = Date.now();
      kept = copy.write(values(), version);
      save();
      form.elements.critique.focus();
    },
    { signal },
  );

  function pause() {
    paused = true;
    clearTimeout(timer);
  }

  // After a verdict that did not arrive: the words are a draft again.
  function resume() {
    paused = false;
    if (changedAt) later();
  }

  // The words have arrived as a verdict.
  function done() {
    stopped = true;
    copy.drop();
  }

  // Words that were written here and that the server never confirmed, or before this script was there.
  function restore() {
    const served = Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].defaultValue]));
    const early = !same(served, values());
    const found = copy.read();
    if (!found || same(found.values, served) || same(found.values, values())) {
      if (early) changed();
      else copy.drop();
      return;
    }
    if (early) {
      disagree({ ...found.values, version }, "This browser had kept other words of yours");
      return;
    }
    const server = { ...values(), version };
    write(found.values);
    if (found.version === version) {
      document.getElementById("restored").hidden = false;
      changedAt = Date.now();
      timer = setTimeout(save, 0);
    } else {
      disagree(server, "This draft was changed elsewhere while you wrote here");
    }
  }

  prune();
  if (!form.hasAttribute("data-bound")) {
    restore();
  } else if (copy.read()) {
    // A page that shows errors holds the words that have just been sent, and nothing is newer. They are a draft again.
    changedAt = Date.now();
    later();
  }
  form.addEventListener("input", changed, { signal });
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && save(), { signal });
  window.addEventListener("online", save, { signal });
  every(
    1000,
    () => {
      if (!savedAt || changedAt || sending || theirs || stopped || paused) return;
      const seconds = Math.round((Date.now() - savedAt) / 1000);
      say(seconds < 3 ? "Saved just now" : seconds < 90 ? `Saved ${seconds} s ago` : `Saved ${Math.round(seconds / 60)} min ago`);
    },
    signal,
  );
  return self;
}

export const isJson = (response) => (response.headers.get("content-type") ?? "").includes("json");

function listed(spans) {
  return JSON.parse(canonical(spans))
    .map(({ sign, quote, comment }) => `${sign === "+" ? "+" : "−"} “${quote}” ${comment}`.trim())
    .join("\n");
}
