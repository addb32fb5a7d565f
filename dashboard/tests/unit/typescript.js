// Lets tests import the app's TypeScript: types are taken away, nothing else is done. For files without runes.
import { register } from "node:module";

register("./typescript-hooks.js", import.meta.url);
