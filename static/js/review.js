// The review page: drafts that save themselves, a lease that follows the writing, shortcuts. All of it works without this too.
import { autosave } from "./drafts.js";
import { lease } from "./lease.js";
import { shortcuts } from "./shortcuts.js";

document.documentElement.classList.add("js");

const form = document.getElementById("verdict");
const score = document.getElementById("id_score");
const scale = document.getElementById("scale");

const width = scale.max - scale.min;
scale.step = width > 20 ? 1 : width / 100;

// The number and the slider are one score. An untouched slider is no answer: it stays pale until a number stands.
function numberToScale() {
  const value = Number.parseFloat(score.value);
  scale.classList.toggle("unset", Number.isNaN(value));
  if (!Number.isNaN(value)) scale.value = value;
}
score.addEventListener("input", numberToScale);
scale.addEventListener("input", () => {
  score.value = scale.value;
  score.dispatchEvent(new Event("input", { bubbles: true }));
});
numberToScale();

// Text areas grow with the text where the browser does not do it by itself.
if (!CSS.supports("field-sizing", "content")) {
  for (const area of form.querySelectorAll("textarea")) {
    const grow = () => {
      area.style.height = "auto";
      area.style.height = `${area.scrollHeight + 2}px`;
    };
    area.addEventListener("input", grow);
    grow();
  }
}

const drafts = autosave(form);
const kept = lease(document.getElementById("lease"), () => form.elements.csrfmiddlewaretoken.value);
drafts.onsaved = (expires) => kept.renewed(expires);

// One submit at a time: a second click or key press while the first is on its way does nothing.
for (const each of document.querySelectorAll("form[method=post]")) {
  each.addEventListener("submit", (event) => {
    if (document.body.dataset.sending) {
      event.preventDefault();
      return;
    }
    document.body.dataset.sending = "yes";
    drafts.stop();
    for (const button of document.querySelectorAll(".verdict button")) button.setAttribute("aria-disabled", "true");
  });
}
// Coming back with the browser's back button shows the page as it was left, locks included.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) window.location.reload();
});

shortcuts(form);
const wrong = document.querySelector("#verdict [aria-invalid=true]");
if (wrong) wrong.focus();
