// The score: one value as a number and as a slider, marked in the picture of one's own recent scores.
export function score(number, scale, picture, signal) {
  const width = scale.max - scale.min;
  scale.step = width > 20 ? 1 : width / 100;
  const line = picture?.querySelector("line");

  // An untouched slider is no answer: it stays pale until a number stands.
  function draw() {
    const value = Number.parseFloat(number.value.replace(",", "."));
    scale.classList.toggle("unset", Number.isNaN(value));
    if (!Number.isNaN(value)) scale.value = value;
    const place = (value - scale.min) / width;
    const inside = place >= 0 && place <= 1;
    line?.classList.toggle("unset", !inside);
    if (line && inside) for (const name of ["x1", "x2"]) line.setAttribute(name, 200 * place);
  }

  number.addEventListener("input", draw, { signal });
  number.addEventListener("redraw", draw, { signal }); // set by the page, not typed
  scale.addEventListener(
    "input",
    () => {
      number.value = scale.value;
      number.dispatchEvent(new Event("input", { bubbles: true }));
    },
    { signal },
  );
  draw();
}
