// Draws the highlights and lets passages be marked with mouse, pen or finger. Selecting, hit-testing and measuring is the annotator library's;
// it is given a painter of ours: its own writes colours into the page, where our style sheet and the reader's colour scheme do not reach.
import { createRenderer, createTextAnnotator } from "../vendor/text-annotator.js";
import { nameOf, symbolOf } from "./marks.js";

// Lays a box under each line of each highlight, behind the text. The look is in review.css.
function painter(text) {
  const layer = document.createElement("div");
  layer.className = "marks";
  layer.setAttribute("aria-hidden", "true");
  text.append(layer);
  let drawn = "";

  function redraw(highlights) {
    const boxes = highlights.flatMap(({ annotation, rects, state }) => {
      const { kind = "", number = "" } = annotation.properties ?? {};
      return rects.map(({ x, y, width, height }, line) => ({ x, y, width, height, kind, number: line ? "" : number, on: Boolean(state?.selected) }));
    });
    const now = JSON.stringify(boxes);
    if (now === drawn) return;
    drawn = now;
    layer.replaceChildren(...boxes.map(box), ...numbers(boxes));
  }

  function box({ x, y, width, height, kind, on }) {
    const made = document.createElement("i");
    made.className = on ? `${kind} on` : kind;
    Object.assign(made.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
    return made;
  }

  // Beside each line the numbers of the highlights that begin there. As content of the style sheet: the text's own content is the text.
  function numbers(boxes) {
    const lines = new Map();
    for (const { y, height, number } of boxes) if (number) lines.set(y + height, [...(lines.get(y + height) ?? []), number]);
    return [...lines].map(([bottom, begun]) => {
      const made = document.createElement("b");
      made.dataset.numbers = begun.join(" ");
      made.style.top = `${bottom - 18}px`;
      return made;
    });
  }

  return { redraw, destroy: () => layer.remove(), setVisible: (visible) => (layer.hidden = !visible) };
}

export function highlights(text, marks, { quote, say, signal }) {
  const tool = document.getElementById("mark-tool");
  const comment = tool.querySelector("textarea");
  const annotator = createTextAnnotator(text, { renderer: (container, state, viewport) => createRenderer(painter(container), container, state, viewport) });
  const self = { edit, show, current: () => (typeof shown === "number" ? marks.get(shown) : null) };
  let shown = null; // what the tool is about: a highlight's id, or the annotation of a passage that is none yet
  let back = null; // where the focus returns to

  const drawing = (mark, number) => {
    const [start, end] = marks.units(mark);
    return {
      id: String(mark.id),
      bodies: [],
      properties: { kind: mark.sign === "+" ? "plus" : "minus", number: `${symbolOf(mark)}${number + 1}` },
      target: { annotation: String(mark.id), selector: [{ quote: mark.quote, start, end }], created: new Date(0) },
    };
  };

  function draw() {
    const inside = marks.all().filter((mark) => mark.start < mark.end && marks.units(mark)[1] <= marks.content.length);
    const ids = new Set(inside.map((mark) => String(mark.id)));
    for (const { id } of annotator.getAnnotations()) if (!ids.has(id) && id !== shown) annotator.removeAnnotation(id);
    // Not as a replacement: that way the library (4.1.1 on core 3.8) leaves out to find their places on the page.
    annotator.setAnnotations(inside.map(drawing), false);
  }

  // The place of a passage on the page, so that the tool can stand beside it.
  function place(start, end) {
    const range = document.createRange();
    const [from, to] = [spot(start), spot(end)];
    range.setStart(...from);
    range.setEnd(...to);
    return range;
  }

  function spot(unit) {
    const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
    let passed = 0;
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (passed + node.length >= unit) return [node, unit - passed];
      passed += node.length;
    }
    return [text, text.childNodes.length];
  }

  function stand(range) {
    const frame = tool.offsetParent ?? document.body;
    const outer = frame.getBoundingClientRect();
    const lines = range.getClientRects();
    const last = lines[lines.length - 1] ?? range.getBoundingClientRect();
    const left = Math.min(Math.max(last.left - outer.left, 12), Math.max(12, outer.width - tool.offsetWidth - 12));
    Object.assign(tool.style, { left: `${left}px`, top: `${last.bottom - outer.top + 8}px` });
  }

  // Offers the signs for a passage that has just been selected.
  function offer(annotation) {
    shown = annotation.id;
    back = null;
    tool.classList.remove("editing");
    for (const button of tool.querySelectorAll("[data-sign]")) button.removeAttribute("aria-pressed");
    tool.hidden = false;
    const selector = annotation.target.selector;
    stand(selector[selector.length - 1].range);
  }

  // Opens a highlight for its comment; Escape leads back to where one was.
  function edit(mark, { focus = true } = {}) {
    if (focus) back = document.activeElement?.closest("#text, #marks") ? document.activeElement : null;
    shown = mark.id;
    tool.classList.add("editing");
    comment.value = mark.comment;
    for (const button of tool.querySelectorAll("[data-sign]")) button.setAttribute("aria-pressed", button.dataset.sign === mark.sign);
    tool.hidden = false;
    stand(place(...marks.units(mark)));
    if (annotator.getSelected()[0]?.id !== String(mark.id)) annotator.setSelected(String(mark.id));
    if (focus) comment.focus();
  }

  function close() {
    if (shown === null) return;
    const had = tool.contains(document.activeElement);
    const passage = typeof shown === "string" ? shown : null;
    shown = null;
    tool.hidden = true;
    if (passage) forget(passage);
    annotator.cancelSelected();
    if (had) (back?.isConnected ? back : text.querySelector("[tabindex='0']"))?.focus();
    back = null;
  }

  // A passage that was selected and not marked leaves no trace. Off and on again: the library would bring it back at the next long press.
  function forget(id) {
    annotator.removeAnnotation(id);
    annotator.setAnnotatingEnabled(false);
    annotator.setAnnotatingEnabled(true);
    if (text.contains(document.getSelection()?.anchorNode)) document.getSelection().removeAllRanges();
  }

  function choose(sign) {
    if (document.body.dataset.sending) return;
    if (typeof shown === "number") {
      marks.update(shown, { sign });
      edit(marks.get(shown));
      return;
    }
    const selector = annotator.getAnnotationById(shown)?.target.selector ?? [];
    const passage = shown;
    shown = null;
    forget(passage);
    const mark = selector.length ? marks.add(selector[0].start, selector[selector.length - 1].end, sign) : null;
    if (mark) edit(mark);
    else close();
  }

  // Brings a highlight into view.
  function show(mark) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const { startContainer } = place(...marks.units(mark));
    startContainer.parentElement?.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
    annotator.setSelected(String(mark.id));
  }

  annotator.on("selectionChanged", ([found]) => {
    if (!found) {
      if (!tool.contains(document.activeElement)) close();
      return;
    }
    const mark = marks.get(Number(found.id));
    if (!mark) offer(found);
    else if (shown !== mark.id) edit(mark, { focus: false });
  });

  tool.addEventListener(
    "click",
    (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const mark = typeof shown === "number" ? marks.get(shown) : null;
      if (button.dataset.sign) choose(button.dataset.sign);
      else if (button.dataset.do === "quote" && mark) {
        close();
        quote(mark);
      } else if (button.dataset.do === "remove" && mark) {
        marks.remove(mark.id);
        say(`${nameOf(mark)} removed.`);
      } else close();
    },
    { signal },
  );
  comment.addEventListener("input", () => typeof shown === "number" && marks.update(shown, { comment: comment.value }), { signal });
  tool.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      close();
    },
    { signal },
  );
  document.addEventListener("pointerdown", (event) => !tool.hidden && !tool.contains(event.target) && !text.contains(event.target) && close(), { signal });
  document.addEventListener("keydown", (event) => event.key === "Escape" && !tool.hidden && !tool.contains(event.target) && close(), { capture: true, signal });
  marks.onchange(({ kind, id }) => {
    if (kind === "comment") {
      const mark = marks.get(id);
      if (shown === id && comment.value !== mark.comment) comment.value = mark.comment;
      return; // nothing of it is drawn
    }
    draw();
    if (typeof shown === "number" && !marks.get(shown)) close();
  }, signal);
  signal.addEventListener("abort", () => annotator.destroy());
  draw();
  return self;
}
