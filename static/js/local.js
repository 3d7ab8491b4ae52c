// Keeps words that the server does not have yet in this browser: through a reload, a closed tab, a server that is away.
// A copy is there only as long as its words are nowhere else. One per person and item, as on the server.
const PREFIX = "touchstone.draft.";
const DAYS = 60; // what nobody came back for by then is dropped
const MOST = 40;

export function local(user, item) {
  const name = `${PREFIX}${user}.${item}`;
  return {
    // { values, version, at }: the words, the version of the server's draft that they grew from, and when they were written.
    read() {
      try {
        const copy = JSON.parse(localStorage.getItem(name) ?? "null");
        return copy?.values && typeof copy.values === "object" ? copy : null;
      } catch {
        return null;
      }
    },
    // False where the browser does not take it: storage full or blocked.
    write(values, version) {
      const copy = JSON.stringify({ values, version, at: Date.now() });
      for (const last of [false, true]) {
        try {
          localStorage.setItem(name, copy);
          return true;
        } catch {
          if (!last) prune(name, 0);
        }
      }
      return false;
    },
    drop() {
      try {
        localStorage.removeItem(name);
      } catch {
        // Blocked: then there is nothing to drop.
      }
    },
  };
}

// Drops old copies, and the oldest where there are too many; with `most` 0 all but `kept`, to make room for it.
export function prune(kept = "", most = MOST) {
  try {
    const copies = [];
    for (let i = 0; i < localStorage.length; i++) {
      const name = localStorage.key(i);
      if (!name.startsWith(PREFIX) || name === kept) continue;
      copies.push({ name, at: Number(/"at":(\d+)\}$/.exec(localStorage.getItem(name))?.[1] ?? 0) });
    }
    copies.sort((a, b) => b.at - a.at);
    const oldest = Date.now() - DAYS * 86_400_000;
    copies.forEach(({ name, at }, place) => (at < oldest || place >= most) && localStorage.removeItem(name));
  } catch {
    // Blocked: nothing is stored.
  }
}
