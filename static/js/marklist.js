// The list of highlights beside the form: go to, comment, change the sign, quote, remove.
import { nameOf, symbolOf } from "./marks.js";

export function marklist(section, marks, { show, quote, say, signal }) {
  const list = section.querySelector("ol");
  const pattern = section.querySelector("template");
  const undo = section.querySelector("[data-do=restore]");

  function entry(mark) {
    const made = pattern.content.firstElementChild.cloneNode(true);
    made.dataset.mark = mark.id;
    return made;
  }

  // Entries are kept while their highlight is, so that a comment being typed is not taken from under the fingers.
  function draw({ kind, id, removed } = {}) {
    const held = list.contains(document.activeElement) ? document.activeElement.closest("li").dataset.mark : null;
    const entries = new Map([...list.children].map((each) => [Number(each.dataset.mark), each]));
    const next = marks.all().map((mark) => entries.get(mark.id) ?? entry(mark));
    if (next.length !== list.children.length || next.some((each, i) => each !== list.children[i])) {
      const gone = [...list.children].findIndex((each) => !next.includes(each) && each.dataset.mark === held);
      const field = list.contains(document.activeElement) ? document.activeElement : null;
      list.replaceChildren(...next);
      if (gone >= 0) (next[Math.min(gone, next.length - 1)]?.querySelector("[data-do=show]") ?? undo).focus();
      else if (field?.isConnected) field.focus();
    }
    marks.all().forEach((mark, number) => fill(next[number], mark, number + 1));
    list.hidden = !next.length;
    section.classList.toggle("empty-list", !next.length);
    undo.hidden = !removed || kind === "load";
    if (kind === "remove" && document.activeElement === document.body && held === String(id)) undo.focus();
  }

  function fill(item, mark, number) {
    const name = nameOf(mark);
    item.className = mark.sign === "+" ? "plus" : "minus";
    const badge = item.querySelector("[data-do=show]");
    badge.textContent = `${symbolOf(mark)}${number}`;
    badge.setAttribute("aria-label", `${name} ${number}: show it in the text`);
    item.querySelector("q").textContent = mark.quote.length > 160 ? `${[...mark.quote].slice(0, 150).join("")}…` : mark.quote;
    const comment = item.querySelector("textarea");
    comment.setAttribute("aria-label", `Comment on ${name.toLowerCase()} ${number}`);
    if (comment.value !== mark.comment) comment.value = mark.comment;
    item.querySelector("[data-do=flip]").textContent = mark.sign === "+" ? "To weakness" : "To strength";
  }

  const markOf = (element) => marks.get(Number(element.closest("li")?.dataset.mark));

  section.addEventListener(
    "click",
    (event) => {
      const wanted = event.target.closest("[data-do]")?.dataset.do;
      if (!wanted || document.body.dataset.sending) return;
      if (wanted === "restore") {
        const mark = marks.restore();
        if (mark) list.querySelector(`[data-mark="${mark.id}"] textarea`).focus();
        return;
      }
      const mark = markOf(event.target);
      if (!mark) return;
      if (wanted === "show") show(mark);
      else if (wanted === "quote") quote(mark);
      else if (wanted === "flip") marks.update(mark.id, { sign: mark.sign === "+" ? "-" : "+" });
      else if (wanted === "remove") {
        marks.remove(mark.id);
        say(`${nameOf(mark)} removed.`);
      }
    },
    { signal },
  );
  section.addEventListener(
    "input",
    (event) => {
      const mark = event.target.matches("textarea") && markOf(event.target);
      if (!mark) return;
      event.stopPropagation(); // the hidden field says that the form has changed
      marks.update(mark.id, { comment: event.target.value });
    },
    { signal },
  );
  marks.onchange(draw, signal);
  draw();
}
