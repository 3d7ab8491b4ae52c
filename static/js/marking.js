// Marking passages of a text beside the form of a verdict: with the pointer, by keyboard, and in the list; and quoting them into the critique.
import { highlights } from "./highlights.js";
import { marklist } from "./marklist.js";
import { sentences } from "./sentences.js";

// Gives what the keys do: `text` goes to the text, `quote` quotes the highlight one is at.
export function marking(form, text, marks, signal) {
  const announce = document.getElementById("marks-said");
  const say = (words) => (announce.textContent = words);
  const quote = (mark) => quoteInto(form.elements.critique, mark);
  const drawn = highlights(text, marks, { quote, say, signal });
  const cursor = sentences(text, marks, { edit: drawn.edit, say, signal });
  const show = (mark) => {
    drawn.show(mark);
    cursor.go(mark);
  };
  marklist(document.getElementById("marks"), marks, { show, quote, say, signal });
  const here = () => drawn.current() ?? cursor.current();
  return { text: cursor.focus, quote: () => here() && quote(here()) };
}

// At the cursor of the critique, or at its end, as a Markdown quotation with room for what is to be said about it.
function quoteInto(area, mark) {
  const lines = mark.quote.trim().split(/\r\n|\r|\n/).map((line) => `> ${line}`);
  const before = area.value.slice(0, area.selectionEnd);
  const gap = !before.trim() ? "" : before.endsWith("\n\n") ? "" : before.endsWith("\n") ? "\n" : "\n\n";
  const words = `${gap}${lines.join("\n")}\n\n${mark.comment}`;
  area.focus();
  area.setSelectionRange(area.selectionEnd, area.selectionEnd);
  // insertText can be undone with Ctrl+Z, as typing can; setting the value could not.
  if (!document.execCommand("insertText", false, words)) {
    area.setRangeText(words, area.selectionEnd, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }
}
