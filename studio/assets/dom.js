// Elements and text. Strings become text nodes and never markup: names, prompts and cards may come from anyone.

export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "max") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

// link returns a link within the page; parts of the path may contain any characters.
export function route(...parts) {
  return "#/" + parts.map(encodeURIComponent).join("/");
}

export const none = "–";

export function number(v) {
  if (v === null || v === undefined || Number.isNaN(v)) return none;
  const size = Math.abs(v);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return v.toExponential(2).replace("e+", "e");
  return v.toLocaleString("en-US", { maximumSignificantDigits: 4 });
}

export function count(v) {
  return v === null || v === undefined ? none : v.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

export function counted(n, word) {
  return `${count(n)} ${word}${n === 1 ? "" : "s"}`;
}

export function bytes(v) {
  if (!v) return none;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (v >= 1024 && i < units.length - 1) { v /= 1024; i++; }
  return `${v.toLocaleString("en-US", { maximumSignificantDigits: 3 })} ${units[i]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return none;
  if (seconds < 10) return `${number(Math.round(seconds * 10) / 10)} s`;
  seconds = Math.round(seconds);
  if (seconds < 60) return `${seconds} s`;
  const m = Math.floor(seconds / 60);
  if (m < 60) return `${m} min ${seconds % 60} s`;
  if (m < 48 * 60) return `${Math.floor(m / 60)} h ${m % 60} min`;
  return `${Math.floor(m / 60 / 24)} d ${Math.floor(m / 60) % 24} h`;
}

export function since(time) {
  if (!time) return none;
  const s = Math.max(0, Date.now() / 1000 - time);
  if (s < 60) return "just now";
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h ago`;
  return new Date(time * 1000).toLocaleDateString();
}

export function moment(time) {
  return time ? new Date(time * 1000).toLocaleString() : none;
}

// metricName returns a readable name for a key of a row.
export function metricName(key) {
  const known = {
    loss: "training loss", eval_loss: "evaluation loss", learning_rate: "learning rate", grad_norm: "gradient norm",
    tokens_per_second: "tokens per second",
  };
  return known[key] ?? key.replace(/^eval_/, "evaluation ").replaceAll("_", " ");
}

export function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

// stateBadge shows a state as a dot and a word.
export function stateBadge(state) {
  return h("span", { class: `state ${["running", "finished", "interrupted", "lost"].includes(state) ? state : ""}` }, state);
}

export function progress(run) {
  if (!run.steps) return h("span", { class: "faint" }, `step ${count(run.step)}`);
  return h("progress", { max: run.steps, value: run.step, "aria-label": `${run.id}: step ${run.step} of ${run.steps}` });
}

export function steps(run) {
  return run.steps ? `${count(run.step)} / ${count(run.steps)}` : count(run.step);
}

// table builds a table with a caption for screen readers; columns are {head, cell(row), numeric, className}.
export function table(caption, columns, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {},
      h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: c.className ?? (c.numeric ? "numeric" : null) }, c.head)))),
      h("tbody", {}, rows.map((row) => h("tr", { class: row.className ?? null }, columns.map((c, i) =>
        h(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : null, class: c.className ?? (c.numeric ? "numeric" : null) }, c.cell(row))))))));
}

// paced returns {ask(), close()}: ask calls read soon, with a pause after each call, and never twice at a time. What is
// asked for during a call or a pause is read afterwards.
export function paced(read) {
  let wanted = false, busy = false, closed = false, timer = 0, next = 0;
  function ask() {
    wanted = true;
    if (!busy && !timer && !closed) timer = setTimeout(go, Math.max(0, next - Date.now()));
  }
  async function go() {
    timer = 0;
    wanted = false;
    busy = true;
    const began = Date.now();
    try {
      await read();
    } finally {
      busy = false;
      next = Date.now() + Math.max(1500, 20 * (Date.now() - began));
      if (wanted) ask();
    }
  }
  return { ask, close() { closed = true; clearTimeout(timer); } };
}

// keepFocus calls change, which may move or replace elements, and returns the focus to the same element or link.
export function keepFocus(change) {
  const focused = document.activeElement, href = focused?.getAttribute("href");
  change();
  if (document.activeElement === focused) return;
  const again = focused?.isConnected ? focused : href && [...document.querySelectorAll("main a")].find((a) => a.getAttribute("href") === href);
  again?.focus?.({ preventScroll: true });
}

export function store(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(key);
    localStorage.setItem(key, value);
  } catch { /* a page opened from a file may have no storage */ }
  return null;
}
