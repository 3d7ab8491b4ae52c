// Sends a verdict or a decline and says what became of it. While it is on its way, every action on the page is off.
import { isJson } from "./drafts.js";

const LONGEST = 30_000; // ms to wait for an answer; the same form can then be sent again, it lands once

// Resolves to { kind: "done", answer } or { kind: "errors", html } or { kind: "failed", words, signedOut }.
export async function send(form, token) {
  const body = new URLSearchParams(new FormData(form));
  body.set("csrfmiddlewaretoken", token());
  let response;
  try {
    response = await fetch(form.getAttribute("action") || location.href, {
      method: "POST",
      body,
      redirect: "manual",
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(LONGEST),
    });
    if (response.ok && isJson(response)) return { kind: "done", answer: await response.json() };
    if (response.status === 422) return { kind: "errors", html: await response.text() };
    if (isJson(response)) return failed((await response.json()).message);
  } catch (error) {
    return failed(error.name === "TimeoutError" ? "No answer from the server yet." : "No connection.", true);
  }
  if (response.type === "opaqueredirect" || response.status === 403) {
    return { ...failed("You are signed out. Sign in again in another tab,", true), signedOut: true };
  }
  return failed(response.status >= 500 ? "The server could not take it." : `The server did not take it (${response.status}).`, true);
}

function failed(why, again = false) {
  const rest = why.endsWith(",") ? "then send again; your words stay here." : "Your words are kept; send them again.";
  return { kind: "failed", words: again ? `Not sent. ${why} ${rest}` : `Not sent. ${why}`, signedOut: false };
}

// Off: buttons say so, fields take no keys. The focus stays where it is.
export function lock(on) {
  if (on) document.body.dataset.sending = "yes";
  else delete document.body.dataset.sending;
  for (const button of document.querySelectorAll("#review .verdict button, #mark-tool button")) {
    if (on) button.setAttribute("aria-disabled", "true");
    else button.removeAttribute("aria-disabled");
  }
  for (const field of document.querySelectorAll("#review textarea, #review input:not([type=hidden])")) {
    if (field.type === "radio" || field.type === "range") continue;
    field.readOnly = on;
  }
}
