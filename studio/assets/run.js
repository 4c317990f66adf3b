// One run: its curves, samples, settings, data and model card.

import { h, route, number, count, counted, bytes, duration, moment, stateBadge, progress, steps, table, none, metricName, paced } from "./dom.js";
import { chart, controls, groups, markWords } from "./chart.js";

const tabs = { curves: "Curves", samples: "Samples", settings: "Settings", data: "Data", card: "Model card" };

export function runView(source, view, id, tab = "curves") {
  const facts = h("dl", { class: "facts" });
  const heading = h("div", { class: "bar" });
  const panel = h("section", { "aria-label": tabs[tab] });
  const nav = h("nav", { class: "tabs", "aria-label": "Run pages" }, Object.entries(tabs)
    .filter(([name]) => source.live || name !== "data" || source.hasData?.(id))
    .map(([name, title]) => h("a", { href: route("run", id, name), "aria-current": name === tab ? "page" : null }, title)));
  const actions = source.readOnly ? null : source.actions?.(source, () => source.runs.get(id)?.path);
  const element = h("div", {}, heading, actions?.element ?? "", facts, nav, panel);
  const content = ({ curves, samples, settings, data, card }[tab] ?? curves)();

  function update() {
    const run = source.runs.get(id);
    if (!run) {
      heading.replaceChildren(h("h1", {}, id), h("p", { role: "status" }, "This run no longer exists."));
      return;
    }
    heading.replaceChildren(h("h1", {}, id), stateBadge(run.state), progress(run));
    const left = run.state === "running" ? [["time left", duration(run.seconds_left)]] : [];
    const items = [["step", steps(run)], ["loss", number(run.loss)], ["eval loss", number(run.eval_loss)],
      ["best", run.best_step ? `${number(run.best_metric)} at step ${count(run.best_step)}` : none],
      ["tokens/s", number(run.tokens_per_second)], ...left,
      ["memory", run.memory_bytes ? (run.memory_measured ? "" : "about ") + bytes(run.memory_bytes) : none],
      ["device", run.device || none], ["model", run.model || none], ["began", moment(run.started)], ["changed", moment(run.updated)],
      ["checkpoints", run.checkpoints?.length ? run.checkpoints.map(count).join(", ") : none], ["written by", run.kind]];
    facts.replaceChildren(...items.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    if (run.problem) facts.append(h("div", {}, h("dt", {}, "problem"), h("dd", {}, run.problem)));
    content.update();
    actions?.update();
  }

  // load shows the result of read, or the reason why it failed. It reads again whenever version(run) has changed, and draws
  // only what differs from what is shown, so that the focus and the scroll positions stay.
  function load(read, show, version = () => "") {
    let seen = null, shown = null;
    panel.replaceChildren(h("p", { class: "faint", role: "status" }, "Loading …"));
    const reading = paced(async () => {
      const run = source.runs.get(id), now = run ? version(run) : "gone";
      if (now === seen) return;
      seen = now;
      try {
        const value = await read(id), text = JSON.stringify(value);
        if (text !== shown) panel.replaceChildren(...[show(value)].flat());
        shown = text;
      } catch (problem) {
        panel.replaceChildren(h("p", { class: "problem", role: "alert" }, problem.message));
        shown = null;
        if (problem instanceof TypeError) seen = null; // no connection: the next update tries again
      }
    });
    reading.ask();
    return { update: reading.ask, close: reading.close };
  }

  function curves() {
    const grid = h("div", { class: "charts" }), words = h("p", { class: "faint marks" });
    const charts = new Map();
    let history = null, seen = "", closed = false;
    panel.append(controls(view, draw), words, grid);

    function draw() {
      if (!history || closed) return;
      const run = source.runs.get(id);
      const marks = runMarks(run, history);
      words.textContent = markWords(marks).join("  ·  ");
      if (history.names.length === 0) {
        grid.replaceChildren(h("p", { class: "faint" }, "No values yet: the first ones are logged after logging_steps steps."));
        return;
      }
      for (const group of groups(history.names)) {
        let c = charts.get(group.title);
        if (!c) {
          if (charts.size === 0) grid.replaceChildren();
          c = chart(group.title, group);
          charts.set(group.title, c);
          grid.append(c.element);
        }
        c.show({ lines: group.names.map((name) => ({ name: metricName(name), points: history.series[name] })), marks, view });
      }
    }

    // read reads the curves again if the run has progressed.
    async function read() {
      const run = source.runs.get(id), now = `${run?.step} ${run?.updated} ${run?.eval_loss} ${run?.checkpoints}`;
      if (now === seen) return;
      try {
        history = await source.curves(id);
        seen = now;
        draw();
      } catch (problem) {
        words.textContent = problem.message;
      }
    }
    const reading = paced(read);
    reading.ask();
    return {
      update: reading.ask,
      close() {
        closed = true;
        reading.close();
        for (const c of charts.values()) c.close();
      },
    };
  }

  function samples() {
    return load(source.samples, sampleColumns, (run) => `${run.step} ${run.updated} ${run.eval_loss}`);
  }

  function settings() {
    return load(source.settings, settingsTable, (run) => run.state);
  }

  function data() {
    return load(source.data, (d) => d.rows ? dataShown(d) : h("p", { class: "faint" }, "No data is available for this run."));
  }

  function card() {
    return load(source.card, (text) => text ? h("pre", { class: "text", tabindex: "0" }, text) : h("p", { class: "faint" }, "The model card is written when the run ends."),
      (run) => run.state);
  }

  update();
  return { title: id, element, update, close() { content.close(); actions?.close(); } };
}

// runMarks returns the events of a run, by step.
export function runMarks(run, history) {
  const marks = history.evaluations?.map((step) => ({ step, kind: "evaluation" })) ?? [];
  for (const step of run?.checkpoints ?? []) marks.push({ step, kind: "checkpoint" });
  for (const step of history.resumes ?? []) marks.push({ step, kind: "resume" });
  if (history.best_step) marks.push({ step: history.best_step, kind: "best" });
  return marks;
}

// sampleColumns shows the continuations of each prompt side by side, newest first.
function sampleColumns(list) {
  if (list.length === 0) return h("p", { class: "faint" }, "No samples: texts are generated from train.sample_prompts at each evaluation.");
  const prompts = new Map();
  for (const s of list) {
    if (!prompts.has(s.prompt)) prompts.set(s.prompt, new Map());
    prompts.get(s.prompt).set(s.step, s.text);
  }
  return [...prompts].map(([prompt, texts]) => h("section", { class: "samples" },
    h("h2", {}, prompt),
    h("ol", { class: "cards", tabindex: "0", "aria-label": `Continuations of ${prompt}` }, [...texts].sort((a, b) => b[0] - a[0]).map(([step, text]) =>
      h("li", { class: "card" }, h("div", { class: "faint" }, `step ${count(step)}`), h("p", { class: "sample" }, h("span", { class: "masked" }, prompt), text))))));
}

function settingsTable(list) {
  if (list.length === 0) return h("p", { class: "faint" }, "This run has no config.yaml.");
  const rows = h("div", { class: "settings" });
  const usual = (s) => s.differs ? h("code", { class: "faint" }, s.default || "\"\"") : h("span", { class: "faint" }, "same");
  const draw = (all) => rows.replaceChildren(table("Settings", [
    { head: "key", cell: (s) => h("code", {}, s.key) },
    { head: "value", cell: (s) => [h("code", {}, s.value || "\"\""), h("div", { class: "narrow faint" }, "default: ", usual(s))] },
    { head: "default", className: "mid", cell: usual },
    { head: "meaning", className: "mid", cell: (s) => h("span", { class: "faint" }, s.help) },
  ], list.filter((s) => all || s.differs)));
  draw(false);
  const differing = list.filter((s) => s.differs).length;
  return [h("div", { class: "controls" }, h("label", {}, h("input", { type: "checkbox", onchange: (e) => draw(e.target.checked) }), ` all ${list.length} keys`),
    h("span", { class: "faint" }, `${counted(differing, "key")} ${differing === 1 ? "differs" : "differ"} from the defaults`)), rows];
}

// dataShown shows documents as the model sees them; text that does not count in the loss is set apart.
function dataShown(d) {
  const top = Math.max(1, ...d.histogram.map((b) => b.documents));
  const bins = d.histogram.slice(Math.max(0, d.histogram.findIndex((b) => b.documents > 0)));
  return [
    h("h2", {}, "Training documents"),
    h("p", { class: "faint" }, "Text excluded from the loss is ", h("span", { class: "masked" }, "marked like this"), "."),
    h("ol", { class: "documents" }, d.rows.map((row) => h("li", { class: "card" },
      h("div", { class: "faint" }, `row ${count(row.row)}: ${counted(row.tokens, "token")}, ${counted(row.labels, "label")}`),
      h("p", { class: "sample" }, (row.segments ?? []).map((s) => s.counted ? s.text : h("span", { class: "masked" }, s.text)))))),
    h("h2", {}, "Lengths"),
    h("p", { class: "faint" }, `Tokens per document, over ${d.partial ? "the first " : ""}${counted(d.documents, "document")}.`),
    table("Document lengths", [
      { head: "tokens", cell: (b) => b.from === b.to ? count(b.from) : `${count(b.from)}–${count(b.to)}` },
      { head: "share", cell: (b) => h("meter", { max: top, value: b.documents, "aria-label": `${b.documents} documents` }) },
      { head: "documents", numeric: true, cell: (b) => count(b.documents) },
    ], bins),
  ];
}
