// Returns the accessibility problems of the current page, one line each.
(phone) => {
  const problems = [], seen = (element) => element.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true });
  const all = (selector) => [...document.querySelectorAll(selector)];
  const short = (element) => element.outerHTML.slice(0, 120);

  // Names
  const name = (element) => {
    const labelled = (element.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id)?.textContent).join("");
    const labels = [...(element.labels || [])].map((label) => label.textContent).join("");
    const images = [...element.querySelectorAll("img")].map((image) => image.alt).join("");
    return (element.getAttribute("aria-label") || labelled || labels || element.textContent + images || element.title).trim();
  };
  for (const each of all("a[href], button, input:not([type=hidden]), select, textarea, summary, [role=img], dialog[open]")) {
    if (seen(each) && !name(each)) problems.push(`no name: ${short(each)}`);
  }
  for (const image of all("img")) if (!image.hasAttribute("alt")) problems.push(`no alt: ${short(image)}`);
  for (const head of all("th")) if (!head.scope) problems.push(`no scope: ${short(head)}`);
  for (const table of all("table")) if (!table.tHead || !table.tBodies.length) problems.push(`no head: ${short(table)}`);

  // Outline
  const ids = all("[id]").map((each) => each.id);
  for (const id of new Set(ids)) if (ids.filter((each) => each === id).length > 1) problems.push(`two of id ${id}`);
  for (const each of all("[for], [aria-labelledby], [popovertarget], [form]")) {
    for (const attribute of ["for", "aria-labelledby", "popovertarget", "form"]) {
      const id = each.getAttribute(attribute);
      if (id && !document.getElementById(id)) problems.push(`${attribute} leads nowhere: ${short(each)}`);
    }
  }
  let level = 0;
  for (const heading of all("h1, h2, h3, h4, h5, h6").filter(seen)) {
    const depth = +heading.tagName[1];
    if (depth > level + 1) problems.push(`heading out of order: ${short(heading)}`);
    level = depth;
  }
  if (all("h1").length !== 1) problems.push(`${all("h1").length} h1`);
  for (const landmark of ["header", "nav[aria-label]", "main", "footer"]) if (!document.querySelector(landmark)) problems.push(`no ${landmark}`);
  if (!document.documentElement.lang || !document.title) problems.push("no language or title");
  for (const each of all("[style], [onclick]")) problems.push(`inline: ${short(each)}`);

  // Contrast
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) known.set(colour, paint(colour));
    return [...known.get(colour)];
  };
  const paint = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((part, at) => part * top[3] + below[at] * (1 - top[3]));
  const light = (colour) => {
    const [red, green, blue] = colour.map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      const colour = rgba(getComputedStyle(each).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255]);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode());) {
    const element = text.parentElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
    if (!text.data.trim() || !seen(element) || element.closest(".unseen, :disabled, script, option") || box.width < 2) continue;
    let opacity = 1;
    for (let each = element; each; each = each.parentElement) opacity *= getComputedStyle(each).opacity;
    const behind = ground(element), colour = rgba(style.color);
    colour[3] *= opacity;
    const [low, high] = [light(over(colour, behind)), light(behind)].sort((one, other) => one - other);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) problems.push(`contrast ${ratio.toFixed(2)}: ${text.data.trim().slice(0, 40)} in ${short(element)}`);
  }

  // Room
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) {
    const worst = all("main *").filter((each) => seen(each) && each.getBoundingClientRect().right > innerWidth + 1).slice(0, 3).map(short);
    problems.push(`${wide} px too wide: ${worst.join(" ")}`);
  }
  if (phone) {
    for (const each of all("button, .button, select, input:not([type=hidden]), .nav a, .menu summary, a.main, .pager a, .tiles a, .chip, .path a")) {
      if (!seen(each) || each.closest(".unseen, span.chip")) continue;
      const target = each.matches("a.main") ? each.closest("tr") : each.matches("[type=checkbox]") ? each.closest("label") : each;
      const box = target.getBoundingClientRect();
      if (box.height < 39.5 || box.width < 39.5) problems.push(`hard to hit, ${box.width.toFixed()} × ${box.height.toFixed()}: ${short(each)}`);
    }
  }
  return problems;
}
