// The fields of a configuration, built from its schema. Values are strings, as after --set; an empty field has its default.

import { h } from "./dom.js";

// The settings that most people change. The others are under "more settings" until they are searched for, set or invalid.
const usual = new Set(["model", "output_dir", "data.train", "data.eval_fraction", "data.dataset_text_field", "data.messages", "data.max_length",
  "train.num_train_epochs", "train.max_steps", "train.per_device_train_batch_size", "train.gradient_accumulation_steps", "train.learning_rate",
  "train.lr_scheduler_type", "train.warmup_steps", "train.eval_steps", "train.save_steps", "train.sample_prompts", "lora.r", "lora.lora_alpha", "lora.target_modules"]);
const manyLines = new Set(["data.template", "data.prompt", "data.completion", "train.sample_prompts"]); // an input would drop line breaks
const needed = new Set(["model", "output_dir", "data.train"]);
const titles = { "": "Run", data: "Data", train: "Training", lora: "Adapter (LoRA)" };
const omitted = new Set(["distributed"]); // runs started by mpirun

// fields returns the form for a schema: {element, values(), fill(values), mark(faults), focus(key)}. fill returns the faults
// of values that the form cannot show. changed is called after every input.
export function fields(schema, changed) {
  const all = new Map();
  const sections = [];
  const adapter = h("input", { type: "checkbox", id: "adapter", onchange: () => { showAdapter(); changed(); } });
  const search = h("input", { type: "search", id: "find", placeholder: "learning rate", oninput: filter });
  const nothing = h("p", { class: "faint", role: "status", hidden: true }, "No setting has that name or help.");
  const top = {};
  for (const [name, s] of Object.entries(schema.properties)) {
    if (omitted.has(name)) continue;
    if (s.properties) addSection(name, s.properties, s.description);
    else top[name] = s;
  }
  addSection("", top, "", true);
  const element = h("div", { class: "form" },
    h("p", { class: "find" }, h("label", { for: "find" }, "Find a setting "), search), nothing, sections.map((s) => s.element));

  function addSection(name, properties, help, first) {
    const own = Object.entries(properties).map(([key, s]) => addField(name ? `${name}.${key}` : key, key, s));
    const common = own.filter((f) => usual.has(f.key)), rare = own.filter((f) => !usual.has(f.key));
    const more = h("details", {}, h("summary", {}, "More settings"), h("div", { class: "fields" }, rare.map((f) => f.element)));
    const section = { name, own, more, body: h("div", {}, h("div", { class: "fields" }, common.map((f) => f.element)), more) };
    const legend = h("legend", {}, titles[name] ?? name);
    const on = name === "lora" && h("p", {}, adapter, " ", h("label", { for: "adapter" }, "Train an adapter and freeze the model's weights; otherwise all weights are trained"));
    section.element = h("fieldset", {}, legend, help && name !== "lora" && h("p", { class: "faint" }, help), on, section.body);
    if (first) sections.unshift(section); else sections.push(section);
  }

  function addField(key, name, s) {
    const id = `field-${key}`;
    const words = s.enum?.map(String), standard = asText(s.default);
    let input;
    if (s.type === "boolean") input = h("input", { type: "checkbox", id, checked: s.default === true });
    else if (words) input = h("select", { id }, words.filter((w, i) => words.indexOf(w) === i).map((w) => h("option", { value: w }, w)));
    else if (manyLines.has(key)) input = h("textarea", { id, rows: 2, placeholder: standard });
    else input = h("input", { type: "text", id, placeholder: standard, inputmode: { integer: "numeric", number: "decimal" }[s.type], autocomplete: "off", spellcheck: "false" });
    const fault = h("p", { class: "problem", id: `${id}-fault` });
    const set = h("span", { class: "set faint", hidden: true }, "set");
    input.setAttribute("aria-describedby", `${id}-help ${id}-fault`);
    if (needed.has(key)) input.required = true;
    const field = { key, name, help: s.description ?? "", input, fault, set, standard, type: s.type, check: s.type === "boolean", words };
    field.element = h("div", { class: field.check ? "field check" : "field" },
      h("label", { for: id }, name, needed.has(key) ? h("span", { class: "faint" }, " required") : null, set), input,
      h("p", { class: "help faint", id: `${id}-help` }, s.description ?? ""), fault);
    reset(field);
    input.addEventListener("input", () => { tell(field); changed(); });
    all.set(key, field);
    return field;
  }

  // read returns the text of a field, or "" for its default. White space is significant only in strings.
  function read(f) {
    const text = f.check ? String(f.input.checked) : f.type === "string" ? f.input.value : f.input.value.trim();
    return same(f, text) ? "" : text;
  }

  // same reports whether a text is equivalent to the default: 5e-05 is 0.00005.
  function same(f, text) {
    if (f.type === "number" || f.type === "integer") return text !== "" && Number(text) === Number(f.standard) || text === f.standard;
    return text === f.standard || f.type !== "string" && text.replaceAll(" ", "") === f.standard;
  }

  function reset(f) {
    if (f.check) f.input.checked = f.standard === "true";
    else f.input.value = f.words ? f.standard : "";
    tell(f);
  }

  function tell(f) { f.set.hidden = read(f) === "" || needed.has(f.key); }

  function showAdapter() {
    for (const s of sections) if (s.name === "lora") s.body.hidden = !adapter.checked;
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const s of sections) {
      let here = 0;
      for (const f of s.own) {
        const text = `${f.key} ${f.key.replaceAll("_", " ")} ${f.help}`.toLowerCase();
        f.element.hidden = words.length > 0 && !words.every((w) => text.includes(w));
        if (!f.element.hidden) here++;
      }
      s.element.hidden = words.length > 0 && here === 0;
      s.more.hidden = words.length > 0 && s.own.every((f) => usual.has(f.key) || f.element.hidden);
      if (words.length > 0) s.more.open = true;
      found += here;
    }
    nothing.hidden = found > 0;
  }

  showAdapter();
  return {
    element,
    values() {
      const values = {};
      for (const [key, f] of all) {
        if (key.startsWith("lora.") && !adapter.checked) continue;
        const text = read(f);
        if (text !== "") values[key] = text;
      }
      if (adapter.checked) values.lora = "{}";
      return values;
    },
    fill(values) {
      const faults = [];
      for (const [key, f] of all) {
        reset(f);
        if (values[key] === undefined || same(f, values[key])) continue;
        if (f.words && !f.words.includes(values[key])) f.input.append(h("option", { value: values[key] }, values[key])); // the check reports it
        if (f.check && !/^(true|false)$/i.test(values[key])) faults.push({ key, problem: `want true or false, got ${values[key]}` });
        if (f.check) f.input.checked = values[key].toLowerCase() === "true";
        else f.input.value = values[key];
        tell(f);
        if (!usual.has(key)) f.element.closest("details").open = true;
      }
      adapter.checked = values.lora !== undefined;
      showAdapter();
      return faults;
    },
    // mark shows each fault at its field and returns the faults without a field.
    mark(faults) {
      for (const f of all.values()) { f.fault.textContent = ""; f.input.removeAttribute("aria-invalid"); }
      return faults.filter((fault) => {
        const f = fieldOf(fault.key);
        if (!f) return true;
        f.fault.textContent += (f.fault.textContent && "\n") + fault.problem;
        f.input.setAttribute("aria-invalid", "true");
        return false;
      });
    },
    focus(key) {
      const f = fieldOf(key);
      if (!f) return;
      search.value = "";
      filter();
      const details = f.element.closest("details");
      if (details) details.open = true;
      f.input.focus();
    },
    has: (key) => Boolean(fieldOf(key)),
  };

  // fieldOf finds the field of a path such as train.trainable[1] or lora.rank_pattern.x_proj.
  function fieldOf(path) {
    for (let key = path.replace(/\[.*$/s, ""); key; key = key.slice(0, Math.max(0, key.lastIndexOf(".")))) {
      if (all.has(key)) return all.get(key);
    }
    return null;
  }
}

// asText formats a default as it would be written after --set.
function asText(v) {
  if (v === undefined || v === null) return "";
  return typeof v === "object" ? JSON.stringify(v) : String(v);
}
