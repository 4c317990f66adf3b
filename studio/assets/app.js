// The frame of the page: the header, and one view at a time, named by the part of the URL after #.

import { h, route, store } from "./dom.js";
import { listView } from "./list.js";
import { runView } from "./run.js";
import { compareView } from "./compare.js";

const themes = { auto: "system colors", light: "light", dark: "dark" };

// app shows the views of a source. others are views of other parts of the page: {name, title, make(source, ...parts)},
// where make returns {title, element} and optionally update(), called when runs change, and close(), called when the user
// leaves the view.
export function app(source, others = []) {
  const chosen = new Set();
  const look = { axis: "step", log: false, smoothing: 0 };
  const main = h("main", { id: "main", tabindex: "-1" });
  const connection = h("span", { class: "connection", role: "status" });
  const nav = h("nav", { "aria-label": "Studio" });
  let current = null;

  const links = [{ name: "", title: "Runs" }, ...others.filter((o) => o.title)];
  nav.append(...links.map((l) => h("a", { href: l.name ? route(l.name) : "#/" }, l.title)));
  document.body.replaceChildren(
    h("a", { class: "skip", href: "#main", onclick: (e) => { e.preventDefault(); main.focus(); } }, "Skip to content"),
    h("header", {}, h("a", { class: "brand", href: "#/" }, "mamba-train ", h("span", {}, source.live ? "studio" : "report")), nav, connection, themeButton()),
    main);

  function open() {
    const parts = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(safeDecode);
    const [name = "", ...rest] = parts;
    current?.close?.();
    const other = others.find((o) => o.name === name);
    if (other) current = other.make(source, ...rest);
    else if (name === "run" && rest[0]) current = runView(source, look, rest[0], rest[1]);
    else if (name === "compare" && rest.length > 1) current = compareView(source, look, rest);
    else current = listView(source, chosen);
    document.title = `${current.title} · mamba-train ${source.live ? "studio" : "report"}`;
    main.replaceChildren(current.element);
    current.update?.();
    for (const a of nav.children) {
      if (a.getAttribute("href") === (other ? route(other.name) : "#/")) a.setAttribute("aria-current", "page");
      else a.removeAttribute("aria-current");
    }
  }

  // leaveOut removes the controls that change something, for a read-only server.
  function leaveOut() {
    others = [];
    for (const a of [...nav.children].slice(1)) a.remove();
  }

  const textsAge = 30_000; // ms between updates of texts such as "2 min ago"
  if (source.live) setInterval(() => document.hidden || current?.update?.(), textsAge);
  window.addEventListener("hashchange", () => { open(); window.scrollTo(0, 0); main.focus({ preventScroll: true }); });
  source.start(() => current?.update?.(), (ok, problem) => {
    connection.textContent = ok ? "" : `not connected${problem ? `: ${problem}` : ""}`;
  }).then(() => {
    if (source.readOnly) leaveOut();
    open();
  }, (problem) => {
    main.replaceChildren(h("h1", {}, "No connection"), h("p", { class: "problem", role: "alert" }, problem.message));
  });
}

function safeDecode(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

// themeButton switches between the system's color scheme, light and dark.
function themeButton() {
  const button = h("button", { type: "button", class: "theme" });
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = { auto: "◐", light: "○", dark: "●" }[theme];
    button.setAttribute("aria-label", `Colors: ${themes[theme]}. Change`);
    button.title = button.getAttribute("aria-label");
    document.dispatchEvent(new Event("theme"));
  };
  let theme = store("theme") in themes ? store("theme") : "auto";
  button.addEventListener("click", () => {
    const names = Object.keys(themes);
    theme = names[(names.indexOf(theme) + 1) % names.length];
    store("theme", theme);
    apply(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
  apply(theme);
  return button;
}
