// The next text is fetched while one still writes on this one, and put in its place without loading a page.
import { after, every } from "./timers.js";

const PAUSE = 1500; // ms after opening before anything else is asked for
const AGAIN = 60_000; // ms before trying again where it could not be fetched

// Fetches the page of the batch's next text. `page()` is { path, html } once it is here, else null.
export function ahead(address, token, signal) {
  let ready = null;
  let over = false; // there is none, or it is here

  function tell(state) {
    if (!signal.aborted) document.body.dataset.ahead = state;
  }

  async function look() {
    if (over || document.visibilityState !== "visible" || document.body.dataset.sending) return;
    try {
      const body = new URLSearchParams({ csrfmiddlewaretoken: token() });
      const taken = await fetch(address, { method: "POST", body, redirect: "manual", headers: { Accept: "application/json" }, signal });
      if (!taken.ok) return;
      const { url } = await taken.json();
      if (!url) {
        over = true;
        tell("none");
        return;
      }
      const page = new URL(url, location.href);
      page.searchParams.set("ahead", "1");
      const response = await fetch(page, { redirect: "manual", signal });
      if (!response.ok) return;
      ready = { path: page.pathname, html: await response.text() };
      over = true;
      tell("ready");
    } catch {
      // No network, or the page is left: the next text is then fetched when it is wanted.
    }
  }

  tell("");
  after(PAUSE, look, signal);
  every(AGAIN, look, signal);
  return { page: () => ready };
}

// Shows the page at `address`, in place where that can be done. Resolves to whether a text to review now stands here.
export async function go(address, { ready, token, notice, expires, leave }) {
  const target = new URL(address, location.href);
  try {
    const html = ready?.path === target.pathname ? ready.html : await fetchPage(target);
    const page = html && new DOMParser().parseFromString(html, "text/html");
    if (!page || !swappable(page)) throw new Error("not a page to put in place");
    const toReview = Boolean(page.getElementById("verdict")); // asked now: its nodes are about to move here
    leave();
    put(page, target, { token, expires });
    say(notice);
    return toReview;
  } catch {
    remember(notice);
    location.assign(target);
    return false;
  }
}

async function fetchPage(address) {
  const response = await fetch(address);
  return response.ok && new URL(response.url).pathname === address.pathname ? response.text() : null;
}

// A review page, or a page that needs no script and no style of its own.
function swappable(page) {
  const here = new Set([...document.querySelectorAll("script[src], link[rel=stylesheet]")].map((each) => each.getAttribute("src") ?? each.getAttribute("href")));
  const wanted = [...page.querySelectorAll("script[src], link[rel=stylesheet]")].map((each) => each.getAttribute("src") ?? each.getAttribute("href"));
  return page.getElementById("content") && wanted.every((each) => here.has(each));
}

function put(page, target, { token, expires }) {
  for (const field of page.querySelectorAll("[name=csrfmiddlewaretoken]")) field.value = token; // the page may be older than the session
  const lease = page.getElementById("lease");
  if (lease?.dataset.expires && expires) lease.dataset.expires = expires;
  const [old, fresh] = [document.getElementById("review"), page.getElementById("review")];
  const counts = document.getElementById("counts");
  if (old && fresh) {
    // What is live stays: the socket's element and the counts, which are newer here than in a page that was fetched some time ago.
    page.getElementById("counts")?.replaceWith(counts);
    old.replaceChildren(...fresh.childNodes);
    old.setAttribute("hx-get", fresh.getAttribute("hx-get"));
    window.htmx?.process(old);
  } else {
    document.getElementById("content").replaceChildren(...page.getElementById("content").childNodes);
  }
  document.title = page.title;
  history.pushState({}, "", target);
  window.scrollTo(0, 0);
  const heading = document.querySelector("#content h1");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
}

// One notice at the top, as the server's own pages show them.
export function say(notice) {
  document.querySelector(".messages")?.remove();
  if (!notice?.message) return;
  const list = document.createElement("ul");
  list.className = "messages";
  list.setAttribute("role", "status");
  document.getElementById("content").before(list);
  const item = document.createElement("li");
  item.className = `notice ${notice.level}`;
  item.textContent = notice.message;
  list.append(item);
}

const NOTICE = "touchstone.notice";

// For a page that the browser loads itself.
function remember(notice) {
  try {
    if (notice?.message) sessionStorage.setItem(NOTICE, JSON.stringify(notice));
  } catch {
    // Storage blocked: the notice is lost, the verdict is not.
  }
}

export function remembered() {
  try {
    const notice = JSON.parse(sessionStorage.getItem(NOTICE) ?? "null");
    sessionStorage.removeItem(NOTICE);
    return notice;
  } catch {
    return null;
  }
}
