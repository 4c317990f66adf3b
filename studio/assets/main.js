// The page as served by a server.

import { app } from "./app.js";
import { liveSource } from "./source.js";
import { startView, jobView, runActions } from "./start.js";
import { tryView } from "./try.js";

const source = liveSource();
source.actions = runActions;
app(source, [startView, tryView, jobView]);
