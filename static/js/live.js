// Keeps a page true while things change: a socket says when to look again; without one the page looks by itself.
const root = document.querySelector("[data-live]");
const WITH_SOCKET = 60_000; // ms between looks while the socket is open: nothing should depend on a message that got lost
const WITHOUT = 12_000;
const AT_MOST = 1_000; // one look a second, however many messages come

let socket = null;
let tries = 0;
let lastLook = Date.now();
let waiting = 0;

function look() {
  if (waiting) return;
  waiting = setTimeout(() => {
    waiting = 0;
    lastLook = Date.now();
    if (document.visibilityState === "visible") window.htmx.trigger(root, "refresh");
  }, Math.max(0, lastLook + AT_MOST - Date.now()));
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}${root.dataset.live}`);
  socket.addEventListener("open", () => {
    // What changed while nobody listened is fetched now.
    if (tries) look();
    tries = 0;
    document.body.dataset.socket = "open";
  });
  socket.addEventListener("message", look);
  socket.addEventListener("close", () => {
    document.body.dataset.socket = "closed";
    tries += 1;
    setTimeout(connect, Math.min(30_000, 500 * 2 ** tries));
  });
}

connect();
setInterval(() => {
  const every = socket?.readyState === WebSocket.OPEN ? WITH_SOCKET : WITHOUT;
  if (Date.now() - lastLook >= every) look();
}, 2000);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && look());

// A refresh must not shut what the reader has opened, nor take the focus away, nor touch what has not changed.
const bare = (html) => html.replace(/name="csrfmiddlewaretoken" value="[^"]*"/g, "").replace(/ (class|hx-swap-oob|open)="[^"]*"/g, "").replace(/\s+/g, " ");
document.body.addEventListener("htmx:oobBeforeSwap", (event) => {
  const { target, fragment } = event.detail;
  const fresh = fragment.querySelector(`#${target.id}`) ?? fragment.firstElementChild;
  if (!fresh) return;
  if (bare(target.innerHTML) === bare(fresh.innerHTML)) {
    event.detail.shouldSwap = false;
    return;
  }
  for (const opened of target.querySelectorAll("details[open][id]")) fresh.querySelector(`#${opened.id}`)?.setAttribute("open", "");
  const focused = target.contains(document.activeElement) && document.activeElement.id;
  if (focused) requestAnimationFrame(() => document.getElementById(focused)?.focus());
});

// Said aloud only when the words change.
const announcer = document.getElementById("announce");
let said = document.getElementById("state-words")?.textContent.trim();
document.body.addEventListener("htmx:oobAfterSwap", () => {
  const now = document.getElementById("state-words")?.textContent.trim();
  if (announcer && now && now !== said) announcer.textContent = now;
  said = now;
});
