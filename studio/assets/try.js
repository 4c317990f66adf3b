// Try it: texts and chats of a run's model, next to those of its base.

import { h, route, bytes, count, number } from "./dom.js";
import { getJSON, postJSON, events } from "./source.js";

const sides = { adapted: "Trained", base: "Base" };

export const tryView = {
  name: "try", title: "Try it", make(source, id) {
    const known = () => [...source.runs.values()].filter((r) => r.kind === "mamba-train" && (r.checkpoints?.length || r.state === "finished"));
    const run = h("select", { id: "try-run", onchange: () => { location.hash = route("try", run.value); } });
    const place = h("select", { id: "try-place", onchange: describe });
    const precision = h("select", { id: "try-precision", onchange: describe }, ["auto", "float32", "bf16", "q8", "q4"].map((p) => h("option", { value: p }, p)));
    const memory = h("p", { class: "faint", role: "status" }), failure = h("p", { class: "problem", role: "alert" });
    const chat = h("input", { type: "radio", name: "mode", id: "mode-chat", onchange: reset }), text = h("input", { type: "radio", name: "mode", id: "mode-text", checked: true, onchange: reset });
    const both = h("input", { type: "checkbox", id: "both", checked: true, onchange: reset });
    const system = h("textarea", { id: "system", rows: 2 }), systemLine = h("div", { class: "field" }, h("label", { for: "system" }, "System prompt"), system);
    const prompt = h("textarea", { id: "prompt", rows: 3, onkeydown: (e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); send(); } } });
    const promptLabel = h("label", { for: "prompt" }, "Text to continue");
    const sendButton = h("button", { type: "submit", class: "primary" }, "Send"), stopButton = h("button", { type: "button", hidden: true, onclick: stop }, "Stop writing");
    const controls = sampling();
    const logs = Object.fromEntries(Object.entries(sides).map(([side, title]) => [side, log(title)]));
    const histories = { adapted: [], base: [] };
    let writing = null, latest = 0;

    const setup = h("section", { class: "card", "aria-label": "Model" },
      h("div", { class: "controls" },
        h("span", {}, h("label", { for: "try-run" }, "Run "), run), h("span", {}, h("label", { for: "try-place" }, "Weights "), place),
        h("span", {}, h("label", { for: "try-precision" }, "Precision "), precision),
        h("button", { type: "button", onclick: unload }, "Free its memory")),
      memory);
    const mode = h("fieldset", { class: "plain" }, h("legend", {}, "What it does"),
      h("span", {}, text, " ", h("label", { for: "mode-text" }, "continues a text")), h("span", {}, chat, " ", h("label", { for: "mode-chat" }, "chats, by its template")),
      h("span", {}, both, " ", h("label", { for: "both" }, "next to the base")));
    const ask = h("form", { class: "ask", onsubmit: (e) => { e.preventDefault(); send(); } },
      systemLine, h("div", { class: "field" }, promptLabel, prompt),
      h("div", { class: "controls" }, sendButton, stopButton, h("button", { type: "button", onclick: reset }, "Begin again"), h("span", { class: "faint" }, "Ctrl + Enter sends")), failure);
    const element = h("div", { class: "try" }, h("h1", {}, "Try it"), setup, mode, h("div", { class: "columns" },
      h("div", {}, h("div", { class: "sides" }, logs.adapted.element, logs.base.element), ask), h("div", { class: "side" }, controls.element)));

    function fillRuns() {
      const list = known(), names = list.map((r) => r.id);
      if (id && !names.includes(id)) names.unshift(id);
      if (!id && names.length > 0) id = names[0];
      if (run.children.length !== names.length || [...run.children].some((o, i) => o.value !== names[i])) {
        run.replaceChildren(...names.map((n) => h("option", { value: n }, n)));
        run.value = id ?? "";
      }
      return names.length > 0;
    }

    let ready = false;
    async function describe() {
      const mine = ++latest;
      failure.textContent = "";
      if (!id) { memory.textContent = "No run has weights yet."; return; }
      const query = new URLSearchParams({ id, precision: precision.value });
      if (place.children.length > 0) query.set("place", place.value);
      try {
        const d = await getJSON(`/api/try?${query}`);
        if (mine !== latest) return;
        place.replaceChildren(...d.places.map((p) => h("option", { value: p.name }, p.name === "" ? "the result" : `step ${count(p.step)}`)));
        place.value = d.place;
        const again = d.adapter ? "; the base is the same model without the adapter" : "; the base is loaded in its turn";
        memory.textContent = d.loaded ? "The model is in memory." : `Loading it takes about ${bytes(d.memory)} of ${bytes(d.machine)}${both.checked ? again : ""}. One model is in memory at a time.`;
        chat.disabled = !d.chat;
        if (!ready) { chat.checked = d.chat; text.checked = !d.chat; }
        ready = true;
        arrange();
      } catch (problem) { failure.textContent = problem.message; }
    }

    function arrange() {
      systemLine.hidden = !chat.checked;
      promptLabel.textContent = chat.checked ? "Message" : "Text to continue";
      logs.base.element.hidden = !both.checked;
    }

    function reset() {
      stop();
      for (const side of Object.keys(sides)) { histories[side] = []; logs[side].clear(); }
      arrange();
    }

    function stop() {
      writing?.abort();
      writing = null;
      sendButton.disabled = false;
      stopButton.hidden = true;
    }

    async function send() {
      const words = prompt.value;
      if (writing || !id || (chat.checked && words.trim() === "")) return;
      failure.textContent = "";
      const mine = writing = new AbortController();
      sendButton.disabled = true;
      stopButton.hidden = false;
      if (chat.checked) prompt.value = "";
      try {
        await Promise.all(Object.keys(sides).filter((side) => side === "adapted" || both.checked).map((side) => write(side, words, mine.signal)));
      } catch (problem) {
        if (!mine.signal.aborted) failure.textContent = problem.message;
      }
      if (writing === mine) { stop(); describe(); }
    }

    // write lets one side write and keeps what it says for the next message.
    async function write(side, words, signal) {
      const question = { id, place: place.value, side, precision: precision.value, prompt: words, options: controls.values() };
      const history = histories[side];
      if (chat.checked) {
        if (history.length === 0 && system.value.trim()) history.push({ role: "system", content: system.value });
        history.push({ role: "user", content: words });
        question.messages = history.slice();
        question.prompt = "";
      }
      const entry = logs[side].add(words, chat.checked);
      try {
        await events(await postJSON("/api/try", question, signal), (event, data) => {
          if (event === "loading") entry.say("loading the model …");
          if (event === "prompt") { entry.say("reading …"); entry.reads(data); }
          if (event === "text") { entry.say("writing …"); entry.text(data); }
          if (event === "done") entry.end(`${count(data.tokens)} tokens, ${number(data.tokens / Math.max(data.seconds, 1e-9))} tokens/s${data.reason === "length" ? ", cut at max_new_tokens" : ""}`);
          if (event === "error") entry.fail(data.error);
        });
      } catch (problem) {
        if (signal.aborted) entry.end("stopped"); else entry.fail(problem.message);
      }
      if (chat.checked) {
        if (entry.content()) history.push({ role: "assistant", content: entry.content() });
        else history.pop(); // nothing was answered
      }
    }

    async function unload() {
      stop();
      try { await postJSON("/api/try/unload", {}); } catch (problem) { failure.textContent = problem.message; }
      describe();
    }

    fillRuns();
    arrange();
    describe();
    return { title: "Try it", element, update() { const had = id; fillRuns(); if (!had && id) describe(); }, close: stop };
  },
};

// log is one side of the comparison.
function log(title) {
  const list = h("div", { class: "entries", role: "log", "aria-label": title, tabindex: "0" });
  const element = h("section", { class: "card", "aria-label": title }, h("h2", {}, title), list);
  return {
    element,
    clear() { list.replaceChildren(); },
    add(words, chat) {
      const said = h("p", { class: "sample" }), state = h("p", { class: "faint" }, "waiting for its turn …"), failure = h("p", { class: "problem" });
      const read = h("pre", { class: "sample" }), reads = h("details", { hidden: true }, h("summary", {}, "what the model reads"), read);
      const before = h(chat ? "p" : "span", { class: chat ? "sample asked" : "faint" }, words);
      const entry = h("div", { class: "entry", "aria-busy": "true" }, chat ? before : null, said, failure, state, reads);
      if (!chat) said.append(before);
      const text = h("span", {});
      said.append(text);
      list.append(entry);
      const down = () => { list.scrollTop = list.scrollHeight; };
      down();
      let content = "";
      const end = (words) => { state.textContent = words; entry.removeAttribute("aria-busy"); };
      return {
        say(words) { state.textContent = words; },
        text(piece) { content += piece; text.textContent = content; down(); },
        reads(p) { read.textContent = p.text; reads.hidden = !chat; },
        end, fail(words) { failure.textContent = words; end(""); },
        content: () => content,
      };
    },
  };
}

// sampling are the controls of generation. What is left empty is the model's own.
function sampling() {
  const numbers = [["max_new_tokens", "tokens to add at most", "200"], ["temperature", "below 1 favors probable tokens", ""], ["top_k", "from the k most probable tokens; 0 = from all", ""],
    ["top_p", "from the most probable tokens that make up this share", ""], ["min_p", "without tokens below this share of the most probable one", ""],
    ["repetition_penalty", "above 1 makes tokens that have occurred less probable", ""], ["seed", "of what is drawn", "42"]];
  const sample = h("select", { id: "do_sample" }, [["", "as the model's settings say"], ["true", "drawn by probability"], ["false", "always the most probable"]].map(([value, words]) => h("option", { value }, words)));
  const draws = ["temperature", "top_k", "top_p", "min_p"]; // only matter where tokens are drawn
  const inputs = numbers.map(([name, help, value]) => {
    const input = h("input", { type: "text", inputmode: "decimal", id: name, value, autocomplete: "off", "aria-describedby": `${name}-help` });
    if (draws.includes(name)) input.addEventListener("input", () => { if (input.value.trim() !== "") sample.value = "true"; });
    return { name, input, element: h("div", { class: "field" }, h("label", { for: name }, name), input, h("p", { class: "help faint", id: `${name}-help` }, help)) };
  });
  return {
    element: h("fieldset", { class: "card" }, h("legend", {}, "Sampling"), h("div", { class: "field" }, h("label", { for: "do_sample" }, "Tokens are"), sample), inputs.map((i) => i.element)),
    values() {
      const values = sample.value === "" ? {} : { do_sample: sample.value === "true" };
      for (const { name, input } of inputs) {
        if (input.value.trim() === "") continue;
        const v = Number(input.value);
        if (Number.isNaN(v)) throw new Error(`${name}: want a number, got ${input.value}`);
        values[name] = v;
      }
      return values;
    },
  };
}
