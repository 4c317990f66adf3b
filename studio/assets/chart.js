// Charts drawn by uPlot, each with its values as text: a summary, a readout at the cursor, and a table.

import { h, number, count, duration, counted, table, metricName, capital } from "./dom.js";

export const axes = { step: "step", tokens: "tokens", seconds: "training time" };

function tick(axis) {
  return axis === "seconds" ? duration : count;
}

// smooth is an exponential moving average that does not begin at 0.
function smooth(values, weight) {
  let sum = 0, share = 0;
  return values.map((v) => {
    if (v === null || v === undefined) return v;
    sum = weight * sum + (1 - weight) * v;
    share = weight * share + (1 - weight);
    return sum / share;
  });
}

// css returns a color from the style sheet for a canvas, which cannot use CSS variables.
function css(name) {
  const probe = document.documentElement;
  probe.style.setProperty("outline-color", `var(${name})`);
  return getComputedStyle(probe).outlineColor;
}

export function lineColor(i) {
  return `--line-${i % 8}`;
}

// dashes distinguish lines without color, and from the earlier line with the same color.
function dash(i) {
  return [undefined, [7, 4], [2, 3], [9, 3, 2, 3]][(Math.floor(i / 2) + Math.floor(i / 8)) % 4];
}

// swatch shows a line's color and dashes next to its name.
export function swatch(i) {
  const element = h("span", { class: "swatch", "aria-hidden": "true" });
  element.style.setProperty("border-top-color", `var(${lineColor(i)})`);
  element.style.setProperty("border-top-style", dash(i) ? "dashed" : "solid");
  return element;
}

// chart returns a figure: {element, show, close}. show({lines, marks, view}) draws lines [{name, points}] of columns step, tokens, seconds and
// value, and marks [{step, kind, text}]; view is {axis, log, smoothing}.
export function chart(title, { tall = false } = {}) {
  const summary = h("p", { class: "hidden" });
  const plot = h("div", { class: "plot", role: "img", tabindex: "0", "aria-label": title });
  const readout = h("ul", { class: "readout" });
  const numbers = h("details", { class: "numbers" }, h("summary", {}, "Values", h("span", { class: "hidden" }, ` of ${title}`)));
  const element = h("figure", { class: tall ? "chart tall" : "chart" }, h("figcaption", {}, title), plot, readout, numbers, summary);
  let drawn = null, state = null, shape = "";

  function height() {
    return tall ? Math.max(220, Math.min(380, plot.clientWidth * 0.45)) : 190;
  }

  function show(next) {
    state = next;
    if (plot.clientWidth === 0) return; // drawn once the element has a size
    const { lines, view } = state;
    const key = JSON.stringify([lines.map((l) => l.name), view.axis, view.log, view.smoothing > 0, css("--text")]);
    const data = joined();
    if (drawn && key === shape) {
      const zoomed = drawn.scales.x.min > drawn.data[0][0] || drawn.scales.x.max < drawn.data[0].at(-1);
      drawn.setData(data, !zoomed);
      if (zoomed) drawn.redraw();
    } else {
      drawn?.destroy();
      drawn = new uPlot(options(), data, plot);
      shape = key;
    }
    describe();
    read(null);
    if (numbers.open) list();
  }

  // joined puts the lines on a common axis. A smoothed line is accompanied by its faint original.
  function joined() {
    const { lines, view } = state;
    const tables = [];
    for (const line of lines) {
      const x = [], y = [];
      line.points[view.axis].forEach((at, i) => {
        if (at === null || x.length > 0 && at < x.at(-1)) return;
        const value = line.points.value[i], v = view.log && value <= 0 ? null : value;
        if (at === x.at(-1)) y[y.length - 1] = v;
        else { x.push(at); y.push(v); }
      });
      tables.push(view.smoothing > 0 ? [x, y, smooth(y, view.smoothing)] : [x, y]);
    }
    return tables.length > 0 ? uPlot.join(tables) : [[]];
  }

  function options() {
    const { lines, view } = state;
    const series = [{}];
    lines.forEach((line, i) => {
      const color = css(lineColor(line.color ?? i));
      const few = line.points.value.length <= 40;
      const of = { label: line.name, stroke: color, width: 2, dash: dash(line.color ?? i), points: { show: few, size: 5 } };
      if (view.smoothing > 0) series.push({ ...of, width: 1, alpha: 0.3, dash: undefined, points: { show: false } }, { ...of, points: { show: false } });
      else series.push(of);
    });
    const axis = { stroke: css("--faint"), grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      width: plot.clientWidth, height: height(), series,
      legend: { show: false },
      scales: { x: { time: false, range: (u, low, high) => low === high ? [low - 1, high + 1] : [low, high] }, y: { distr: view.log ? 3 : 1 } },
      axes: [
        { ...axis, values: (u, list) => list.map((v) => Number.isInteger(v) || view.axis === "seconds" ? tick(view.axis)(v) : ""), size: 32 },
        { ...axis, values: (u, list) => list.map((v) => v === null ? "" : number(v)), size: (u, list) => 18 + 7 * Math.max(3, ...(list ?? []).map((v) => v.length)) },
      ],
      cursor: { y: false, points: { size: 7 } },
      hooks: { draw: [drawMarks], setCursor: [(u) => read(u.cursor.idx)] },
    };
  }

  // drawMarks draws checkpoints at the bottom, and the best evaluation and resumes as lines.
  function drawMarks(u) {
    if (state.view.axis !== "step") return;
    const { ctx, bbox } = u;
    ctx.save();
    for (const mark of state.marks ?? []) {
      const x = Math.round(u.valToPos(mark.step, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const bottom = bbox.top + bbox.height, unit = devicePixelRatio;
      ctx.beginPath();
      if (mark.kind === "checkpoint") {
        ctx.fillStyle = css("--faint");
        ctx.moveTo(x, bottom - 7 * unit); ctx.lineTo(x + 4 * unit, bottom); ctx.lineTo(x - 4 * unit, bottom);
        ctx.fill();
        continue;
      }
      if (mark.kind === "evaluation") {
        ctx.fillStyle = css("--grid");
        ctx.fillRect(x - unit / 2, bottom - 4 * unit, unit, 4 * unit);
        continue;
      }
      ctx.strokeStyle = css(mark.kind === "best" ? "--good" : "--warn");
      ctx.lineWidth = unit;
      ctx.setLineDash(mark.kind === "best" ? [4 * unit, 3 * unit] : [unit, 3 * unit]);
      ctx.moveTo(x, bbox.top); ctx.lineTo(x, bottom);
      ctx.stroke();
    }
    ctx.restore();
  }

  // read shows the values at the cursor, or the last values.
  function read(at) {
    const { lines, view } = state;
    const per = view.smoothing > 0 ? 2 : 1;
    const x = at === null || at === undefined ? null : drawn.data[0][at];
    const items = lines.map((line, i) => {
      const ys = drawn.data[1 + per * i + per - 1];
      let k = at ?? ys.length - 1;
      while (k > 0 && (ys[k] === undefined || ys[k] === null)) k--;
      return h("li", {}, swatch(line.color ?? i), h("span", { class: "name" }, line.name), h("b", {}, number(ys[k])));
    });
    if (x !== null) items.push(h("li", { class: "faint" }, `${axes[view.axis]} ${tick(view.axis)(x)}`));
    readout.replaceChildren(...items);
  }

  function describe() {
    const words = state.lines.map((line) => {
      const values = line.points.value.filter((v) => v !== null);
      if (values.length === 0) return `${line.name}: no values`;
      const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
      return `${line.name}: from ${number(values[0])} to ${number(values.at(-1))}, lowest ${number(low)}, highest ${number(high)}, up to step ${count(line.points.step.at(-1))}`;
    });
    plot.setAttribute("aria-label", `${title}. ${words.join(". ")}.`);
  }

  // list fills the table with at most about fifty evenly spaced rows per line, including the last one.
  function list() {
    const rows = [];
    for (const line of state.lines) {
      const n = line.points.step.length, stride = Math.max(1, Math.ceil(n / 50));
      for (let i = (n - 1) % stride; i < n; i += stride) rows.push({ line, i });
    }
    const fresh = table(`Values of ${title}`, [
      { head: "step", cell: (r) => count(r.line.points.step[r.i]) },
      { head: "line", cell: (r) => r.line.name },
      { head: "value", numeric: true, cell: (r) => number(r.line.points.value[r.i]) },
    ], rows);
    const old = numbers.querySelector(".scroll"); // it keeps the focus and the scroll position
    if (old) old.replaceChildren(...fresh.children); else numbers.append(fresh);
  }

  numbers.addEventListener("toggle", () => numbers.open && state && list());
  plot.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity }[event.key];
    if (!move || !drawn) return;
    event.preventDefault();
    const last = drawn.data[0].length - 1;
    const at = Math.max(0, Math.min(last, (drawn.cursor.idx ?? last) + move));
    drawn.setCursor({ left: drawn.valToPos(drawn.data[0][at], "x"), top: 10 });
    read(at);
  });
  plot.addEventListener("mouseleave", () => drawn && read(null));
  const resized = new ResizeObserver(() => {
    if (!state || plot.clientWidth === 0) return;
    if (!drawn) show(state);
    else if (drawn.width !== plot.clientWidth) drawn.setSize({ width: plot.clientWidth, height: height() });
  });
  resized.observe(plot);
  const recolor = () => state && show(state);
  document.addEventListener("theme", recolor);

  // close frees what would otherwise stay in memory: the window refers to every plot.
  function close() {
    resized.disconnect();
    document.removeEventListener("theme", recolor);
    drawn?.destroy();
    drawn = state = null;
  }
  return { element, show, close };
}

// controls returns the controls shared by the charts; changed(view) is called after each change.
export function controls(view, changed) {
  const set = (name, value) => { view[name] = value; changed(view); };
  const shown = h("output", {}, number(view.smoothing));
  return h("div", { class: "controls", role: "group", "aria-label": "Curve options" },
    h("label", {}, "by ", h("select", { onchange: (e) => set("axis", e.target.value) },
      Object.entries(axes).map(([value, name]) => h("option", { value, selected: value === view.axis }, name)))),
    h("label", {}, "smoothing ", h("input", {
      type: "range", min: "0", max: "0.98", step: "0.02", value: String(view.smoothing),
      oninput: (e) => { shown.value = number(Number(e.target.value)); set("smoothing", Number(e.target.value)); },
    }), " ", shown),
    h("label", {}, h("input", { type: "checkbox", checked: view.log, onchange: (e) => set("log", e.target.checked) }), " logarithmic"));
}

// groups assigns metrics to the charts of the page, by name.
export function groups(names) {
  const list = [
    { title: "Loss", tall: true, names: names.filter((n) => n === "loss" || /^eval_(.*_)?loss$/.test(n)) },
    { title: "Learning rate", names: names.filter((n) => n === "learning_rate") },
    { title: "Gradient norm", names: names.filter((n) => n === "grad_norm") },
    { title: "Tokens per second", names: names.filter((n) => n === "tokens_per_second") },
  ];
  const placed = new Set(list.flatMap((g) => g.names));
  const boring = (n) => placed.has(n) || /_(runtime|num_tokens|per_second)$/.test(n);
  for (const name of names.filter((n) => !boring(n))) list.push({ title: capital(metricName(name)), names: [name] });
  return list.filter((g) => g.names.length > 0);
}

// markWords explains the marks of a chart.
export function markWords(marks) {
  const of = (kind) => marks.filter((m) => m.kind === kind);
  const words = [];
  if (of("checkpoint").length) words.push(`▲ ${counted(of("checkpoint").length, "checkpoint")}`);
  if (of("evaluation").length) words.push(`╷ ${counted(of("evaluation").length, "evaluation")}`);
  if (of("best").length) words.push(`╎ best evaluation, step ${count(of("best")[0].step)}`);
  if (of("resume").length) words.push(`┊ resumed after step ${of("resume").map((m) => count(m.step)).join(", ")}`);
  return words;
}
