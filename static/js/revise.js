// The page that revises a verdict: its highlights can be changed as in a review. Without this they are sent back as they came.
import { marking } from "./marking.js";
import { marks } from "./marks.js";
import { shortcuts } from "./shortcuts.js";

const form = document.getElementById("verdict");
const text = document.getElementById("text");
const { signal } = new AbortController(); // the page ends with its address
shortcuts(form, { ...marking(form, text, marks(form.elements.spans, text.textContent), signal), signal });
document.documentElement.classList.add("js");
document.querySelector("#verdict [aria-invalid=true]")?.focus();
