// A cursor over the sentences of the text, for marking by keyboard. It moves the focus, so a screen reader reads what it stands on.
import { actionOf } from "./keys.js";
import { nameOf } from "./marks.js";

export function sentences(text, marks, { edit, say, signal }) {
  const all = [...text.querySelectorAll("[data-start]")];
  if (!all.length) return { focus: () => {}, go: () => {}, current: () => null };
  const starts = all.map((sentence) => marks.unit(Number(sentence.dataset.start)));
  const rtl = getComputedStyle(text).direction === "rtl";
  let at = 0;
  let anchor = 0;

  const bounds = () => [Math.min(at, anchor), Math.max(at, anchor)];
  const passage = () => {
    const [first, last] = bounds();
    return [starts[first], starts[last] + all[last].textContent.length];
  };

  function put(index, extend) {
    const before = all[at];
    at = Math.min(Math.max(index, 0), all.length - 1);
    if (!extend) anchor = at;
    all[at].tabIndex = 0;
    if (before !== all[at]) before.removeAttribute("tabindex"); // taking it from what has the focus would take the focus too
    paint();
  }

  function paint() {
    const [first, last] = bounds();
    for (const chosen of text.querySelectorAll(".chosen")) chosen.classList.remove("chosen");
    if (first < last) for (let i = first; i <= last; i++) all[i].classList.add("chosen");
  }

  function move(by, extend) {
    put(at + by, extend);
    all[at].focus();
    all[at].scrollIntoView({ block: "nearest" });
    const mark = marks.at(starts[at], starts[at] + all[at].textContent.length);
    const [first, last] = bounds();
    say(extend ? `${last - first + 1} sentences` : mark ? `${nameOf(mark)}. ${mark.comment}` : "");
  }

  function focus() {
    all[at].focus();
  }

  // To where a highlight begins.
  function go(mark) {
    const [start] = marks.units(mark);
    put(Math.max(0, starts.findLastIndex((place) => place <= start)), false);
    all[at].focus({ preventScroll: true });
  }

  function add(sign) {
    const mark = marks.add(...passage(), sign);
    put(at, false);
    if (mark) say(`${nameOf(mark)} marked. Enter to say why.`);
  }

  function step(event) {
    const key = event.key;
    const action = actionOf(key.toLowerCase());
    if (key === "ArrowDown" || key === (rtl ? "ArrowLeft" : "ArrowRight") || action === "next") return 1;
    if (key === "ArrowUp" || key === (rtl ? "ArrowRight" : "ArrowLeft") || action === "previous") return -1;
    if (key === "Home") return -at;
    if (key === "End") return all.length - 1 - at;
    return null;
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !event.target.closest("[data-start]")) return;
    const by = step(event);
    const action = actionOf(event.key);
    const mark = () => marks.at(...passage());
    if (by !== null) move(by, event.shiftKey);
    else if (document.body.dataset.sending) return;
    else if (action === "plus") add("+");
    else if (action === "minus") add("-");
    else if (event.key === "Enter") mark() ? edit(mark()) : say("Nothing is marked here.");
    else if (event.key === "Delete" || event.key === "Backspace") {
      const gone = mark();
      if (gone) marks.remove(gone.id);
      say(gone ? `${nameOf(gone)} removed.` : "Nothing is marked here.");
    } else if (event.key === "Escape" && at !== anchor) put(at, false);
    else if (event.key === "Escape") all[at].blur();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  text.addEventListener("keydown", press, { signal });
  // Where one clicked, the cursor stands.
  text.addEventListener(
    "click",
    (event) => {
      const index = all.indexOf(event.target.closest("[data-start]"));
      if (index >= 0) put(index, false);
    },
    { signal },
  );
  put(0, false);
  return { focus, go, current: () => (text.contains(document.activeElement) ? marks.at(...passage()) : null) };
}
