// Light or dark: what the system says, unless the viewer says otherwise.

export type Theme = "auto" | "light" | "dark";
const KEY = "cerco-theme";
const changed = new EventTarget();

export const storedTheme = (): Theme => {
  try {
    const stored = localStorage.getItem(KEY);
    return stored === "light" || stored === "dark" ? stored : "auto";
  } catch {
    return "auto";
  }
};

export const applyTheme = (theme: Theme): void => {
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // A browser that keeps nothing forgets the choice.
  }
  changed.dispatchEvent(new Event("change"));
};

/** Calls `then` whenever the colours are others. */
export const onColours = (then: () => void): (() => void) => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", then);
  changed.addEventListener("change", then);
  return () => {
    system.removeEventListener("change", then);
    changed.removeEventListener("change", then);
  };
};

/** A colour of the style sheet as it is now; a canvas knows no variables. */
export const colour = (name: string): string => {
  const probe = document.createElement("span");
  probe.hidden = true;
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
};
