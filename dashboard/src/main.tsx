import { render } from "preact";
import { Page } from "./page.tsx";
import { applyTheme, storedTheme } from "./theme.ts";

applyTheme(storedTheme());
const root = document.getElementById("page");
if (root) {
  root.textContent = "";
  render(<Page />, root);
}
