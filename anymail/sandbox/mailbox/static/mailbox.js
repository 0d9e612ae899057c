// Everything works without this. It keeps pages up to date, and knows some keys.
"use strict";

// -- Live: parts with data-live are replaced by those of the same page, asked for again ----------

let loading = false;
let changed = false;

async function update() {
  if (loading) {
    changed = true;
    return;
  }
  loading = true;
  do {
    changed = false;
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (response.status === 404) {
        location.assign("/");
        return;
      }
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      document.querySelectorAll("[data-live]").forEach((old) => {
        const now = page.getElementById(old.id);
        if (now) replace(old, now);
      });
      if (page.title) document.title = page.title;
      document.body.dataset.version = page.body.dataset.version;
    } catch {
      // The sandbox has stopped. It may come back.
    }
  } while (changed);
  loading = false;
}

// As they came: what is there now can have been opened, or marked as new.
const sources = new Map();
document.querySelectorAll("[data-live]").forEach((item) => sources.set(item.id, item.innerHTML));

function replace(old, now) {
  for (const { name, value } of now.attributes) old.setAttribute(name, value);
  if (sources.get(old.id) === now.innerHTML) return; // Replacing it could lose a click.
  sources.set(old.id, now.innerHTML);
  const open = new Map([...old.querySelectorAll("details[id]")].map((item) => [item.id, item.open]));
  now.querySelectorAll("details[id]").forEach((item) => {
    if (open.has(item.id)) item.open = open.get(item.id);
  });
  const known = new Set([...old.querySelectorAll("[data-message]")].map((row) => row.dataset.message));
  const focused = old.contains(document.activeElement) && document.activeElement.getAttribute("href");
  const scroller = old.scrollTop ? old : document.scrollingElement;
  const read = scroller.scrollTop && [...old.querySelectorAll("[data-message]")].find(
    (row) => row.getBoundingClientRect().bottom > Math.max(0, old.getBoundingClientRect().top),
  );
  const place = read && read.getBoundingClientRect().top;
  old.innerHTML = now.innerHTML;
  if (known.size) {
    old.querySelectorAll("[data-message]").forEach((row) => {
      row.classList.toggle("new", !known.has(row.dataset.message));
    });
  }
  // What is read stays where it is.
  const same = read && old.querySelector(`[data-message="${read.dataset.message}"]`);
  if (same) scroller.scrollTop += same.getBoundingClientRect().top - place;
  if (focused) old.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

let events = null;

// A hidden page gives its connection to others: browsers make only a few to a server.
function listen() {
  if ("frozen" in document.body.dataset) return; // the answer to a form, which has no address
  if (document.hidden) {
    events?.close();
    events = null;
  } else if (!events) {
    events = new EventSource(`/_sandbox/live?since=${document.body.dataset.version}`);
    events.addEventListener("change", update);
  }
}

document.addEventListener("visibilitychange", listen);
addEventListener("pagehide", () => {
  events?.close();
  events = null;
});
addEventListener("pageshow", listen);

// -- Keys --------------------------------------------------------------------------------------

const current = () => document.querySelector(".rows [aria-current]");

function step(direction) {
  const rows = [...document.querySelectorAll(".rows [data-message] a")];
  const at = rows.indexOf(current());
  const next = at < 0 ? rows[0] : rows[at + direction];
  const page = document.querySelector(direction > 0 ? "[data-older]" : "[data-newer]");
  (next ?? page)?.click();
}

const keys = {
  j: () => step(1),
  k: () => step(-1),
  "/": () => document.querySelector("[data-search]").select(),
  u: () => location.assign(document.querySelector(".back")?.href ?? "/"),
  "?": () => document.getElementById("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, textarea, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const tab = /^[1-9]$/.test(event.key) && document.querySelectorAll(".tabs a")[event.key - 1];
  const action = tab ? () => tab.click() : keys[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});

// -- The rest ----------------------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
document.querySelector("[data-filter]").addEventListener("change", (event) => event.target.form.requestSubmit());
current()?.scrollIntoView({ block: "nearest" });
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
