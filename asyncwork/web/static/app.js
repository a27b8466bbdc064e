// Live updates and keyboard shortcuts. The pages also work without it.

const body = document.body, root = body.dataset.root, page = body.dataset.page;
const main = document.getElementById("main"), banner = document.getElementById("banner");
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const number = (value) => value.toLocaleString("en-US");
const jobs = (count) => `${number(count)} job${count === 1 ? "" : "s"}`;
const make = (name, text = "", kind = "") => Object.assign(document.createElement(name), { textContent: text, className: kind });

// Times, formatted as in formatting.py and based on the server's clock.

const clockOffset = body.dataset.now * 1000 - Date.now();
const pad = (value) => String(value).padStart(2, "0");

function duration(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${number(Math.floor(seconds / 86400))} d`;
}

function updateTimes(within = document) {
  const now = Math.round((Date.now() + clockOffset) / 1000);
  for (const time of all("time[data-as]", within)) {
    const at = new Date(time.dateTime), away = Math.round(at / 1000) - now, kind = time.dataset.as;
    let words = away ? away > 0 ? `in ${duration(away)}` : `${duration(-away)} ago` : "now";
    if (kind === "for") words = duration(Math.max(0, -away));
    if (kind === "clock" || kind === "at") words = `${pad(at.getHours())}:${pad(at.getMinutes())}`;
    if (kind === "at") words = `${at.toLocaleDateString("en-US", { month: "short", day: "numeric" })}, ${words}`;
    if (time.textContent !== words) time.textContent = words;
    if (!time.dataset.local) {
      time.dataset.local = 1;
      time.title = `${at.toLocaleString()} local time\n${time.title}`;
    }
  }
}

// Updates the DOM in place. Unchanged nodes stay, and with them the focus, the selection and open details.

const KEPT_ATTRIBUTES = ["open", "hidden"];
// A table row is identified by its link. The last number of a job's ref is only a hint and changes with other jobs.
const keyOf = (node) => node.nodeName === "TR" ? node.id || one("a.main", node)?.getAttribute("href").replace(/(ref=[^&]*~)\d+/, "$1") : undefined;

function morph(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (!KEPT_ATTRIBUTES.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!KEPT_ATTRIBUTES.includes(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  const rows = new Map([...old.children].map((each) => [keyOf(each), each]));
  let at = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const key = keyOf(next), match = key ? rows.get(key) : at;
    if (!match || match.nodeName !== next.nodeName || keyOf(match) !== key) {
      old.insertBefore(next, at);
      continue;
    }
    rows.delete(key);
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    if (match.nodeType === Node.ELEMENT_NODE) morph(match, next);
    else if (match.data !== next.data) match.data = next.data;
  }
  while (at) {
    const stale = at;
    at = at.nextSibling;
    stale.remove();
  }
}

// Requests, and the undo tokens of this tab's deletions, the latest last.

async function post(url, values = {}) {
  const headers = { "content-type": "application/json", accept: "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(values) });
  const result = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(result.error || `The server responded with status ${response.status}.`);
  return result;
}

const UNDO_KEY = `asyncwork.undo ${root}`;
const deletions = () => JSON.parse(sessionStorage.getItem(UNDO_KEY) || "[]");
const saveDeletions = (all) => sessionStorage.setItem(UNDO_KEY, JSON.stringify(all.slice(-20)));

// Replaced by actions.js where it is loaded.
let updateSelection = () => {}, toast = (text) => showBanner(text);
let afterUndo = (restored) => location.assign(`${root}/deleted?done=restore&n=${restored}`);

async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    toast(error.message, [], true);
  }
}

async function undoDeletion(tokens) {
  let restored = 0;
  for (const token of tokens) restored += (await post(`${root}/api/jobs/restore`, { undo: token })).done;
  saveDeletions(deletions().filter((each) => each[0] !== tokens[0]));
  await afterUndo(restored);
}

function undoLast() {
  const last = deletions().pop();
  if (last) return attempt(() => undoDeletion(last));
  location.assign(`${root}/deleted`);
}

// Live updates. A list does not change while the user works with it: updates wait, and a button shows their number.

const pending = new Map(), received = new Map(), changes = new Map(), updatesButton = document.getElementById("updates"), hovering = matchMedia("(hover: hover)");
const UNREACHABLE = "The server of this page cannot be reached. The page reconnects on its own.";
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
let updatedAt = Date.now(), pendingSince = 0, pressed = false, releaseTimer = 0, missed = false, usesKeyboard = false, moves = [], live = null, source = null, shown = body.dataset.read;

// The focus counts only for keyboard users, because a click leaves it behind.
const isTargeted = (section) => (hovering.matches && section.matches(":hover")) || (usesKeyboard && one(":focus", section));
const MOVABLE = "main [data-live]:not(.facts)";

function isInUse(section) {
  const selection = getSelection();
  return section.dataset.extended
    || (!selection.isCollapsed && selection.rangeCount && selection.getRangeAt(0).intersectsNode(section))
    || one("details.menu[open], dialog[open], :is(input, select, textarea):not([type=checkbox]):focus", section);
}

// Sections above a list must not move it either.
function isFrozen(section) {
  return pressed || isInUse(section) || one("input:checked", section) || (section.matches(MOVABLE)
    && all(MOVABLE).some((each) => (each === section || one("tbody", each) && section.compareDocumentPosition(each) & 4) && isTargeted(each)));
}

function applySection(id, html, now = false) {
  const section = document.getElementById(id);
  if (!section || section.dataset.live === undefined) return;
  const fresh = section.cloneNode(false);
  fresh.innerHTML = html;
  updateTimes(fresh);
  if (!now && isFrozen(section)) {
    pendingSince ||= Date.now();
    pending.set(id, html);
    // While a button or key is pressed nothing changes; its release applies the pending updates.
    if (!pressed) countChanges(section, fresh);
    if (!pressed && !isInUse(section)) updateText(section, fresh);
  } else {
    pending.delete(id);
    changes.delete(id);
    moveRows(() => morph(section, fresh));
  }
  showUpdates();
  updateSelection();
}

// Counts new and removed jobs. Jobs that only moved to or from the next page are neither.
function countChanges(section, fresh) {
  if (section.dataset.extended) return;
  const rows = all("tbody tr", section).filter(keyOf), old = rows.map(keyOf), now = all("tbody tr", fresh).map(keyOf).filter(Boolean);
  const hasNext = (within) => !!one("[rel=next]", within);
  const last = now.findLastIndex((key) => old.includes(key)), lastOld = old.findLastIndex((key) => now.includes(key));
  const added = now.filter((key, at) => !old.includes(key) && (at < last || last < 0 || !hasNext(section))).length;
  const removed = rows.filter((row, at) => !now.includes(old[at]) && (at < lastOld || !hasNext(fresh)));
  for (const row of rows) row.classList.toggle("gone", removed.includes(row));
  changes.set(section.id, [added, removed.length, added && hasNext(fresh) && (last < 0 || !hasNext(section) && last < now.length - 1)]);
}

// Updates text only: nothing moves, and links and buttons stay the same.
function updateText(old, fresh) {
  if (old.nodeName === "TBODY") {
    const rows = new Map([...fresh.children].map((row) => [keyOf(row), row]));
    for (const row of old.children) if (keyOf(row) && rows.has(keyOf(row))) updateText(row, rows.get(keyOf(row)));
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else if (old.childNodes.length === fresh.childNodes.length && !old.matches(".actions, button, .chart") && old.getAttribute("href") === fresh.getAttribute("href")) {
    [...old.childNodes].forEach((each, at) => each.nodeName === fresh.childNodes[at].nodeName && updateText(each, fresh.childNodes[at]));
  }
}

function showUpdates() {
  let added = 0, removed = 0, more = false;
  for (const each of changes.values()) [added, removed, more] = [added + each[0], removed + each[1], more || each[2]];
  if (!pending.size) [pendingSince, updatedAt] = [0, Date.now()];
  const words = [added && `${more ? "at least " : ""}${number(added)} new`, removed && `${number(removed)} gone`].filter(Boolean).join(", ");
  if (updatesButton.textContent !== words) updatesButton.textContent = words;
  updatesButton.hidden = !words;
}

function applyPending() {
  if (document.activeElement === updatesButton) main.focus();
  for (const [id, html] of [...pending]) applySection(id, html, true);
}
updatesButton.addEventListener("click", applyPending);

// Runs a function that moves rows, and records their old positions, so that `misses` can detect a click on a row that
// has just moved.
function moveRows(update) {
  const rows = all("main tr").map((row) => [keyOf(row), row.getBoundingClientRect(), row]), top = scrollY;
  update();
  const unmoved = rows.filter(([key, at, row]) => keyOf(row) === key && Math.abs(row.getBoundingClientRect().top + scrollY - at.top - top) < 2);
  moves = [...recentMoves(), { at: performance.now(), rows, top, unmoved: unmoved.map(([, , row]) => row) }];
}

const recentMoves = () => moves.filter(({ at }) => performance.now() - at <= 250);

function misses({ target, clientX: x, clientY }) {
  const row = target.closest?.("main tr");
  return !!row && recentMoves().some(({ rows, top, unmoved }) => {
    const y = clientY + scrollY - top;
    const was = rows.find(([, at]) => at.left <= x && x < at.right && at.top <= y && y < at.bottom);
    return was && was[0] !== keyOf(row) && !unmoved.includes(row);
  });
}

const press = () => { clearTimeout(releaseTimer); pressed = true; };
const release = () => {
  clearTimeout(releaseTimer);
  releaseTimer = setTimeout(() => {
    pressed = false;
    for (const [id, html] of [...pending]) applySection(id, html);
  }, 100);
};
addEventListener("pointerdown", (event) => {
  press();
  usesKeyboard = false;
  missed = misses(event);
}, true);
addEventListener("pointerup", release, true);
addEventListener("pointercancel", release, true);
addEventListener("keydown", (event) => {
  usesKeyboard = true;
  if (event.key !== "Enter" && event.key !== " ") return;
  // A repeating key would go on to act on the next job.
  if (event.repeat && event.target.matches("main :is(a, button, summary)")) event.preventDefault();
  press();
}, true);
addEventListener("keyup", release, true);
addEventListener("blur", release);
document.addEventListener("click", (event) => {
  if (!event.detail || !missed) return;
  missed = false;
  event.preventDefault();
  event.stopImmediatePropagation();
  toast("The list has just moved. Click again.");
}, true);

function showBanner(text) {
  if (banner.textContent === text) return;
  banner.textContent = text;
  banner.hidden = !text;
  liveButton.dataset.state = text ? "unavailable" : "";
}

const liveUrl = (path) => `${root}${path}?path=${encodeURIComponent(body.dataset.unavailable ? "/periodic" : page)}&${location.search.slice(1)}`;

// A browser opens at most six connections to a server for all its tabs. So one tab has a stream, and the others poll.
function connect() {
  if (live || (paused() && !body.dataset.unavailable) || document.hidden || !(one("[data-live]", main) || body.dataset.unavailable)) return;
  const current = live = new AbortController(), { signal } = current, locks = navigator.locks;
  locks?.request("asyncwork.live", { signal }, () => current === live && new Promise((done) => {
    signal.addEventListener("abort", done);
    stream(current);
  })).catch(() => {});
  setTimeout(() => poll(current), locks ? 300 : 0);
}

// Whether a state was read before another one, if the same server process has read both.
function isOlder(read, other) {
  const [server, at] = read.split(" "), [otherServer, otherAt] = other.split(" ");
  return server === otherServer && +at < +otherAt;
}

function receive({ kind, sections, text, read }) {
  if (kind === "end") return disconnect();
  if (kind === "unavailable") return showBanner(`${text} This page updates again as soon as it is back.`);
  if (body.dataset.unavailable) return location.reload();
  showBanner("");
  for (const [id, html] of Object.entries(sections)) {
    // A state from before an action of the user may arrive after the page that shows its effect.
    if (isOlder(read, shown)) continue;
    received.set(id, { html, read, at: performance.now() });
    applySection(id, html);
  }
  if (!pending.size) updatedAt = Date.now();
}

function stream(current) {
  if (current !== live) return;
  const mine = source = new EventSource(liveUrl("/live"));
  for (const kind of ["sections", "unavailable", "end"]) {
    mine.addEventListener(kind, (event) => receive({ kind, ...JSON.parse(event.data) }));
  }
  mine.addEventListener("reconnect", () => {
    mine.close();
    stream(current);
  });
  mine.onerror = () => {
    if (mine !== source) return;
    showBanner(UNREACHABLE);
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => mine === source && stream(current), 3000);
  };
}

async function poll(current) {
  const stopped = () => current !== live || source;
  for (let tag = "", pause; !stopped(); await sleep(pause)) {
    try {
      const response = await fetch(liveUrl("/live/poll"), { headers: { "if-none-match": tag }, signal: current.signal });
      if (!response.ok) throw new Error();
      const update = await response.json();
      if (stopped()) return;
      tag = update.tag || "";
      pause = update.pause * 1000;
      receive(update);
    } catch {
      if (stopped()) return;
      showBanner(UNREACHABLE);
      pause = 3000;
    }
  }
}

function disconnect() {
  live?.abort();
  source?.close();
  live = source = null;
}

const liveButton = document.getElementById("live");
const paused = () => localStorage.getItem("asyncwork.paused") === "1";

function showPaused() {
  liveButton.setAttribute("aria-pressed", !paused());
  liveButton.lastElementChild.textContent = paused() ? "Paused" : "Live";
}

liveButton.hidden = false;
liveButton.addEventListener("click", () => {
  localStorage.setItem("asyncwork.paused", paused() ? "0" : "1");
  showPaused();
  if (!paused()) return connect();
  disconnect();
  showBanner("");
});
addEventListener("visibilitychange", () => document.hidden ? disconnect() : connect());
addEventListener("pagehide", disconnect);
addEventListener("pageshow", connect);
setInterval(() => {
  if (document.hidden) return;
  updateTimes();
  for (const [id, html] of [...pending]) if (!isFrozen(document.getElementById(id) || main)) applySection(id, html);
  updateSelection();
}, 1000);

// Charts show the values under the pointer above the chart.

document.addEventListener("pointerover", (event) => {
  const column = event.target.closest?.(".hits i"), chart = event.target.closest?.(".chart");
  for (const other of all(".chart[data-summary]")) if (other !== chart || !column) {
    one(".readout", other).textContent = other.dataset.summary;
    delete other.dataset.summary;
  }
  if (!column) return;
  const readout = one(".readout", chart), { start, step } = chart.dataset;
  const at = new Date((+start + [...column.parentElement.children].indexOf(column) * step) * 1000);
  chart.dataset.summary ??= readout.textContent;
  if (step < 86400) column.title = column.title.replace(/^\S+/, `${pad(at.getHours())}:${pad(at.getMinutes())}:`);
  readout.textContent = column.title;
});

// Keyboard shortcuts

let prefixPressedAt = 0;

function step(by) {
  const links = all("main a.main"), current = document.activeElement.closest("tr");
  const at = links.findIndex((link) => current?.contains(link));
  links[Math.max(0, Math.min(links.length - 1, at < 0 ? by > 0 ? 0 : links.length - 1 : at + by))]?.focus();
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || one("dialog:modal")) return;
  if (key === "Escape" && target.matches("input")) return target.blur();
  if (target.matches("input:not([type=checkbox]), select, textarea")) return;
  const hasPrefix = Date.now() - prefixPressedAt < 1500;
  prefixPressedAt = key === "g" ? Date.now() : 0;
  if (hasPrefix) {
    const link = one(`a[data-key="${CSS.escape(key)}"]`);
    if (link) return link.click();
  }
  const keys = {
    "/": () => (one("main [data-search]") || one("#find")).focus(),
    "?": () => one("#help").togglePopover(),
    j: () => step(1),
    k: () => step(-1),
    l: () => liveButton.click(),
    n: applyPending,
    u: undoLast,
    x: () => one("input[name=ref]", document.activeElement.closest("tr") || make("i"))?.click(),
  };
  if (Object.hasOwn(keys, key)) {
    event.preventDefault();
    keys[key]();
  }
});

// Remove the message about a finished action from the URL, so that a reload does not show it again.
const url = new URL(location);
if (url.searchParams.has("done")) {
  const query = url.search.slice(1).split("&").filter((pair) => !/^(done|n|undo|job)=/.test(pair)).join("&");
  history.replaceState(null, "", url.pathname + (query && `?${query}`));
}
updateTimes();
showPaused();
connect();
