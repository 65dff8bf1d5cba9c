// Builds elements, and formats values for people. Text is always set as text, never as HTML.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

export const count = (value) => (value === null || value === undefined ? "-" : Math.round(value).toLocaleString("en"));
export const figure = (value) => (typeof value === "number" ? value.toFixed(4) : "-");
export const percent = (value) => (typeof value === "number" ? `${(100 * value).toFixed(1)} %` : "-");
// Before the first label there is no event time; the registry has the year 1970 then.
export const moment = (text) => (text && !text.startsWith("1970-01-01T00:00") ? text.slice(0, 16).replace("T", " ") : "-");

export function rate(value) {
  if (value === null || value === undefined) return "-";
  return `${value >= 100 ? count(value) : value.toFixed(1)}/s`;
}

export function seconds(value) {
  if (typeof value !== "number") return "-";
  return value < 1 ? `${(1000 * value).toFixed(value < 0.01 ? 1 : 0)} ms` : `${value.toFixed(1)} s`;
}

// A table; a column is [heading, cell of a row, "n" for numbers]. A cell is text or an element.
export function table(label, columns, rows) {
  const head = columns.map(([name, , kind]) => h("th", { scope: "col", class: kind }, name));
  const body = rows.map((row) =>
    h("tr", {}, columns.map(([, cell, kind], n) => h(n ? "td" : "th", { scope: n ? null : "row", class: kind }, cell(row) ?? "-"))));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.map(([name, value, note]) =>
    h("div", {}, h("dt", {}, name), h("dd", { "data-fact": name }, value, note ? h("small", {}, note) : null))));
}

export const tag = (text) => h("span", { class: `tag ${text}` }, text);

// Replaces what an element contains; the region that had the focus gets it again, and keeps where it was scrolled to.
export function replace(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  const places = new Map([...element.querySelectorAll(".scroll")].map((each) => [each.getAttribute("aria-label"), each.scrollLeft]));
  element.replaceChildren(...children);
  for (const each of element.querySelectorAll("[aria-label]")) {
    const label = each.getAttribute("aria-label");
    if (places.has(label)) each.scrollLeft = places.get(label);
    if (focused && label === focused) each.focus({ preventScroll: true });
  }
}

let number = 0;

export function section(title, ...children) {
  const id = `section-${(number += 1)}`;
  return h("section", { "aria-labelledby": id, "data-section": title }, h("h2", { id }, title), children);
}
