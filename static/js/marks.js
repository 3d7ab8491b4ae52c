// The highlights of one text: passages with a sign and a comment. Kept in the form's hidden field as the server wants them.
import { offsets } from "./offsets.js";

const SIGNS = { "+": "Strength", "-": "Weakness" };
export const nameOf = (mark) => SIGNS[mark.sign];
export const symbolOf = (mark) => (mark.sign === "+" ? "+" : "−");

let made = 0;

function read(json) {
  try {
    const list = JSON.parse(json || "[]");
    return Array.isArray(list) ? list.filter((each) => SIGNS[each?.sign] && Number.isInteger(each.start) && Number.isInteger(each.end)) : [];
  } catch {
    return []; // what is no list holds no highlight; the server says so if it was sent
  }
}

// The same highlights, written the same way, whoever wrote the JSON: to tell whether two copies differ.
export function canonical(spans) {
  const list = typeof spans === "string" ? read(spans) : read(JSON.stringify(spans ?? []));
  return JSON.stringify(list.map(({ start, end, quote, sign, comment }) => ({ start, end, quote, sign, comment: comment ?? "" })));
}

export function marks(field, content) {
  const places = offsets(content);
  const target = new EventTarget();
  const self = { all, get, at, add, update, remove, restore, load, onchange, units, unit: places.toUnits, content };
  let list = [];
  let removed = null;

  const inOrder = () => list.sort((a, b) => a.start - b.start || a.end - b.end || a.id - b.id);

  function load() {
    list = read(field.value).map((each) => ({ ...each, comment: each.comment ?? "", id: ++made }));
    removed = null;
    inOrder();
    changed("load");
  }

  function changed(kind, id = null) {
    target.dispatchEvent(new CustomEvent("change", { detail: { kind, id, removed } }));
  }

  function store(kind, id) {
    inOrder();
    field.value = canonical(list);
    // Typed text tells the form that it changed; this does the same for what was marked.
    field.dispatchEvent(new Event("input", { bubbles: true }));
    changed(kind, id);
  }

  function all() {
    return list;
  }

  function get(id) {
    return list.find((each) => each.id === id) ?? null;
  }

  // The shortest highlight that shares a character with [start, end), in UTF-16 units; null where there is none.
  function at(start, end) {
    const [from, to] = [places.toPoints(start), places.toPoints(end, true)];
    const touching = list.filter((each) => each.start < to && from < each.end);
    return touching.sort((a, b) => a.end - a.start - (b.end - b.start))[0] ?? null;
  }

  // Marks [start, end), given in UTF-16 units, without the white space at its ends. The same passage again only changes its sign.
  function add(start, end, sign) {
    const words = content.slice(start, end);
    const from = places.toPoints(start + words.length - words.trimStart().length);
    const to = places.toPoints(start + words.trimEnd().length, true);
    if (from >= to) return null;
    const same = list.find((each) => each.start === from && each.end === to);
    if (same) return update(same.id, { sign });
    const mark = { id: ++made, start: from, end: to, quote: content.slice(places.toUnits(from), places.toUnits(to)), sign, comment: "" };
    list.push(mark);
    store("add", mark.id);
    return mark;
  }

  function update(id, changes) {
    const mark = get(id);
    if (!mark) return null;
    Object.assign(mark, changes);
    store("sign" in changes ? "sign" : "comment", id);
    return mark;
  }

  function remove(id) {
    removed = get(id);
    if (!removed) return;
    list = list.filter((each) => each.id !== id);
    store("remove", id);
  }

  // Puts the highlight back that was removed last.
  function restore() {
    if (!removed) return null;
    const mark = removed;
    removed = null;
    list.push(mark);
    store("add", mark.id);
    return mark;
  }

  function onchange(handler, signal) {
    target.addEventListener("change", (event) => handler(event.detail), { signal });
  }

  // Where a highlight stands, in UTF-16 units.
  function units(mark) {
    return [places.toUnits(mark.start), places.toUnits(mark.end)];
  }

  load();
  return self;
}
