// The list of runs.

import { h, route, number, bytes, duration, since, moment, stateBadge, progress, steps, none, keepFocus } from "./dom.js";

const mostShown = 100;

// listView shows the runs of a source, newest first, and lets the user select some for comparison.
export function listView(source, chosen) {
  let filter = "", limit = mostShown;
  const body = h("tbody");
  const rows = new Map(); // by id: {row, text}
  const compare = h("a", { class: "button", href: "#/" }, "Compare");
  const more = h("button", { type: "button", onclick: () => { limit += mostShown; update(); } }, "Show more");
  const status = h("p", { class: "faint", role: "status" });
  const search = h("input", { type: "search", placeholder: "name", oninput: (e) => { filter = e.target.value.toLowerCase(); update(); } });
  const head = (text, className) => h("th", { scope: "col", class: className }, text);
  const element = h("div", {},
    h("div", { class: "bar" }, h("h1", {}, "Runs"), h("label", { class: "grow" }, h("span", { class: "hidden" }, "Filter by name"), search), compare),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs" }, h("table", { class: "runs" },
      h("caption", { class: "hidden" }, "Runs, newest first"),
      h("thead", {}, h("tr", {}, head(h("span", { class: "hidden" }, "Compare"), "choose"), head("run"), head("state", "wide"), head("steps", "wide"), head("loss", "numeric"),
        head("eval loss", "numeric mid"), head("tokens/s", "numeric wide"), head("time left", "numeric mid"), head("memory", "numeric wide"), head("device", "widest"), head("changed", "numeric mid"))),
      body)),
    more, status);

  function fill(run) {
    const id = run.id;
    const box = h("input", {
      type: "checkbox", checked: chosen.has(id), "aria-label": `compare ${id}`,
      onchange: (e) => { e.target.checked ? chosen.add(id) : chosen.delete(id); offerCompare(); },
    });
    const cell = (className, ...content) => h("td", { class: className }, ...content);
    return [
      cell("choose", box),
      h("th", { scope: "row" }, h("a", { href: route("run", id) }, id),
        h("div", { class: "under" }, stateBadge(run.state), progress(run), h("span", { class: "faint" }, steps(run)),
          run.seconds_left !== null && h("span", { class: "faint" }, `${duration(run.seconds_left)} left`))),
      cell("wide", stateBadge(run.state)), cell("wide", progress(run), " ", h("span", { class: "faint" }, steps(run))),
      cell("numeric", number(run.loss)), cell("numeric mid", number(run.eval_loss)), cell("numeric wide", number(run.tokens_per_second)),
      cell("numeric mid", duration(run.seconds_left)),
      h("td", { class: "numeric wide", title: run.memory_measured ? "measured" : "estimated at the start of the run" }, run.memory_bytes ? (run.memory_measured ? "" : "about ") + bytes(run.memory_bytes) : none),
      cell("widest", run.device || none),
      h("td", { class: "numeric mid", title: moment(run.updated) }, since(run.updated)),
    ];
  }

  function offerCompare() {
    const list = [...chosen].filter((id) => source.runs.has(id));
    compare.textContent = list.length > 1 ? `Compare ${list.length} runs` : "Compare: select two runs";
    compare.classList.toggle("off", list.length < 2);
    compare.setAttribute("aria-disabled", String(list.length < 2));
    compare.href = list.length > 1 ? route("compare", ...list) : "#/";
  }

  // update redraws the rows that have changed.
  function update() {
    const all = [...source.runs.values()].sort((a, b) => b.updated - a.updated || (a.id < b.id ? -1 : 1));
    const found = all.filter((run) => run.id.toLowerCase().includes(filter));
    const shown = found.slice(0, limit);
    for (const [id] of rows) if (!shown.some((run) => run.id === id)) rows.delete(id);
    for (const run of shown) {
      const text = JSON.stringify(run) + since(run.updated);
      const known = rows.get(run.id);
      if (known?.text === text) continue;
      if (known?.row.contains(document.activeElement)) { // keep the focus: replace what follows the name
        const fresh = fill(run);
        [...known.row.children].forEach((old, i) => old.contains(document.activeElement) || old.replaceWith(fresh[i]));
        known.text = text;
        continue;
      }
      const row = known?.row ?? h("tr");
      row.replaceChildren(...fill(run));
      rows.set(run.id, { row, text });
    }
    const order = shown.map((run) => rows.get(run.id).row);
    if (order.length !== body.children.length || order.some((row, i) => row !== body.children[i])) keepFocus(() => body.replaceChildren(...order));
    more.hidden = found.length <= limit;
    const running = all.filter((run) => run.state === "running").length;
    status.textContent = all.length === 0 ? `No runs yet in ${source.folders.join(", ")}.`
      : `${found.length === all.length ? all.length : `${found.length} of ${all.length}`} ${all.length === 1 ? "run" : "runs"}, ${running} running.`;
    offerCompare();
  }

  update();
  return { title: "Runs", element, update };
}
