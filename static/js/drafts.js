// Sends what has been typed to the server a moment after a pause, and at the latest every few seconds. Nothing is ever overwritten unseen.
const PAUSE = 1200; // ms without a key before saving
const LONGEST = 5000; // ms between saves while the typing goes on
const RETRY = 6000; // ms before trying again without a network
const FIELDS = ["critique", "deliberation", "score"];

export function autosave(form) {
  const status = document.getElementById("saved");
  const conflict = document.getElementById("conflict");
  const self = { onsaved: () => {}, stop };
  let version = Number(form.dataset.version) || 0;
  let timer = 0;
  let changedAt = 0; // first unsaved change
  let savedAt = 0;
  let sending = false;
  let stopped = false;
  let theirs = null;

  const values = () => Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));

  function say(text, bad = false) {
    status.classList.toggle("bad", bad);
    if (status.textContent !== text) status.textContent = text;
  }

  function later() {
    if (stopped || theirs) return;
    if (!changedAt) changedAt = Date.now();
    clearTimeout(timer);
    timer = setTimeout(save, Math.max(0, Math.min(PAUSE, changedAt + LONGEST - Date.now())));
  }

  async function save() {
    if (stopped || theirs || !changedAt) return;
    if (sending) return later();
    sending = true;
    const since = changedAt;
    changedAt = 0;
    try {
      const body = new URLSearchParams({ ...values(), version, csrfmiddlewaretoken: form.elements.csrfmiddlewaretoken.value });
      // keepalive: a tab that is being closed still sends its last words (browsers allow 64 kB there).
      const response = await fetch(form.dataset.draft, { method: "POST", body, keepalive: body.toString().length < 60000, redirect: "manual" });
      await answered(response, since);
    } catch {
      again(since, "Not saved: no connection. Trying again.");
    } finally {
      sending = false;
    }
  }

  async function answered(response, since) {
    if (response.ok) {
      const data = await response.json();
      version = data.version;
      savedAt = Date.now();
      if (!changedAt) say("Saved just now");
      self.onsaved(data.expires);
    } else if (response.status === 409) {
      changedAt = since;
      disagree(await response.json());
    } else if (response.status === 410) {
      stopped = true;
      say("The lease has ended. You can still submit.", true);
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
    changedAt = changedAt || since;
    say(words, true);
    clearTimeout(timer);
    timer = setTimeout(save, RETRY);
  }

  function disagree(other) {
    theirs = other;
    say("Not saved: two versions", true);
    const box = conflict.querySelector(".theirs");
    box.replaceChildren();
    for (const name of FIELDS) {
      if (!other[name]) continue;
      const head = document.createElement("h4");
      head.textContent = name[0].toUpperCase() + name.slice(1);
      const words = document.createElement("p");
      words.textContent = other[name];
      box.append(head, words);
    }
    conflict.hidden = false;
    conflict.focus();
  }

  conflict.addEventListener("click", (event) => {
    const keep = event.target.closest("button")?.dataset.keep;
    if (!keep) return;
    version = theirs.version;
    if (keep === "theirs") {
      for (const name of FIELDS) form.elements[name].value = theirs[name];
      form.elements.score.dispatchEvent(new Event("input"));
    }
    theirs = null;
    conflict.hidden = true;
    changedAt = Date.now();
    save();
    form.elements.critique.focus();
  });

  function stop() {
    stopped = true;
    clearTimeout(timer);
  }

  form.addEventListener("input", later);
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && save());
  window.addEventListener("online", save);
  setInterval(() => {
    if (!savedAt || changedAt || sending || theirs || stopped) return;
    const seconds = Math.round((Date.now() - savedAt) / 1000);
    say(seconds < 3 ? "Saved just now" : seconds < 90 ? `Saved ${seconds} s ago` : `Saved ${Math.round(seconds / 60)} min ago`);
  }, 1000);
  return self;
}
