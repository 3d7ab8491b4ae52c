// Keys and sheets of the review page. Single keys do nothing while somebody writes.
const FIELDS = { c: "id_critique", d: "id_deliberation", s: "id_score" };

function open(id) {
  const sheet = document.getElementById(id);
  if (sheet && !sheet.open) sheet.showModal();
  return Boolean(sheet);
}

function writing(target) {
  return target.matches("textarea, select, input:not([type=range], [type=radio])") || target.isContentEditable;
}

export function shortcuts(form) {
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener && open(opener.dataset.dialog)) event.preventDefault();
    if (event.target.matches("dialog[open]")) event.target.close(); // a click beside the sheet
  });

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      event.preventDefault();
      if (!document.querySelector("dialog[open]")) form.requestSubmit(document.getElementById("submit"));
      return;
    }
    if (event.key === "Escape" && writing(event.target)) {
      event.target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || writing(event.target)) return;
    if (document.querySelector("dialog[open]")) {
      if (event.key === "?") document.querySelector("dialog[open]").close();
      return;
    }
    if (event.key === "?") open("shortcuts");
    else if (event.key === "g") open("guidelines");
    else if (event.key === "t") document.getElementById("prompt").toggleAttribute("open");
    else if (FIELDS[event.key]) document.getElementById(FIELDS[event.key]).focus();
    else return;
    event.preventDefault();
  });
}
