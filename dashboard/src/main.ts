// Where the dashboard starts: styles, then the app in the page's body.
import "./look/tokens.css";
import "./look/base.css";
import "./look/parts.css";
import { mount } from "svelte";
import App from "./App.svelte";

mount(App, { target: document.body });
