// How far each feature moved in each window of served predictions, and its distributions in one of them.

import { at, get } from "./api.js";
import { colour, draw, forget } from "./charts.js";
import { count, facts, h, moment, percent, section, table, tag } from "./dom.js";

export const drift = { title: "Drift", every: 5000, read };

async function read(context) {
  const { pipeline, body, state, isShown } = context;
  let data = await get(at(pipeline, "drift"));
  build(context);
  while (data.unread && isShown()) {
    state.progress.textContent = `Read ${count(data.predictions)} predictions; ${count(data.unread)} are still to be read ...`;
    data = await get(at(pipeline, "drift"));
  }
  if (!isShown()) return;
  state.progress.textContent = data.since ? `Computed from ${count(data.predictions)} predictions since ${moment(data.since)}.` : "";
  const found = JSON.stringify([data.windows.at(-1)?.number, data.is_comparing, data.columns, data.signals, !data.predictions]);
  if (state.found === found) return; // nothing new: keep focus and scrolling
  state.found = found;
  state.notice.replaceChildren(notice(data));
  state.map.replaceChildren(...heatMap(data, context));
  state.signals.replaceChildren(signals(data.signals));
}

function build({ body, state }) {
  if (state.map) return;
  Object.assign(state, { progress: h("p", { class: "soft" }), notice: h("div"), map: h("div"), signals: h("div"),
    shown: h("div", { id: "distributions", "aria-live": "polite" }) });
  body.replaceChildren(state.notice, state.progress, state.map, state.shown, state.signals);
}

function notice(data) {
  const [kind, title, text] = condition(data);
  return h("div", { class: `notice ${PAINT[kind]}`, id: "state", "data-state": kind }, h("p", {}, h("b", {}, title), " ", text, data.is_complete ? "" :
    " The topic is longer than what is read, so the reference is a later one than that of the learn flow, and figures differ."));
}

const PAINT = { empty: "empty", none: "running", drift: "stopped" }; // the classes of the notice

function condition({ predictions, windows, policy, is_comparing: isComparing, is_watched: isWatched }) {
  const unwatched = isWatched ? "" : " The pipeline does not watch its features, so there are no signals.";
  const period = policy.period ? ` and at least ${2 * policy.period / 3_600_000} hours` : "";
  if (!predictions) return ["empty", "Nothing yet.", `There is no prediction to compare.${unwatched}`];
  if (!windows.length) {
    return isComparing ? ["empty", "Nothing to compare yet.", `The reference is full, and the first window of ${count(policy.window)} predictions fills.${unwatched}`]
      : ["empty", "Nothing to compare yet.", `The reference fills: it needs ${count(policy.reference)} predictions${period}, from when the windows of the features are full.${unwatched}`];
  }
  const last = windows.at(-1).drifted;
  if (last.length) return ["drift", "Drift.", `In the last window ${last.length} of ${windows.at(-1).psi.filter((psi) => psi !== null).length} features have drifted: ${few(last)}.${unwatched}`];
  const some = windows.some((each) => each.drifted.length);
  return ["none", "No drift.", some ? `No feature has drifted in the last window; earlier ones have drift.${unwatched}` : `No feature has drifted in any of the last ${count(windows.length)} windows.${unwatched}`];
}

const few = (names) => names.slice(0, 5).join(", ") + (names.length > 5 ? ` and ${names.length - 5} more` : "");
const short = (psi) => psi.toFixed(2).replace(/^0\./, ".");
const level = (psi, policy) => (psi >= policy.alarm ? 2 : psi >= policy.warning ? 1 : 0);
const span = (window) => `${moment(window.since)} to ${moment(window.until)}`;

function heatMap(data, context) {
  const { windows, columns, policy } = data;
  if (!windows.length) return [];
  const raised = new Map(data.signals.map((each) => [each.time, each]));
  const heads = windows.map((window) => h("th", { scope: "col", class: "time" }, moment(window.since).slice(5).split(" ").flatMap((part, n) => (n ? [h("br"), part] : [part]))));
  const rows = columns.map((name, n) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, name)), windows.map((window) => cell(window, name, window.psi[n], policy))));
  const grid = h("table", { role: "grid", class: "heat", "aria-label": "PSI of each feature in each window", "aria-describedby": "heat-help", on: handlers(context) },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "window from"), heads), h("tr", {}, h("th", { scope: "row" }, "signal"), windows.map((window) => signalCell(raised.get(window.until), window)))),
    h("tbody", {}, rows));
  const scroll = h("div", { class: "scroll" }, grid);
  const chosen = findCell(grid, context.state.active) ?? grid.querySelector("tbody tr td:last-child");
  if (chosen) chosen.tabIndex = 0;
  findCell(grid, context.state.chosen)?.setAttribute("aria-selected", "true");
  requestAnimationFrame(() => { scroll.scrollLeft = context.state.scrolled ?? scroll.scrollWidth; });
  scroll.addEventListener("scroll", () => { context.state.scrolled = scroll.scrollLeft + scroll.clientWidth >= scroll.scrollWidth - 2 ? undefined : scroll.scrollLeft; });
  if (document.activeElement?.closest?.(".heat")) requestAnimationFrame(() => chosen?.focus({ preventScroll: true }));
  return [section("Feature drift by window", h("p", { class: "soft", id: "heat-help" },
    `Windows of ${count(policy.window)} served predictions beside the reference. The figure is the population stability index: from ${policy.warning} a feature has moved, from ${policy.alarm} far. \u25b2 marks a significant move, which is drift. Choose a cell for the distributions: by a click, or by the arrow keys and Enter.`), scroll)];
}

function cell(window, name, psi, policy) {
  const attributes = { role: "gridcell", tabindex: -1, "data-window": window.number, "data-column": name };
  if (psi === null) return h("td", { ...attributes, class: "none", "aria-label": `${name}, ${span(window)}: not compared` }, "-");
  const drifted = window.drifted.includes(name);
  const text = `${name}, ${span(window)}: PSI ${psi.toFixed(3)}, ${["not moved", "moved", "moved far"][level(psi, policy)]}${drifted ? ", drift" : ""}`;
  return h("td", { ...attributes, class: `l${level(psi, policy)}`, title: text, "aria-label": text }, (drifted ? "\u25b2" : "") + short(psi));
}

function signalCell(signal, window) {
  if (!signal) return h("td", { "aria-label": `${span(window)}: no signal` }, "");
  const text = `${signal.status === "firing" ? signal.severity : signal.status}: ${signal.why}`;
  return h("td", { class: signal.status === "firing" ? signal.severity : "resolved", title: text, "aria-label": `${span(window)}: ${text}` }, signal.status !== "firing" ? "\u2713" : signal.severity === "critical" ? "\u25bc" : "\u25bd");
}

const findCell = (grid, active) => active && [...grid.querySelectorAll("td[data-column]")].find((each) => each.dataset.column === active.column && each.dataset.window === active.window);

function handlers(context) {
  const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0], Home: [0, -Infinity], End: [0, Infinity] };
  return {
    click: (event) => { const found = event.target.closest("td[data-column]"); if (found) { reach(found, context); choose(found, context); } },
    keydown: (event) => {
      const from = event.target.closest("td[data-column]");
      if (!from) return;
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(from, context); }
      if (!moves[event.key]) return;
      event.preventDefault();
      const rows = [...from.closest("tbody").rows], [down, right] = moves[event.key];
      const row = rows[clamp(rows.indexOf(from.parentElement) + down, 0, rows.length - 1)];
      reach(row.cells[clamp(from.cellIndex + right, 1, row.cells.length - 1)], context);
    },
  };
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// The one cell that the tab key reaches is the last one that was used.
function reach(found, { state }) {
  for (const each of found.closest("table").querySelectorAll("td[tabindex='0']")) each.tabIndex = -1;
  found.tabIndex = 0;
  found.focus();
  state.active = { ...found.dataset };
}

async function choose(found, { pipeline, state, isShown }) {
  const { column, window } = found.dataset;
  for (const each of found.closest("table").querySelectorAll("[aria-selected]")) each.removeAttribute("aria-selected");
  found.setAttribute("aria-selected", "true");
  forget(state.shown);
  state.chosen = found.dataset;
  try {
    const answer = await get(at(pipeline, `drift/${window}/${encodeURIComponent(column)}`));
    if (!isShown() || state.chosen !== found.dataset) return;
    await show(answer, state.shown);
    state.shown.scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (isShown()) state.shown.replaceChildren(section("Distributions", h("p", {}, error.message)));
  }
}

const number = (value) => String(Number(value.toPrecision(4)));

// The bins of a number are given by their upper bounds, of which the last has none.
function bins({ bins: found }) {
  return found.map((bin, n) => {
    if (typeof bin === "string") return bin;
    if (bin === null) return n ? `> ${number(found[n - 1])}` : "all";
    return n ? `${number(found[n - 1])} to ${number(bin)}` : `\u2264 ${number(bin)}`;
  });
}

function show(answer, to) {
  const names = bins(answer);
  const what = answer.category === null ? "mean" : `share of ${answer.category}`;
  const value = answer.category === null ? number : percent;
  const plot = h("div", { class: "plot", role: "img", "aria-label": `Shares of ${answer.column} by bin in the reference and in the window; the table has the figures` });
  to.replaceChildren(section(`Distributions of ${answer.column}`,
    h("p", { class: "soft" }, `Window ${span(answer)}, beside the reference at the same times of the period.`),
    facts([["PSI", answer.psi.toFixed(4), answer.drifted ? "drift" : "no drift"], ["p-value", answer.p_value.toPrecision(2), "corrected for the number of features"],
      [what, `${value(answer.before)} \u2192 ${value(answer.after)}`, "reference \u2192 window"]]),
    h("div", { class: "two" }, plot, table(`Distributions of ${answer.column}`, [
      [answer.category === null ? "values" : "category", (row) => row.name], ["reference", (row) => percent(row.reference), "n"], ["window", (row) => percent(row.window), "n"],
    ], names.map((name, n) => ({ name, reference: answer.reference[n], window: answer.window[n] }))))));
  const bars = (name, y, paint, shape) => ({ type: "bar", name, x: names, y, marker: { color: colour(paint), pattern: { shape, fillmode: "overlay", fgcolor: colour("card"), solidity: 0.35 } }, hovertemplate: "%{y:.1%}" });
  return draw(plot, [bars("reference", answer.reference, "p1", "/"), bars("window", answer.window, "model", "")],
    { barmode: "group", legend: { orientation: "h", y: 1, yanchor: "bottom" }, xaxis: { type: "category" }, yaxis: { tickformat: ".0%", rangemode: "tozero" } });
}

function signals(found) {
  if (!found.length) return section("Signals of feature drift", h("p", {}, "There are none on the drift topic."));
  return section("Signals of feature drift", table("Signals of feature drift", [
    ["time", (row) => moment(row.time)], ["what", (row) => tag(row.status === "firing" ? row.severity : row.status)], ["version", (row) => h("code", {}, row.version)],
    ["features", (row) => row.columns.map((each) => `${each.name} (PSI ${each.psi?.toFixed(2) ?? "-"})`).join(", ")],
  ], [...found].reverse()));
}
