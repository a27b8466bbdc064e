// Makes the pages live, and gives them keys. Without it everything works, a click further away.

const body = document.body, root = body.dataset.root, page = body.dataset.page;
const main = document.getElementById("main"), banner = document.getElementById("banner");
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const number = (value) => value.toLocaleString("en-US");
const jobs = (count) => `${number(count)} job${count === 1 ? "" : "s"}`;
const make = (name, text = "", kind = "") => Object.assign(document.createElement(name), { textContent: text, className: kind });

// Times: in the same words as display.py, and by the server's clock.

const skew = body.dataset.now * 1000 - Date.now();
const two = (value) => String(value).padStart(2, "0");

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${number(Math.floor(seconds / 86400))} d`;
}

function freshen(within = document) {
  const now = Math.round((Date.now() + skew) / 1000);
  for (const time of all("time[data-as]", within)) {
    const at = new Date(time.dateTime), away = Math.round(at / 1000) - now, kind = time.dataset.as;
    let words = away ? away > 0 ? `in ${span(away)}` : `${span(-away)} ago` : "now";
    if (kind === "for") words = span(Math.max(0, -away));
    if (kind === "clock" || kind === "at") words = `${two(at.getHours())}:${two(at.getMinutes())}`;
    if (kind === "at") words = `${at.toLocaleDateString("en-US", { month: "short", day: "numeric" })}, ${words}`;
    if (time.textContent !== words) time.textContent = words;
    if (!time.dataset.local) {
      time.dataset.local = 1;
      time.title = `${at.toLocaleString()}, here\n${time.title}`;
    }
  }
}

// Changes what is there into what should be there, and leaves alone what is the same: focus, ticks and folds stay.

const KEPT = ["open", "hidden"];
// A row of a table is known by where it leads; the end of a job's handle is a hint only, and changes as others go.
const keyOf = (node) => node.nodeName === "TR" ? node.id || one("a.main", node)?.getAttribute("href").replace(/(handle=[^&]*~)\d+/, "$1") : undefined;

function morph(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (!KEPT.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!KEPT.includes(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
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
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

// What was deleted in this tab, the last at the end: the tokens of each deletion.

async function post(url, values = {}) {
  const headers = { "content-type": "application/json", accept: "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(values) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `The server says ${response.status}.`);
  return answer;
}

const KEEP = `asyncwork.undo ${root}`;
const deletions = () => JSON.parse(sessionStorage.getItem(KEEP) || "[]");
const keep = (all) => sessionStorage.setItem(KEEP, JSON.stringify(all.slice(-20)));

// What actions.js does better, where it is loaded.
let tally = () => {}, toast = (text) => tell(text);
let afterUndo = (back) => location.assign(`${root}/deleted?done=restore&n=${back}`);

async function attempt(act) {
  try {
    return await act();
  } catch (error) {
    toast(error.message, [], true);
  }
}

async function undoIt(tokens) {
  let back = 0;
  for (const token of tokens) back += (await post(`${root}/api/jobs/restore`, { undo: token })).done;
  keep(deletions().filter((each) => each[0] !== tokens[0]));
  await afterUndo(back);
}

function undoLast() {
  const last = deletions().pop();
  if (last) return attempt(() => undoIt(last));
  location.assign(`${root}/deleted`);
}

// Live updates. A list holds still while somebody works with it: what has come waits, and a button says how much.

const held = new Map(), heard = new Map(), newsOf = new Map(), news = document.getElementById("news"), hovering = matchMedia("(hover: hover)");
const UNREACHED = "The server of this page is out of reach. It goes on by itself when it is back.";
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
let shownAt = Date.now(), heldAt = 0, pressed = false, lift = 0, missed = false, byKeys = false, moves = [], live = null, source = null;

// A click leaves the focus behind: it counts only for those who go on by the keyboard.
const aimedAt = (section) => (hovering.matches && section.matches(":hover")) || (byKeys && one(":focus", section));
const MOVING = "main [data-live]:not(.facts)";

function isRead(section) {
  const selection = getSelection();
  return section.dataset.extended
    || (!selection.isCollapsed && selection.rangeCount && selection.getRangeAt(0).intersectsNode(section))
    || one("details.menu[open], dialog[open], :is(input, select, textarea):not([type=checkbox]):focus", section);
}

// Nor may what stands above a list push it away.
function holdsStill(section) {
  return pressed || isRead(section) || one("input:checked", section) || (section.matches(MOVING)
    && all(MOVING).some((each) => (each === section || one("tbody", each) && section.compareDocumentPosition(each) & 4) && aimedAt(each)));
}

function put(id, html, now = false) {
  const section = document.getElementById(id);
  if (!section || section.dataset.live === undefined) return;
  const fresh = section.cloneNode(false);
  fresh.innerHTML = html;
  freshen(fresh);
  if (!now && holdsStill(section)) {
    heldAt ||= Date.now();
    held.set(id, html);
    // Between pressing and releasing nothing at all changes; it is looked at again then.
    if (!pressed) count(section, fresh);
    if (!pressed && !isRead(section)) calm(section, fresh);
  } else {
    held.delete(id);
    newsOf.delete(id);
    change(() => morph(section, fresh));
  }
  showNews();
  tally();
}

// Which jobs came and which went. What has only moved on to the next page, or come from there, is neither.
function count(section, fresh) {
  if (section.dataset.extended) return;
  const rows = all("tbody tr", section).filter(keyOf), old = rows.map(keyOf), now = all("tbody tr", fresh).map(keyOf).filter(Boolean);
  const goesOn = (within) => !!one("[rel=next]", within);
  const last = now.findLastIndex((key) => old.includes(key)), lastOld = old.findLastIndex((key) => now.includes(key));
  const come = now.filter((key, at) => !old.includes(key) && (at < last || last < 0 || !goesOn(section))).length;
  const gone = rows.filter((row, at) => !now.includes(old[at]) && (at < lastOld || !goesOn(fresh)));
  for (const row of rows) row.classList.toggle("gone", gone.includes(row));
  newsOf.set(section.id, [come, gone.length, come && goesOn(fresh) && (last < 0 || !goesOn(section) && last < now.length - 1)]);
}

// Changes words only: nothing moves, and what can be clicked stays what it is.
function calm(old, fresh) {
  if (old.nodeName === "TBODY") {
    const rows = new Map([...fresh.children].map((row) => [keyOf(row), row]));
    for (const row of old.children) if (keyOf(row) && rows.has(keyOf(row))) calm(row, rows.get(keyOf(row)));
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else if (old.childNodes.length === fresh.childNodes.length && !old.matches(".acts, button, .chart") && old.getAttribute("href") === fresh.getAttribute("href")) {
    [...old.childNodes].forEach((each, at) => each.nodeName === fresh.childNodes[at].nodeName && calm(each, fresh.childNodes[at]));
  }
}

function showNews() {
  let come = 0, gone = 0, more = false;
  for (const each of newsOf.values()) [come, gone, more] = [come + each[0], gone + each[1], more || each[2]];
  if (!held.size) [heldAt, shownAt] = [0, Date.now()];
  const words = [come && `${more ? "at least " : ""}${number(come)} new`, gone && `${number(gone)} gone`].filter(Boolean).join(", ");
  if (news.textContent !== words) news.textContent = words;
  news.hidden = !words;
}

function catchUp() {
  if (document.activeElement === news) main.focus();
  for (const [id, html] of [...held]) put(id, html, true);
}
news.addEventListener("click", catchUp);

// Whatever moves rows: where each was is remembered for as long as a hand needs to follow.
function change(act) {
  const rows = all("main tr").map((row) => [keyOf(row), row.getBoundingClientRect(), row]), top = scrollY;
  act();
  const still = rows.filter(([key, at, row]) => keyOf(row) === key && Math.abs(row.getBoundingClientRect().top + scrollY - at.top - top) < 2);
  moves = [...recentMoves(), { at: performance.now(), rows, top, still: still.map(([, , row]) => row) }];
}

const recentMoves = () => moves.filter(({ at }) => performance.now() - at <= 250);

function misses({ target, clientX: x, clientY }) {
  const row = target.closest?.("main tr");
  return !!row && recentMoves().some(({ rows, top, still }) => {
    const y = clientY + scrollY - top;
    const was = rows.find(([, at]) => at.left <= x && x < at.right && at.top <= y && y < at.bottom);
    return was && was[0] !== keyOf(row) && !still.includes(row);
  });
}

const press = () => { clearTimeout(lift); pressed = true; };
const release = () => {
  clearTimeout(lift);
  lift = setTimeout(() => {
    pressed = false;
    for (const [id, html] of [...held]) put(id, html);
  }, 100);
};
addEventListener("pointerdown", (event) => {
  press();
  byKeys = false;
  missed = misses(event);
}, true);
addEventListener("pointerup", release, true);
addEventListener("pointercancel", release, true);
addEventListener("keydown", (event) => {
  byKeys = true;
  if (event.key !== "Enter" && event.key !== " ") return;
  // A key that is held down would go on with the next job.
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
  toast("The list had just moved. Click again.");
}, true);

function tell(text) {
  if (banner.textContent === text) return;
  banner.textContent = text;
  banner.hidden = !text;
  liveButton.dataset.state = text ? "away" : "";
}

const liveUrl = (path) => `${root}${path}?path=${encodeURIComponent(body.dataset.away ? "/periodic" : page)}&${location.search.slice(1)}`;

// A browser has six connections to a server for all its tabs. One tab has a stream; the others ask now and then.
function connect() {
  if (live || (paused() && !body.dataset.away) || document.hidden || !(one("[data-live]", main) || body.dataset.away)) return;
  const current = live = new AbortController(), { signal } = current, locks = navigator.locks;
  locks?.request("asyncwork.live", { signal }, () => current === live && new Promise((done) => {
    signal.addEventListener("abort", done);
    stream(current);
  })).catch(() => {});
  setTimeout(() => poll(current), locks ? 300 : 0);
}

function hear({ kind, blocks, text }) {
  if (kind === "end") return disconnect();
  if (kind === "trouble") return tell(`${text} This page goes on by itself when it is back.`);
  if (body.dataset.away) return location.reload();
  tell("");
  for (const [id, html] of Object.entries(blocks)) {
    heard.set(id, { html, at: performance.now() });
    put(id, html);
  }
  if (!held.size) shownAt = Date.now();
}

function stream(current) {
  if (current !== live) return;
  const mine = source = new EventSource(liveUrl("/live"));
  for (const kind of ["blocks", "trouble", "end"]) {
    mine.addEventListener(kind, (event) => hear({ kind, ...JSON.parse(event.data) }));
  }
  mine.addEventListener("again", () => {
    mine.close();
    stream(current);
  });
  mine.onerror = () => {
    if (mine !== source) return;
    tell(UNREACHED);
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => mine === source && stream(current), 3000);
  };
}

async function poll(current) {
  const off = () => current !== live || source;
  for (let tag = "", rest; !off(); await sleep(rest)) {
    try {
      const answer = await fetch(liveUrl("/live/once"), { headers: { "if-none-match": tag }, signal: current.signal });
      if (!answer.ok) throw new Error();
      const look = await answer.json();
      if (off()) return;
      tag = look.tag || "";
      rest = look.rest * 1000;
      hear(look);
    } catch {
      if (off()) return;
      tell(UNREACHED);
      rest = 3000;
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
  tell("");
});
addEventListener("visibilitychange", () => document.hidden ? disconnect() : connect());
addEventListener("pagehide", disconnect);
addEventListener("pageshow", connect);
setInterval(() => {
  if (document.hidden) return;
  freshen();
  for (const [id, html] of [...held]) if (!holdsStill(document.getElementById(id) || main)) put(id, html);
  tally();
}, 1000);

// Charts: what is under the pointer is told above.

document.addEventListener("pointerover", (event) => {
  const column = event.target.closest?.(".hits i"), chart = event.target.closest?.(".chart");
  for (const other of all(".chart[data-told]")) if (other !== chart || !column) {
    one(".readout", other).textContent = other.dataset.told;
    delete other.dataset.told;
  }
  if (!column) return;
  const readout = one(".readout", chart), { start, step } = chart.dataset;
  const at = new Date((+start + [...column.parentElement.children].indexOf(column) * step) * 1000);
  chart.dataset.told ??= readout.textContent;
  if (step < 86400) column.title = column.title.replace(/^\S+/, `${two(at.getHours())}:${two(at.getMinutes())}:`);
  readout.textContent = column.title;
});

// Keys

let leading = 0;

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
  const led = Date.now() - leading < 1500;
  leading = key === "g" ? Date.now() : 0;
  if (led) {
    const link = one(`a[data-key="${CSS.escape(key)}"]`);
    if (link) return link.click();
  }
  const keys = {
    "/": () => (one("main [data-search]") || one("#find")).focus(),
    "?": () => one("#help").togglePopover(),
    j: () => step(1),
    k: () => step(-1),
    l: () => liveButton.click(),
    n: catchUp,
    u: undoLast,
    x: () => one("input[name=handle]", document.activeElement.closest("tr") || make("i"))?.click(),
  };
  if (Object.hasOwn(keys, key)) {
    event.preventDefault();
    keys[key]();
  }
});

// The note on what has just been done is not to be there again when the page is reloaded.
const url = new URL(location);
if (url.searchParams.has("done")) {
  const query = url.search.slice(1).split("&").filter((pair) => !/^(done|n|undo)=/.test(pair)).join("&");
  history.replaceState(null, "", url.pathname + (query && `?${query}`));
}
freshen();
showPaused();
connect();
