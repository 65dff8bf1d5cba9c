// The served metrics over time, beside the baselines, with versions and drift on them.

import { at, get } from "./api.js";
import { draw, lines, marks } from "./charts.js";
import { figure, h, moment, section, table, tag } from "./dom.js";

export const metrics = { title: "Metrics", every: 5000, read };

const SPANS = [["recent", "over the last 1,000 labels"], ["total", "since the first label"]];

async function read(context) {
  const { pipeline, body, state, isShown } = context;
  state.data = await get(at(pipeline, "metrics"));
  if (!isShown()) return;
  state.span ??= state.data.recent.length > 1 ? "recent" : "total";
  if (!state.data.total.length) {
    body.replaceChildren(h("div", { class: "notice empty", id: "state", "data-state": "empty" },
      h("p", {}, h("b", {}, "No metric yet."), " The learn flow writes one as soon as a label is joined with its prediction.")));
    state.plots = null;
    return;
  }
  if (!state.plots) build(context);
  await fill(context);
}

function names(data) {
  return Object.keys(data.total.at(-1).metrics.model);
}

function build(context) {
  const { body, state } = context;
  state.plots = new Map(names(state.data).map((name) => [name, plotOf(name, state.data.bigger_is_better[name])]));
  const radios = SPANS.map(([span, text]) => h("label", {},
    h("input", { type: "radio", name: "span", value: span, checked: span === state.span,
      on: { change: () => { state.span = span; fill(context); } } }), " ", text));
  state.events = h("div");
  body.replaceChildren(
    section("Metrics over time",
      h("p", { class: "soft" }, "Prequential: each label judges the prediction that was served before the label was known. The baselines are those that any model must beat."),
      h("fieldset", {}, h("legend", { class: "soft" }, "Metrics"), radios),
      [...state.plots.values()].map(({ figure: each }) => each)),
    state.events);
}

function plotOf(name, isBigger) {
  const plot = h("div", { class: "plot", role: "img", "data-metric": name });
  const points = h("div");
  const details = h("details", {}, h("summary", {}, "The points as a table"), points);
  const note = isBigger === undefined ? "" : isBigger ? "bigger is better" : "smaller is better";
  return { plot, points, details, figure: h("figure", {}, h("h3", {}, name, " ", h("span", { class: "note" }, note)), plot, details) };
}

async function fill({ state }) {
  const { data, span } = state;
  const points = data[span];
  const times = points.map((point) => point.time);
  const found = marked(data, times[0], times.at(-1));
  for (const [name, { plot, points: to, details }] of state.plots) {
    const values = {};
    for (const predictor of Object.keys(data.total.at(-1).metrics)) {
      values[predictor] = points.map((point) => point.metrics[predictor]?.[name] ?? null);
    }
    const last = Object.entries(values).map(([predictor, y]) => `${predictor} ${figure(y.at(-1))}`);
    plot.setAttribute("aria-label", `${name} over time from ${moment(times[0])} to ${moment(times.at(-1))}; at the end ${last.join(", ")}`);
    plot.dataset.last = JSON.stringify(Object.fromEntries(Object.entries(values).map(([each, y]) => [each, y.at(-1) ?? null])));
    if (details.open || !to.childElementCount) to.replaceChildren(pointsTable(name, points, values));
    await draw(plot, lines(times, values), { ...marks(found), xaxis: { type: "date" }, yaxis: scale(values) });
  }
  state.events.replaceChildren(events(data));
}

// A baseline can be so far off that the other lines would be flat; a logarithmic axis shows all of them.
function scale(values) {
  const all = Object.values(values).flat().filter((value) => value !== null);
  return Math.min(...all) > 0 && Math.max(...all) > 8 * Math.min(...all)
    ? { type: "log", dtick: Math.log10(2), tickformat: ".2~r" } : { type: "linear" };
}

function pointsTable(name, points, values) {
  const rows = points.map((point, n) => ({ ...point, n })).reverse().slice(0, 200);
  return table(`${name}, the newest points`, [
    ["time", (row) => moment(row.time)], ["version", (row) => row.model], ["labels", (row) => row.labels.toLocaleString("en"), "n"],
    ...Object.entries(values).map(([predictor, y]) => [predictor, (row) => figure(y[row.n]), "n"]),
  ], rows);
}

function marked(data, first, last) {
  const changes = data.changes.map((each) => ({ ...each, paint: "good", sign: each.version, text: `${each.change} ${each.version}: ${each.why}` }));
  const signals = data.signals.filter((each) => each.status === "firing")
    .map((each) => ({ ...each, paint: each.severity === "critical" ? "critical" : "warning", sign: "\u25bc", text: each.why }));
  return [...changes, ...signals].filter(({ time }) => time >= first && time <= last);
}

function events(data) {
  const rows = [
    ...data.changes.map((each) => ({ time: each.time, what: each.change, version: each.version, why: `${each.who}: ${each.why}` })),
    ...data.signals.map((each) => ({ time: each.time, what: each.status === "firing" ? each.severity : each.status, version: each.version, why: `${each.kind} drift: ${each.why}` })),
  ].sort((one, other) => (one.time < other.time ? 1 : -1));
  if (!rows.length) return section("Versions and drift", h("p", {}, "No version was promoted and no drift was found yet."));
  return section("Versions and drift", table("Versions and drift", [
    ["time", (row) => moment(row.time)], ["what", (row) => tag(row.what)], ["version", (row) => h("code", {}, row.version)], ["why", (row) => row.why],
  ], rows));
}
