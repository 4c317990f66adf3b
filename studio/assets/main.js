// The page of a server.

import { app } from "./app.js";
import { liveSource } from "./source.js";

app(liveSource());
