// Keys and sheets of the review page. Single keys do nothing while somebody writes.
import { ACTIONS, actionOf, changed, choose, keyOf, reset, usable } from "./keys.js";

const FIELDS = { critique: "id_critique", deliberation: "id_deliberation", score: "id_score" };

function open(id) {
  const sheet = document.getElementById(id);
  if (sheet && !sheet.open) sheet.showModal();
  return Boolean(sheet);
}

function writing(target) {
  return target.matches("textarea, select, input:not([type=range], [type=radio])") || target.isContentEditable;
}

export function shortcuts(form, { text, quote, signal }) {
  show();
  document.addEventListener(
    "click",
    (event) => {
      const opener = event.target.closest("[data-dialog]");
      if (opener && open(opener.dataset.dialog)) event.preventDefault();
      if (event.target.matches("dialog[open]")) event.target.close(); // a click beside the sheet
    },
    { signal },
  );

  document.addEventListener(
    "keydown",
    (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
        event.preventDefault();
        if (!document.querySelector("dialog[open]")) form.requestSubmit(document.getElementById("submit"));
        return;
      }
      if (event.key === "Escape" && writing(event.target)) {
        event.target.blur();
        return;
      }
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || writing(event.target)) return;
      const action = actionOf(event.key);
      if (document.querySelector("dialog[open]")) {
        if (action === "help") document.querySelector("dialog[open]").close();
        return;
      }
      if (action === "help") open("shortcuts");
      else if (action === "guidelines") open("guidelines");
      else if (action === "task") document.getElementById("prompt").toggleAttribute("open");
      else if (action === "text") text();
      else if (action === "quote") quote();
      else if (FIELDS[action]) document.getElementById(FIELDS[action]).focus();
      else return;
      event.preventDefault();
    },
    { signal },
  );
  editor(document.getElementById("shortcuts"), signal);
}

// The keys as they are now, wherever the page names one.
function show() {
  for (const each of document.querySelectorAll("kbd[data-key]")) each.textContent = keyOf(each.dataset.key);
  for (const button of document.querySelectorAll("button[data-action]")) {
    button.setAttribute("aria-label", `Change the key ${keyOf(button.dataset.action)}`);
  }
  for (const button of document.querySelectorAll("[data-keys=reset]")) button.hidden = !changed();
}

// In the sheet a key is changed by pressing it, then the new one.
function editor(sheet, signal) {
  const said = sheet.querySelector("[data-keys=said]");
  let waiting = null;

  function wait(button) {
    waiting?.classList.remove("waiting");
    waiting = button;
    waiting?.classList.add("waiting");
    if (waiting) said.textContent = `Press the new key for “${ACTIONS[waiting.dataset.action].words}”, or Escape.`;
  }

  sheet.addEventListener(
    "click",
    (event) => {
      const button = event.target.closest("button");
      if (button?.dataset.action) wait(button);
      else if (button?.dataset.keys === "reset") {
        reset();
        show();
        said.textContent = "The usual keys again.";
        sheet.querySelector("button").focus();
      }
    },
    { signal },
  );
  sheet.addEventListener(
    "keydown",
    (event) => {
      if (!waiting || ["Shift", "Control", "Alt", "Meta", "CapsLock", "Dead", "AltGraph"].includes(event.key)) return;
      if (event.key === "Tab") {
        wait(null);
        return;
      }
      event.preventDefault(); // Escape then ends the waiting and not the sheet
      event.stopPropagation();
      const { action } = waiting.dataset;
      const other = usable(event.key) && choose(action, event.key.toLowerCase());
      if (event.key === "Escape") said.textContent = "";
      else if (!usable(event.key)) said.textContent = "Choose a letter, a digit or a sign: other keys have their meaning already.";
      else if (other) said.textContent = `“${event.key}” already means: ${ACTIONS[other].words}. Choose another.`;
      else said.textContent = `${ACTIONS[action].words}: ${keyOf(action)}`;
      if (event.key === "Escape" || (usable(event.key) && !other)) wait(null);
      show();
    },
    { signal },
  );
  sheet.addEventListener(
    "close",
    () => {
      wait(null);
      said.textContent = "";
    },
    { signal },
  );
}
