// Shows how long the text is yours, and renews the lease while somebody is reading or writing here.
import { every } from "./timers.js";

const EVERY = 60_000; // ms between renewals, at most one
const IDLE = 240_000; // ms without a sign of life after which nobody is here

export function lease(element, token, signal) {
  const self = { renewed };
  if (!element?.dataset.url) return self;
  let expires = Date.parse(element.dataset.expires);
  let seen = Date.now();
  let asked = Date.now();
  let lost = false; // somebody else has the text by now

  function renewed(until) {
    if (!until) return;
    expires = Date.parse(until);
    asked = Date.now();
    show();
  }

  function show() {
    const minutes = Math.ceil((expires - Date.now()) / 60_000);
    element.classList.toggle("soon", lost || minutes <= 1);
    const text = minutes > 0 && !lost ? `Yours for ${minutes} min, longer while you read or write` : "Lease ended; you can still submit";
    if (element.textContent !== text) element.textContent = text;
  }

  async function beat() {
    show();
    const now = Date.now();
    const away = document.visibilityState !== "visible" || now - seen > IDLE;
    if (lost || away || now - asked < EVERY || document.body.dataset.sending) return;
    asked = now;
    try {
      const body = new URLSearchParams({ csrfmiddlewaretoken: token() });
      const response = await fetch(element.dataset.url, { method: "POST", body, redirect: "manual", signal });
      if (response.ok) renewed((await response.json()).expires);
      else if (response.status === 410) lost = true;
      show();
    } catch {
      // No network: the lease runs on as it is, and the next beat tries again.
    }
  }

  for (const kind of ["keydown", "pointermove", "scroll", "touchstart"]) {
    window.addEventListener(kind, () => (seen = Date.now()), { passive: true, capture: true, signal });
  }
  document.addEventListener("visibilitychange", beat, { signal });
  show();
  every(5000, beat, signal);
  return self;
}
