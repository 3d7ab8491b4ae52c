// Which single key does what. Everybody may choose their own; the choice stays in this browser.
const STORE = "touchstone.keys";
export const ACTIONS = {
  critique: { key: "c", words: "Write the critique" },
  deliberation: { key: "d", words: "Write the deliberation" },
  score: { key: "s", words: "Set the score" },
  task: { key: "t", words: "Show or fold the task" },
  guidelines: { key: "g", words: "Read the guidelines" },
  text: { key: "h", words: "Go to the text, to highlight" },
  next: { key: "j", words: "Next sentence" },
  previous: { key: "k", words: "Sentence before" },
  plus: { key: "+", words: "Mark as a strength" },
  minus: { key: "-", words: "Mark as a weakness" },
  quote: { key: "q", words: "Quote the highlight into the critique" },
  help: { key: "?", words: "This sheet" },
};

let chosen = load();

function load() {
  try {
    const stored = JSON.parse(localStorage.getItem(STORE) ?? "{}");
    return Object.fromEntries(Object.entries(stored).filter(([action, key]) => ACTIONS[action] && usable(key)));
  } catch {
    return {}; // storage blocked, or not ours: the keys are the usual ones
  }
}

function keep() {
  try {
    localStorage.setItem(STORE, JSON.stringify(chosen));
  } catch {
    // Without storage the choice holds until the page is left.
  }
}

// One visible sign: everything else (Enter, arrows, Escape) has its meaning already.
export function usable(key) {
  return typeof key === "string" && [...key].length === 1 && key.trim() === key;
}

export function keyOf(action) {
  return chosen[action] ?? ACTIONS[action].key;
}

export function actionOf(key) {
  return Object.keys(ACTIONS).find((action) => keyOf(action) === key) ?? null;
}

// Gives `action` another key. Returns the action that has that key already, and then changes nothing.
export function choose(action, key) {
  const other = actionOf(key);
  if (other && other !== action) return other;
  chosen[action] = key;
  keep();
  return null;
}

export function reset() {
  chosen = {};
  keep();
}

export const changed = () => Object.keys(chosen).some((action) => chosen[action] !== ACTIONS[action].key);
