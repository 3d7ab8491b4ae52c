// Browsers count in UTF-16 units, the server in Unicode code points. They differ after every sign beyond U+FFFF (an emoji, say).

// How many of the ascending `list` are below `value`.
function below(list, value) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Converts places in `text` either way. A place within a sign is that before it; `up` makes it the one after.
export function offsets(text) {
  const units = []; // where each sign of two units starts, in units
  for (let at = 0; at < text.length; at++) if (text.codePointAt(at) > 0xffff) units.push(at++);
  const points = units.map((at, number) => at - number); // the same in code points
  return {
    toPoints(unit, up = false) {
      const passed = below(units, unit);
      const within = passed && units[passed - 1] === unit - 1;
      return unit - passed + (within && up ? 1 : 0);
    },
    toUnits: (point) => point + below(points, point),
  };
}
