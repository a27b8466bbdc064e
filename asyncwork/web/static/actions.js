// Acts without leaving the page, toasts, ticks and progress, for pages where something can be done. It follows app.js,
// in one module with it.

// Acts

async function load(url) {
  const response = await fetch(url, { headers: { accept: "text/html" } });
  if (response.status >= 500) throw new Error(`The server says ${response.status}.`);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  freshen(fresh);
  return fresh;
}

let refreshes = 0;

async function refresh() {
  const mine = ++refreshes;
  let began, fresh;
  do {
    while (pressed) await sleep(20);
    began = performance.now();
    fresh = await load(location.href);
  } while (pressed);
  if (mine !== refreshes) return;
  held.clear();
  newsOf.clear();
  change(() => {
    morph(main, one("#main", fresh));
    morph(one("#nav"), one("#nav", fresh));
  });
  // What was heard since is newer, and is not told again.
  for (const [id, { html, at }] of heard) if (at > began) put(id, html, true);
  showNews();
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

afterUndo = (back) => {
  toast(WORDS.restore(back));
  return refresh();
};

toast = (text, undo = [], wrong = false) => {
  const element = make("div", "", wrong ? "toast wrong" : "toast"), toasts = one("#toasts");
  element.append(make("span", text));
  if (undo.length) keep([...deletions(), undo]);
  if (toasts.dataset.undo === undefined) undo = [];
  if (undo.length) {
    const button = make("button", "Undo");
    button.addEventListener("click", () => {
      element.remove();
      attempt(() => undoIt(undo));
    });
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
};

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

tally = () => {
  const form = one("#many");
  if (!form) return;
  const boxes = all("input[name=handle]"), ticked = boxes.filter((box) => box.checked).length, every = one("[data-every]", form);
  every.checked = ticked > 0 && ticked === boxes.length;
  every.indeterminate = ticked > 0 && ticked < boxes.length;
  one(".chosen", form).textContent = ticked ? `${number(ticked)} selected` : "Select all on this page";
  const old = Math.round((Date.now() - (held.has("list") ? heldAt : live ? Date.now() : shownAt)) / 1000);
  one(".age", form).textContent = ticked ? old > 0 ? `list ${span(old)} old` : "list up to date" : "";
  form.classList.add("js");
  form.classList.toggle("some", ticked > 0);
  for (const button of all("button", form)) button.disabled = !ticked;
};

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

tally();
if (one("main .confirm")) attempt(() => countOn(one("main .confirm")));
attempt(lookFurther);
