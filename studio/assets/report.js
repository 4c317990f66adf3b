// A report: the data embedded in the file, without a server.

import { app } from "./app.js";

const embedded = JSON.parse(document.getElementById("report").textContent);

function about(what) {
  return async (id) => embedded.runs.find((r) => r.summary.id === id)?.[what] ?? [];
}

app({
  live: false, readOnly: true, folders: [], runs: new Map(embedded.runs.map((r) => [r.summary.id, r.summary])),
  curves: about("curves"), samples: about("samples"), settings: about("settings"), card: about("card"),
  async start() {
    const ids = embedded.runs.map((r) => encodeURIComponent(r.summary.id));
    if (!location.hash) location.replace(ids.length === 1 ? `#/run/${ids[0]}` : `#/compare/${ids.slice(0, 8).join("/")}`);
  },
});
