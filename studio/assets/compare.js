// Several runs in the same charts, and the settings that differ between them.

import { h, route, number, count, table, stateBadge, steps, none, metricName, capital, paced, keepFocus } from "./dom.js";
import { chart, controls, groups, swatch } from "./chart.js";

export function compareView(source, view, ids) {
  const grid = h("div", { class: "charts" }), differences = h("section", { class: "settings", "aria-label": "Differences" });
  const overview = h("div"), problems = h("p", { class: "problem" });
  const element = h("div", {}, h("div", { class: "bar" }, h("h1", {}, `Comparing ${ids.length} runs`)), overview, controls(view, draw), problems, grid, differences);
  const charts = new Map(), histories = new Map(), seen = new Map();
  const reading = paced(read);
  let closed = false;

  function draw() {
    if (closed) return;
    const names = [...new Set(ids.flatMap((id) => histories.get(id)?.names ?? []))];
    const compared = groups(names).flatMap((group) => group.names).filter((n) => n.endsWith("loss") || !n.startsWith("eval_"));
    for (const name of compared) {
      let c = charts.get(name);
      if (!c) {
        c = chart(capital(metricName(name)), { tall: name === "loss" });
        charts.set(name, c);
        grid.append(c.element);
      }
      const lines = ids.map((id, color) => ({ name: id, color, points: histories.get(id)?.series[name] })).filter((l) => l.points);
      c.show({ lines, marks: [], view });
    }
  }

  function update() {
    keepFocus(() => overview.replaceChildren(table("Compared runs", [
      { head: "run", cell: (r) => [swatch(r.color), h("a", { href: route("run", r.id) }, r.id)] },
      { head: "state", cell: (r) => r.run ? stateBadge(r.run.state) : "gone" },
      { head: "steps", numeric: true, cell: (r) => r.run ? steps(r.run) : none },
      { head: "loss", numeric: true, cell: (r) => number(r.run?.loss) },
      { head: "eval loss", numeric: true, cell: (r) => number(r.run?.eval_loss) },
      { head: "best", numeric: true, cell: (r) => number(r.run?.best_metric) },
      { head: "tokens/s", numeric: true, cell: (r) => number(r.run?.tokens_per_second) },
    ], ids.map((id, color) => ({ id, color, run: source.runs.get(id) })))));
    reading.ask();
  }

  async function read() {
    let problem = "";
    for (const id of ids) {
      const run = source.runs.get(id);
      const now = run ? `${run.step} ${run.updated}` : "gone";
      if (seen.get(id) === now || !run) continue;
      try {
        histories.set(id, await source.curves(id));
        seen.set(id, now);
      } catch (failure) {
        problem = failure.message;
      }
    }
    problems.textContent = problem;
    draw();
  }

  function close() {
    closed = true;
    reading.close();
    for (const c of charts.values()) c.close();
  }

  async function compareSettings() {
    const columns = await Promise.all(ids.map(async (id) => new Map((await source.settings(id)).map((s) => [s.key, s.value]))));
    const keys = [...new Set(columns.flatMap((c) => [...c.keys()]))].filter((key) => new Set(columns.map((c) => c.get(key))).size > 1);
    differences.replaceChildren(h("h2", {}, "Differences"), keys.length === 0 ? h("p", { class: "faint" }, "All settings are the same.") : table("Settings that differ", [
      { head: "key", cell: (key) => h("code", {}, key) },
      ...ids.map((id, i) => ({ head: h("span", {}, swatch(i), id), cell: (key) => columns[i].has(key) ? h("code", {}, columns[i].get(key) || "\"\"") : none })),
    ], keys));
  }

  update();
  compareSettings().catch((failure) => { differences.replaceChildren(h("p", { class: "problem" }, failure.message)); });
  return { title: `${count(ids.length)} runs`, element, update, close };
}
