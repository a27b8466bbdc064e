// Actions without leaving the page: messages, selection and progress. It is appended to app.js to form one module.

// Actions

async function load(url) {
  const response = await fetch(url, { headers: { accept: "text/html" } });
  if (response.status >= 500) throw new Error(`The server responded with status ${response.status}.`);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  updateTimes(fresh);
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
  pending.clear();
  changes.clear();
  moveRows(() => {
    morph(main, one("#main", fresh));
    morph(one("#nav"), one("#nav", fresh));
  });
  shown = fresh.body.dataset.read;
  // Sections that arrived since the request, unless they were read before it: the server will not send them again.
  for (const [id, { html, read, at }] of received) if (at > began && !isOlder(read, shown)) applySection(id, html, true);
  showUpdates();
  updateSelection();
  attempt(continueSearch);
}

// The texts come from labels.py.
const MESSAGES = JSON.parse(one("#toasts").dataset.messages);
const message = (action, count) => ((!count && MESSAGES[`${action}_none`]) || MESSAGES[action]).replace("{}", jobs(count));
const actionOf = (url) => {
  const [kind, action] = new URL(url, location).pathname.split("/").slice(-2);
  return { periodic: `${action}_periodic`, batches: `${action}_batch` }[kind] || action;
};

afterUndo = (restored) => {
  toast(message("restore", restored));
  return refresh();
};

// The address of the page of the only job of an action; a deleted job has none.
function pageOf(url, values, result) {
  if (result.job_id) return `${root}/jobs/${encodeURIComponent(result.job_id)}`;
  const id = values.id?.[0] || new URL(url, location).searchParams.get("id");
  return id && ["retry", "cancel"].includes(actionOf(url)) ? `${root}/jobs/${encodeURIComponent(id)}` : "";
}

toast = (text, undo = [], isError = false, href = "") => {
  const element = make("div", "", isError ? "toast wrong" : "toast"), toasts = one("#toasts");
  element.append(make("span", text));
  if (href && href !== location.pathname) {
    const link = make("a", "Show the job");
    link.href = href;
    element.append(link);
  }
  if (undo.length) saveDeletions([...deletions(), undo]);
  if (toasts.dataset.undo === undefined) undo = [];
  if (undo.length) {
    const button = make("button", "Undo");
    button.addEventListener("click", () => {
      element.remove();
      attempt(() => undoDeletion(undo));
    });
    element.append(button);
  }
  toasts.append(element);
  let left = undo.length || isError ? 12 : 6;
  const timer = setInterval(() => {
    if (!element.matches(":hover, :focus-within") && --left < 0) {
      clearInterval(timer);
      element.remove();
    }
  }, 1000);
};

async function submitAction(form, button) {
  const url = button?.getAttribute("formaction") || form.getAttribute("action"), values = {};
  for (const [name, value] of new FormData(form, button)) {
    if (name !== "back") (values[name] ||= []).push(value);
  }
  if (form.id === "many" && !values.ref) return toast("Select some jobs first.");
  for (const menu of [form.closest("details.menu"), button?.closest("details.menu")]) menu?.removeAttribute("open");
  const result = await post(url, values), dialog = form.closest("dialog");
  if (form.dataset.leave !== undefined) {
    // The page of what was removed is gone, so that the next page shows the message.
    const next = one(".cancel", form).href;
    return location.assign(`${next}${next.includes("?") ? "&" : "?"}done=${actionOf(url)}&n=${result.done}`);
  }
  toast(message(actionOf(url), result.done), result.undo ? [result.undo] : [], false, pageOf(url, values, result));
  const row = all("main a.main").indexOf(one("a.main", button?.closest("tr") || form));
  for (const box of all("input[name=ref]:checked")) box.checked = false;
  dialog?.close();
  if (!dialog && form.closest(".confirm")) return location.assign(one(".cancel", form).href);
  form.closest(".flash")?.remove();
  await refresh();
  // Focus the row that took the place of the removed one.
  if (document.activeElement === body && row >= 0) all("main a.main")[row]?.focus();
}

// Actions on all matching jobs. Counting and the action both run in slices.

async function continueCount(box) {
  const text = one(".count", box);
  if (!text?.dataset.cursor) return;
  let { done, looked, total, cursor } = text.dataset;
  [done, looked, total] = [+done, +looked, +total];
  while (cursor && box.isConnected && !box.dataset.started) {
    const slice = await post(text.dataset.count, { cursor });
    [done, looked, cursor] = [done + slice.done, looked + slice.looked, slice.cursor];
    const status = cursor ? `match so far; checked ${number(looked)} of ${number(total)}` : done === 1 ? "matches" : "match";
    text.replaceChildren(make("b", jobs(done)), ` ${status}`);
    text.dataset.done = done;
    one("form button", box).disabled = !cursor && !done;
  }
}

async function actOnAll(form) {
  const box = form.closest(".confirm"), dialog = box.closest("dialog"), url = form.getAttribute("action");
  const progress = make("progress"), status = make("p"), stop = make("button", "Stop");
  const expected = +one(".count", box).dataset.done, values = {};
  for (const [name, value] of new FormData(form)) if (name !== "back") values[name] = value;
  let done = 0, cursor = "", stopped = false;
  const undo = [];
  box.dataset.started = 1;
  stop.addEventListener("click", () => stopped = true);
  dialog?.addEventListener("cancel", (event) => { event.preventDefault(); stopped = true; });
  form.replaceWith(progress, status, stop);
  progress.max = Math.max(1, expected);
  progress.setAttribute("aria-label", "Progress");
  try {
    do {
      const slice = await post(url, cursor ? { ...values, cursor } : values);
      [done, cursor] = [done + slice.done, slice.cursor];
      if (slice.undo) undo.push(slice.undo);
      progress.value = done;
      status.textContent = `${number(done)} of ${cursor ? "about " : ""}${number(Math.max(done, expected))}`;
    } while (cursor && !stopped);
  } catch (error) {
    toast(error.message, [], true);
  }
  toast(`${message(actionOf(url), done)}${stopped && cursor ? " Stopped." : ""}`, undo);
  if (!dialog) return location.assign(one(".cancel", form).href);
  dialog.close();
  await refresh();
}

async function openDialog(link) {
  const box = one(".confirm", await load(link.href));
  if (one("dialog:modal")) return;
  const dialog = make("dialog"), title = make("h2", "", "title");
  link.closest("details.menu")?.removeAttribute("open");
  title.append(...one("h1", box).childNodes);
  title.id = "dialog-title";
  one("h1", box).replaceWith(title);
  dialog.setAttribute("aria-labelledby", "dialog-title");
  dialog.append(document.adoptNode(box));
  dialog.addEventListener("close", () => dialog.remove());
  body.append(dialog);
  dialog.showModal();
  one(".cancel", dialog)?.focus();
  await continueCount(box);
}

document.addEventListener("submit", (event) => {
  const form = event.target, button = event.submitter;
  if (form.matches(".filter")) {
    const empty = [...form.elements].filter((field) => field.name !== "error" && !field.value && !field.disabled);
    for (const field of empty) field.disabled = true;
    setTimeout(() => empty.forEach((field) => field.disabled = false));
  }
  if (form.dataset.action === undefined) return;
  event.preventDefault();
  const finished = attempt(() => form.dataset.sliced === undefined ? submitAction(form, button) : actOnAll(form));
  if (!button) return;
  // A disabled button has no value, so the form data must have been read before.
  button.disabled = true;
  finished.finally(() => button.disabled = false);
});

document.addEventListener("click", (event) => {
  const copied = event.target.dataset?.copy;
  // Without https there is no clipboard; the text can be selected.
  if (copied) attempt(() => navigator.clipboard.writeText(document.getElementById(copied).textContent).then(() => toast("Copied.")));
  for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  const link = event.target.closest?.("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.matches("[data-dialog]")) {
    event.preventDefault();
    attempt(() => openDialog(link));
  } else if (link.matches("dialog .cancel")) {
    event.preventDefault();
    link.closest("dialog").close();
  }
});

// Enter in a field of the form `many` would press its first button.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches?.("[data-submits]")) return;
  event.preventDefault();
  one("button", event.target.closest("div")).click();
});

// Selection

updateSelection = () => {
  const form = one("#many");
  if (!form) return;
  const boxes = all("input[name=ref]"), selected = boxes.filter((box) => box.checked).length, every = one("[data-every]", form);
  every.checked = selected > 0 && selected === boxes.length;
  every.indeterminate = selected > 0 && selected < boxes.length;
  one(".chosen", form).textContent = selected ? `${number(selected)} selected` : "Select all on this page";
  const age = Math.round((Date.now() - (pending.has("list") ? pendingSince : live ? Date.now() : updatedAt)) / 1000);
  one(".age", form).textContent = selected ? age > 0 ? `list ${duration(age)} old` : "list up to date" : "";
  form.classList.add("js");
  form.classList.toggle("some", selected > 0);
  for (const button of all("button", form)) button.disabled = !selected;
};

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-every]")) for (const box of all("input[name=ref]")) box.checked = event.target.checked;
  if (event.target.matches("[data-every], input[name=ref]")) updateSelection();
  if (event.target.matches(".filter select")) event.target.form.requestSubmit();
});

// Continues a search that reached its time limit, until the page is full.

async function continueSearch() {
  const list = one("#list"), enough = 25;
  if (!list || list.dataset.extended) return;
  for (let more; (more = one("a.more", list)) && all("tbody tr", list).length < enough && !paused();) {
    list.dataset.extended = 1;
    const fresh = one("#list", await load(more.href)), rows = one("tbody", list);
    if (rows && one("tbody", fresh)) {
      rows.append(...one("tbody", fresh).children);
      for (const kind of [".pager", ".search-status"]) {
        const old = one(kind, list), next = one(kind, fresh);
        if (old && next) old.replaceWith(next);
        else old?.remove();
      }
    } else if (rows) {
      for (const kind of [".pager", ".search-status"]) one(kind, list)?.replaceWith(...all(kind, fresh));
    } else {
      list.replaceChildren(...fresh.childNodes);
    }
    updateSelection();
  }
}

updateSelection();
if (one("main .confirm")) attempt(() => continueCount(one("main .confirm")));
attempt(continueSearch);
