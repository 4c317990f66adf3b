// Start a run: the form, what the run will need, and the jobs.

import { h, route, bytes, count, duration, number } from "./dom.js";
import { getJSON, postJSON } from "./source.js";
import { fields } from "./form.js";

const pause = 350, longPause = 1200; // ms after the last keystroke before requesting the memory and the time
let kept = null; // what was entered and the faults of the opened file, for when the view is opened again

export const startView = {
  name: "start", title: "Start", make(source, like) {
    const element = h("div", { class: "start" }, h("h1", {}, "Start a run"), h("p", { class: "faint", role: "status" }, "Loading …"));
    let close = () => {};
    let left = false;
    build(source, like).then((view) => { element.replaceChildren(...view.children); if (left) view.close(); else close = view.close; }, (problem) => {
      element.replaceChildren(h("h1", {}, "Start a run"), h("p", { class: "problem", role: "alert" }, problem.message));
    });
    return { title: "Start a run", element, close: () => { left = true; close(); } };
  },
};

async function build(source, like) {
  const [schema, offers] = await Promise.all([getJSON("/api/schema"), getJSON("/api/start/files")]);
  const form = fields(schema, changed);
  const file = h("input", { type: "text", id: "file", autocomplete: "off", spellcheck: "false", oninput: () => { ownName = file.value !== ""; keep(); } });
  const fileFault = h("p", { class: "problem", id: "file-fault", role: "alert" });
  file.setAttribute("aria-describedby", "file-fault");
  const replace = h("input", { type: "checkbox", id: "replace" }), overwrite = h("input", { type: "checkbox", id: "overwrite" });
  const replaceLine = h("p", { hidden: true }, replace, " ", h("label", { for: "replace" }, "Replace the existing file"));
  const overwriteLine = h("p", { hidden: true }, overwrite, " ", h("label", { for: "overwrite" }, "Replace the run in output_dir"));
  const faults = h("div", { role: "status" }), needs = h("div", { role: "status" }), time = h("p", { role: "status" });
  const yaml = h("pre", { class: "text", tabindex: "0", "aria-label": "The YAML file" });
  const button = h("button", { type: "submit", class: "primary" }, "Start the run");
  const failure = h("p", { class: "problem", role: "alert" });
  const lost = h("p", { class: "problem", role: "alert" }); // what the form does not contain of the opened file
  let ownName = false, timer = 0, slow = 0, asking = new AbortController();

  const choice = h("select", { id: "begin" }, offers.files.map((f) => h("option", { value: f }, f)));
  const upload = h("input", { type: "file", id: "upload", accept: ".yaml,.yml", onclick: () => { upload.value = ""; /* the same file may have changed */ }, onchange: () => open(upload.files[0]?.text().then((text) => ({ text }))) });
  const begin = h("div", { class: "controls" },
    h("span", {}, h("label", { for: "begin" }, "Start from "), choice),
    h("button", { type: "button", onclick: () => open({ file: choice.value }) }, "Fill in the form"),
    h("span", {}, h("label", { for: "upload" }, "or your own file "), upload));
  const side = h("div", { class: "side" },
    h("section", { class: "card", "aria-label": "Requirements of the run" }, h("h2", {}, "Requirements"), faults, needs, time),
    h("section", { class: "card", "aria-label": "Start" },
      h("div", { class: "field" }, h("label", { for: "file" }, "Write the configuration to"), file, fileFault, replaceLine),
      overwriteLine, button, lost, failure,
      h("details", {}, h("summary", {}, "The file"), yaml)));
  const page = h("form", { class: "columns", novalidate: true, onsubmit: (e) => { e.preventDefault(); start(); } }, form.element, side);

  async function open(what) {
    try {
      what = await what;
      if (!what) return;
      failure.textContent = "";
      const opened = await (await postJSON("/api/start/open", what)).json();
      if (what.dir) opened.values.output_dir = another(opened.values.output_dir ?? "");
      const faults = [...opened.faults, ...form.fill(opened.values)];
      ownName = false;
      lost.textContent = faults.length === 0 ? "" : ["The form does not contain all of the file.", ...faults.map(say)].join("\n");
      changed();
    } catch (problem) { failure.textContent = problem.message; }
  }

  function changed() {
    asking.abort();
    asking = new AbortController();
    clearTimeout(timer);
    clearTimeout(slow);
    failure.textContent = "";
    const values = form.values();
    if (!ownName) file.value = values.output_dir ? values.output_dir.replace(/[\\/]+$/, "") + ".yaml" : "";
    keep();
    timer = setTimeout(() => check(values, asking.signal), pause);
  }

  function keep() { kept = { values: form.values(), lost: lost.textContent, file: ownName ? file.value : "" }; }

  async function check(values, signal) {
    try {
      const answer = await (await postJSON("/api/start/check", { values }, signal)).json();
      if (signal.aborted) return;
      show(answer);
      if (answer.needs && answer.needs.memory_bytes < answer.needs.limit_bytes / 4) slow = setTimeout(() => measure(values, signal), longPause);
      else if (answer.needs) time.replaceChildren(h("button", { type: "button", onclick: () => measure(values, signal) }, "Estimate the time"));
    } catch (problem) { if (!signal.aborted) failure.textContent = problem.message; }
  }

  function show(answer) {
    yaml.textContent = answer.yaml;
    const unplaced = form.mark(answer.faults);
    overwriteLine.hidden = !answer.existing;
    time.replaceChildren();
    faults.replaceChildren(...(answer.faults.length === 0 ? [] : [h("p", { class: "problem" }, answer.faults.length === 1 ? "1 fault" : `${answer.faults.length} faults`),
      h("ul", {}, answer.faults.map((f) => h("li", {}, unplaced.includes(f) ? say(f)
        : h("button", { type: "button", class: "link", onclick: () => form.focus(f.key) }, say(f)))))]));
    const n = answer.needs;
    if (!n) {
      needs.replaceChildren(answer.unknown ? h("p", { class: "problem" }, answer.unknown) : "");
      return;
    }
    const fits = n.memory_bytes <= n.limit_bytes;
    const parts = [["weights", n.weights_bytes], ["gradients", n.gradients_bytes], ["optimizer", n.optimizer_bytes], ["activations", n.activations_bytes], ["program and buffers", n.program_bytes]];
    needs.replaceChildren(
      h("p", {}, "Memory: up to about ", h("b", {}, bytes(n.memory_bytes)), ` of ${bytes(n.limit_bytes)}`),
      h("meter", { max: n.limit_bytes, value: Math.min(n.memory_bytes, n.limit_bytes), "aria-label": `memory: ${bytes(n.memory_bytes)} of ${bytes(n.limit_bytes)}` }),
      fits ? "" : h("p", { class: "problem" }, "The run does not fit into memory and would be refused."),
      h("p", { class: "faint" }, parts.filter(([, v]) => v > 0).map(([name, v]) => `${name} ${bytes(v)}`).join(", ")),
      h("p", {}, `Trains ${count(n.trainable)} of ${count(n.parameters)} parameters (${number(100 * n.trainable / n.parameters)} %), up to ${count(n.rows)} rows at once`));
  }

  async function measure(values, signal) {
    time.replaceChildren("Time: measuring a step …");
    try {
      const t = await (await postJSON("/api/start/time", { values }, signal)).json();
      if (!signal.aborted) time.replaceChildren("Time: about ", h("b", {}, duration(t.seconds)), ` for ${count(t.steps)} steps, ${count(t.tokens)} tokens of data`);
    } catch (problem) {
      if (!signal.aborted) time.replaceChildren("Time: unknown: ", h("span", { class: "faint" }, problem.message));
    }
  }

  async function start() {
    failure.textContent = fileFault.textContent = "";
    button.disabled = true;
    try {
      const answer = await (await postJSON("/api/start", { values: form.values(), file: file.value, replace: replace.checked, overwrite: overwrite.checked })).json();
      if (answer.faults.length === 0) {
        location.hash = route("job", answer.dir);
        return;
      }
      const unplaced = form.mark(answer.faults);
      const ofFile = unplaced.filter((f) => f.key === "file");
      fileFault.textContent = ofFile.map((f) => f.problem).join("\n");
      if (ofFile.some((f) => f.problem.includes("exists"))) replaceLine.hidden = false;
      if (answer.faults.some((f) => f.key === "output_dir")) overwriteLine.hidden = false;
      failure.textContent = ["The run was not started.", ...answer.faults.filter((f) => f.key !== "file").map(say)].join("\n");
      const first = answer.faults.find((f) => form.has(f.key));
      if (first) form.focus(first.key); else file.focus();
    } catch (problem) {
      failure.textContent = problem.message;
    } finally {
      button.disabled = false;
    }
  }

  if (like) await open({ dir: source.runs.get(like)?.path ?? like });
  else if (kept) {
    lost.textContent = kept.lost;
    form.fill(kept.values);
    file.value = kept.file;
    ownName = file.value !== "";
    changed();
  } else await open({ file: "starter" });
  return {
    children: [h("h1", {}, "Start a run"), begin, page],
    close() { asking.abort(); clearTimeout(timer); clearTimeout(slow); },
  };
}

// another returns the name for a copy of a run: a-2 after a, a-3 after a-2.
function another(name) {
  const [, stem, digits] = /^(.*?)(?:-(\d+))?[\\/]*$/s.exec(name);
  return `${stem}-${Number(digits ?? 1) + 1}`;
}

function say(fault) { return fault.key ? `${fault.key}: ${fault.problem}` : fault.problem; }

// jobView shows a job until its run can be watched.
export const jobView = {
  name: "job", make(source, dir) {
    const state = h("p", { role: "status" }), console = h("pre", { class: "text", tabindex: "0", "aria-label": "Process output" });
    const bar = runActions(source, () => dir);
    const element = h("div", {}, h("h1", {}, dir), state, bar.element, h("h2", {}, "Output"), console);
    let timer = 0, done = false, began = false;
    async function poll() {
      const job = await bar.refresh();
      if (done) return;
      if (job) {
        console.textContent = job.console;
        state.textContent = job.running ? "The process is running and loading the model." : `The process has ended${job.exit_code === null ? "" : ` with exit code ${job.exit_code}`}.`;
        began ||= job.running || job.exit_code === 0; // a short run may have ended already
      } else state.textContent = job === null ? "No run was started here." : "The server does not answer.";
      const run = [...source.runs.values()].find((r) => r.path === dir && r.step > 0);
      if (run && began) location.replace(route("run", run.id));
      else timer = setTimeout(poll, 1000);
    }
    poll();
    return { title: "A run", element, close() { done = true; clearTimeout(timer); bar.close(); } };
  },
};

// runActions returns the buttons for the run in the directory that path returns: stop, resume, try it, start one like it.
// They stay in the page while it changes, so that they keep the focus.
export function runActions(source, path) {
  const said = h("span", { role: "status", class: "faint" }), failure = h("span", { class: "problem", role: "alert" });
  const stop = h("button", { type: "button", hidden: true, onclick: () => act("stop") }, "Stop");
  const resume = h("button", { type: "button", hidden: true, onclick: () => act("resume") }, "Resume");
  const attempt = h("a", { class: "button", hidden: true }, "Try it"), like = h("a", { class: "button", hidden: true }, "Start a similar run");
  const output = h("pre", { class: "text", tabindex: "0", "aria-label": "Process output" });
  const outputs = h("details", { hidden: true }, h("summary", {}, "Output"), output);
  const element = h("div", { class: "actions" }, h("div", { class: "controls" }, stop, resume, attempt, like, said, failure), outputs);
  let timer = 0, closed = false;

  async function act(what) {
    failure.textContent = "";
    try { await postJSON(`/api/jobs/${what}`, { dir: path() }); } catch (problem) { failure.textContent = problem.message; }
    refresh();
  }

  const runOf = () => [...source.runs.values()].find((r) => r.path === path());

  // refresh requests the job and returns it: null if there is none, undefined if the server does not answer.
  async function refresh() {
    if (closed || !path()) return null;
    let job = null;
    try {
      job = (await getJSON(`/api/jobs?dir=${encodeURIComponent(path())}`)).jobs[0] ?? null;
    } catch { return undefined; }
    const run = runOf(), running = job?.running || run?.state === "running", ended = ["interrupted", "lost"].includes(run?.state);
    const failed = !running && ended && job?.exit_code && ![130, 143].includes(job.exit_code); // otherwise, it was told to stop
    stop.hidden = !job?.running;
    stop.disabled = Boolean(job?.stopping);
    stop.textContent = job?.stopping ? "Stopping …" : "Stop";
    resume.hidden = running || !(run ? ended : job);
    said.textContent = job?.stopping ? "Finishing the current step and saving." : !job?.running && run?.state === "running" ? "Started elsewhere: stop it there with Ctrl-C."
      : failed ? `The last process ended with exit code ${job.exit_code}; its output gives the reason.` : "";
    attempt.hidden = !(run && (run.checkpoints?.length || run.state === "finished"));
    like.hidden = !run;
    if (run) { attempt.href = route("try", run.id); like.href = route("start", run.id); }
    outputs.hidden = !job || !run;
    if (job) output.textContent = job.console;
    clearTimeout(timer);
    if (job?.running && !closed) timer = setTimeout(refresh, 2000); // a process that fails early changes no file of the run
    return job;
  }

  return {
    element, refresh,
    // update is called when the list of runs has changed.
    update() { clearTimeout(timer); timer = setTimeout(refresh, 200); },
    close() { closed = true; clearTimeout(timer); },
  };
}
