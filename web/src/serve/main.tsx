// The page of `dregutil serve`.

import { render } from "preact";
import { App } from "./App";
import "./base.css";
import "../style.css";
import "./serve.css";

const at = document.getElementById("app");
if (at !== null) render(<App />, at);
