// Requests to the server. They send the token in a header; the token from the URL is stored for this origin only.

import { store } from "./dom.js";

function takeToken() {
  const given = new URLSearchParams(location.search).get("token");
  if (given) {
    store("token", given);
    history.replaceState(null, "", location.pathname + location.hash);
  }
  return given ?? store("token") ?? "";
}

const token = takeToken();

// request sends a request to the server and returns the response, or throws an error with the server's message.
export async function request(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...options.headers, Authorization: `Bearer ${token}` } });
  if (answer.ok) return answer;
  const text = await answer.text();
  let problem = text.trim();
  try { problem = JSON.parse(text).error ?? problem; } catch { /* plain text */ }
  throw new Error(problem || `the server returned status ${answer.status}`);
}

export async function getJSON(path) {
  return (await request(path)).json();
}

export async function postJSON(path, value, signal) {
  return request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value), signal });
}

// events calls on(event, data) for each server-sent event of a response until it ends.
export async function events(answer, on) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += value;
    for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
      const fields = { event: "message", data: [] };
      for (const line of buffer.slice(0, end).split("\n")) {
        const [, name, text] = /^([a-z]*): ?(.*)$/.exec(line) ?? [];
        if (name === "event") fields.event = text;
        if (name === "data") fields.data.push(text);
      }
      buffer = buffer.slice(end + 2);
      if (fields.data.length > 0) on(fields.event, JSON.parse(fields.data.join("\n")));
    }
  }
}

// live is the source for a page with a server. It follows the runs while the page is visible.
export function liveSource() {
  const about = (what) => (id) => getJSON(`/api/run/${what}?id=${encodeURIComponent(id)}`);
  const source = {
    live: true, runs: new Map(), folders: [], readOnly: false,
    curves: about("curves"), samples: about("samples"), settings: about("settings"), card: about("card"), data: about("data"),
    async start(changed, connection) {
      const list = await getJSON("/api/runs");
      Object.assign(source, { folders: list.folders, readOnly: list.read_only });
      apply({ first: true, changed: list.runs, gone: [] });
      follow(changed, connection);
    },
  };

  function apply(message) {
    if (message.first) source.runs.clear();
    for (const run of message.changed) source.runs.set(run.id, run);
    for (const id of message.gone) source.runs.delete(id);
  }

  async function follow(changed, connection) {
    for (let wait = 1; ; wait = Math.min(2 * wait, 15)) {
      if (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
      const stop = new AbortController();
      const hide = () => document.hidden && stop.abort();
      document.addEventListener("visibilitychange", hide);
      let problem = "";
      try {
        await events(await request("/api/events", { signal: stop.signal }), (event, message) => {
          wait = 1;
          connection(true);
          if (event === "runs") { apply(message); changed(); }
        });
      } catch (failure) {
        problem = failure.message;
      }
      document.removeEventListener("visibilitychange", hide);
      if (!stop.signal.aborted) {
        connection(false, problem);
        await new Promise((done) => setTimeout(done, wait * 1000));
      }
    }
  }

  return source;
}
