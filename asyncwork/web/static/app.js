// Makes the pages live, gives them keys, toasts and progress. Without it everything works, a click further away.

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
// A row of a table is known by where it leads.
const keyOf = (node) => node.nodeName === "TR" ? one("a.main", node)?.getAttribute("href") : undefined;

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

// Live updates

const held = new Map();
let source = null, troubled = false;

// Nobody likes what he works with to move under his hands.
function inUse(section) {
  const selection = getSelection();
  return section.dataset.extended
    || (!selection.isCollapsed && selection.rangeCount && selection.getRangeAt(0).intersectsNode(section))
    || one("details.menu[open], dialog[open], input:checked, :is(input, select, textarea):not([type=checkbox]):focus", section);
}

function put(id, html) {
  const section = document.getElementById(id);
  if (!section || section.dataset.live === undefined) return;
  held.delete(id);
  if (inUse(section)) {
    held.set(id, html);
    return;
  }
  const fresh = section.cloneNode(false);
  fresh.innerHTML = html;
  freshen(fresh);
  morph(section, fresh);
  tally();
}

function tell(text) {
  banner.textContent = text;
  banner.hidden = !text;
  liveButton.dataset.state = text ? "away" : "";
}

function connect() {
  if (source || (paused() && !body.dataset.away) || document.hidden || !(one("[data-live]", main) || body.dataset.away)) return;
  const path = body.dataset.away ? "/periodic" : page;
  const current = source = new EventSource(`${root}/live?path=${encodeURIComponent(path)}&${location.search.slice(1)}`);
  current.addEventListener("blocks", (event) => {
    if (body.dataset.away) return location.reload();
    tell("");
    for (const [id, html] of Object.entries(JSON.parse(event.data).blocks)) put(id, html);
  });
  current.addEventListener("trouble", (event) => tell(`${JSON.parse(event.data).text} This page goes on by itself when it is back.`));
  current.addEventListener("end", disconnect);
  current.onerror = () => {
    if (current !== source) return;
    tell("The server of this page is out of reach. It goes on by itself when it is back.");
    if (current.readyState === EventSource.CLOSED) {
      disconnect();
      setTimeout(connect, 3000);
    }
  };
}

function disconnect() {
  source?.close();
  source = null;
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
  for (const [id, html] of [...held]) put(id, html);
}, 1000);

// Acts

async function post(url, values = {}) {
  const headers = { "content-type": "application/json", accept: "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(values) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `The server says ${response.status}.`);
  return answer;
}

async function load(url) {
  const response = await fetch(url, { headers: { accept: "text/html" } });
  if (response.status >= 500) throw new Error(`The server says ${response.status}.`);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  freshen(fresh);
  return fresh;
}

async function refresh() {
  const fresh = await load(location.href);
  held.clear();
  morph(main, one("#main", fresh));
  morph(one("#nav"), one("#nav", fresh));
  tally();
  attempt(lookFurther);
}

const WORDS = {
  retry: (count) => `${jobs(count)} put back on the queue.`,
  delete: (count) => `${jobs(count)} deleted.`,
  empty: (count) => `${jobs(count)} deleted.`,
  restore: (count) => count ? `${jobs(count)} restored.` : "It is too late to undo that.",
  pause: () => "The queue is paused.",
  unpause: () => "The queue runs again.",
  cap: () => "The limit is set.",
  forget: () => "The queue is forgotten.",
};
const wordOf = (url) => WORDS[new URL(url, location).pathname.split("/").pop()];

function toast(text, undo = [], wrong = false) {
  const element = make("div", "", wrong ? "toast wrong" : "toast"), toasts = one("#toasts");
  element.append(make("span", text));
  if (toasts.dataset.undo === undefined) undo = [];
  if (undo.length) {
    const button = make("button", "Undo");
    button.addEventListener("click", () => attempt(async () => {
      element.remove();
      let back = 0;
      for (const token of undo) back += (await post(`${root}/api/jobs/restore`, { undo: token })).done;
      toast(WORDS.restore(back));
      await refresh();
    }));
    element.append(button);
  }
  toasts.append(element);
  let left = undo.length || wrong ? 12 : 6;
  const timer = setInterval(() => {
    if (!element.matches(":hover, :focus-within") && --left < 0) {
      clearInterval(timer);
      element.remove();
    }
  }, 1000);
}

async function attempt(act) {
  try {
    return await act();
  } catch (error) {
    toast(error.message, [], true);
  }
}

async function act(form, button) {
  const url = button?.getAttribute("formaction") || form.getAttribute("action"), values = {};
  for (const [name, value] of new FormData(form, button)) {
    if (name !== "back") (values[name] ||= []).push(value);
  }
  if (form.id === "many" && !values.handle) return toast("Select some jobs first.");
  form.closest("details.menu")?.removeAttribute("open");
  const outcome = await post(url, values), dialog = form.closest("dialog");
  toast(wordOf(url)(outcome.done), outcome.undo ? [outcome.undo] : []);
  const row = all("main a.main").indexOf(one("a.main", button?.closest("tr") || form));
  for (const box of all("input[name=handle]:checked")) box.checked = false;
  dialog?.close();
  if (!dialog && form.closest(".confirm")) return location.assign(one(".cancel", form).href);
  form.closest(".note")?.remove();
  await refresh();
  // Where the row was that is gone, the next one is.
  if (document.activeElement === body && row >= 0) all("main a.main")[row]?.focus();
}

// All that match: counted, and then acted on, in slices.

async function countOn(box) {
  const text = one(".count", box);
  if (!text?.dataset.cursor) return;
  let { done, looked, total, cursor } = text.dataset;
  [done, looked, total] = [+done, +looked, +total];
  while (cursor && box.isConnected && !box.dataset.begun) {
    const slice = await post(text.dataset.count, { cursor });
    [done, looked, cursor] = [done + slice.done, looked + slice.looked, slice.cursor];
    const so = cursor ? `match so far; looked at ${number(looked)} of ${number(total)}` : done === 1 ? "matches" : "match";
    text.replaceChildren(make("b", jobs(done)), ` ${so}`);
    text.dataset.done = done;
    one("form button", box).disabled = !cursor && !done;
  }
}

async function actOnAll(form) {
  const box = form.closest(".confirm"), dialog = box.closest("dialog"), url = form.getAttribute("action");
  const progress = make("progress"), told = make("p"), stop = make("button", "Stop");
  const expected = +one(".count", box).dataset.done;
  let done = 0, cursor = "", stopped = false;
  const undo = [];
  box.dataset.begun = 1;
  stop.addEventListener("click", () => stopped = true);
  dialog?.addEventListener("cancel", (event) => { event.preventDefault(); stopped = true; });
  form.replaceWith(progress, told, stop);
  progress.max = Math.max(1, expected);
  progress.setAttribute("aria-label", "Progress");
  try {
    do {
      const slice = await post(url, cursor ? { cursor } : {});
      [done, cursor] = [done + slice.done, slice.cursor];
      if (slice.undo) undo.push(slice.undo);
      progress.value = done;
      told.textContent = `${number(done)} of ${cursor ? "about " : ""}${number(Math.max(done, expected))}`;
    } while (cursor && !stopped);
  } catch (error) {
    toast(error.message, [], true);
  }
  toast(`${wordOf(url)(done)}${stopped && cursor ? " Stopped." : ""}`, undo);
  if (!dialog) return location.assign(one(".cancel", form).href);
  dialog.close();
  await refresh();
}

async function ask(link) {
  const box = one(".confirm", await load(link.href));
  if (one("dialog:modal")) return;
  const dialog = make("dialog"), title = make("h2", "", "title");
  link.closest("details.menu")?.removeAttribute("open");
  title.append(...one("h1", box).childNodes);
  title.id = "asked";
  one("h1", box).replaceWith(title);
  dialog.setAttribute("aria-labelledby", "asked");
  dialog.append(document.adoptNode(box));
  dialog.addEventListener("close", () => dialog.remove());
  body.append(dialog);
  dialog.showModal();
  one(".cancel", dialog)?.focus();
  await countOn(box);
}

document.addEventListener("submit", (event) => {
  const form = event.target, button = event.submitter;
  if (form.matches(".filter")) {
    const empty = [...form.elements].filter((field) => field.name !== "error" && !field.value && !field.disabled);
    for (const field of empty) field.disabled = true;
    setTimeout(() => empty.forEach((field) => field.disabled = false));
  }
  if (form.dataset.act === undefined) return;
  event.preventDefault();
  const doing = attempt(() => form.dataset.sliced === undefined ? act(form, button) : actOnAll(form));
  if (!button) return;
  // Not before its name and value have been read.
  button.disabled = true;
  doing.finally(() => button.disabled = false);
});

document.addEventListener("click", (event) => {
  for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  const link = event.target.closest?.("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.matches("[data-dialog]")) {
    event.preventDefault();
    attempt(() => ask(link));
  } else if (link.matches("dialog .cancel")) {
    event.preventDefault();
    link.closest("dialog").close();
  }
});

// Ticks

function tally() {
  const form = one("#many");
  if (!form) return;
  const boxes = all("input[name=handle]"), ticked = boxes.filter((box) => box.checked).length, every = one("[data-every]", form);
  every.checked = ticked > 0 && ticked === boxes.length;
  every.indeterminate = ticked > 0 && ticked < boxes.length;
  one(".chosen", form).textContent = ticked ? `${number(ticked)} selected` : "Select all on this page";
  form.classList.add("js");
  form.classList.toggle("some", ticked > 0);
  for (const button of all("button", form)) button.disabled = !ticked;
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-every]")) for (const box of all("input[name=handle]")) box.checked = event.target.checked;
  if (event.target.matches("[data-every], input[name=handle]")) tally();
  if (event.target.matches(".filter select")) event.target.form.requestSubmit();
});

// A search that ended by its time goes on by itself, until a page is full.

async function lookFurther() {
  const list = one("#list"), enough = 25;
  if (!list || list.dataset.extended) return;
  for (let more; (more = one("a.more", list)) && all("tbody tr", list).length < enough && !paused();) {
    list.dataset.extended = 1;
    const fresh = one("#list", await load(more.href)), rows = one("tbody", list);
    if (rows && one("tbody", fresh)) {
      rows.append(...one("tbody", fresh).children);
      for (const kind of [".pager", ".looked"]) {
        const old = one(kind, list), next = one(kind, fresh);
        if (old && next) old.replaceWith(next);
        else old?.remove();
      }
    } else if (rows) {
      for (const kind of [".pager", ".looked"]) one(kind, list)?.replaceWith(...all(kind, fresh));
    } else {
      list.replaceChildren(...fresh.childNodes);
    }
    tally();
  }
}

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
    const link = one(`.nav a[data-key="${CSS.escape(key)}"]`);
    if (link) return link.click();
  }
  const keys = {
    "/": () => (one("main [data-search]") || one("#find")).focus(),
    "?": () => one("#help").togglePopover(),
    j: () => step(1),
    k: () => step(-1),
    l: () => liveButton.click(),
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
tally();
showPaused();
connect();
if (one("main .confirm")) attempt(() => countOn(one("main .confirm")));
attempt(lookFurther);
