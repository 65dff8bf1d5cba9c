// Calibration and slices, from the last assessment on the metrics topic.

import { at, get } from "./api.js";
import { colour, draw, forget } from "./charts.js";
import { count, facts, figure, h, moment, percent, replace, section, table } from "./dom.js";

export const quality = { title: "Quality", every: 10000, read };

async function read({ pipeline, body, state, isShown }) {
  const { assessment } = await get(at(pipeline, "metrics"));
  if (!isShown()) return;
  if (!assessment) {
    body.replaceChildren(h("div", { class: "notice empty", id: "state", "data-state": "empty" },
      h("p", {}, h("b", {}, "No assessment yet."), " The learn flow writes one every few seconds while it learns.")));
    return;
  }
  if (state.labels === assessment.labels && state.time === assessment.time) return; // nothing new: keep focus and zoom
  Object.assign(state, { labels: assessment.labels, time: assessment.time });
  const plot = h("div", { class: "plot", role: "img", "aria-label": "Share of true labels by mean score; the table has the figures" });
  forget(body);
  replace(body,
    h("p", { class: "soft" }, `After ${count(assessment.labels)} labels, at ${moment(assessment.time)}.`),
    losses(assessment.losses),
    assessment.calibration ? calibration(assessment.calibration, plot) : section("Calibration", h("p", {}, "There are no scores of a binary target.")),
    ...slices(assessment.slices));
  if (assessment.calibration) await drawBins(plot, assessment.calibration.bins.filter((bin) => bin.labels));
}

function losses(found) {
  const rows = Object.entries(found).flatMap(([loss, of]) => Object.keys(of.mean).map((predictor) => ({
    loss, predictor, mean: of.mean[predictor], fading: of.fading[predictor], skill: of.skill[predictor],
  })));
  return section("Losses", table("Losses", [
    ["loss", (row) => row.loss], ["predictor", (row) => row.predictor], ["mean", (row) => figure(row.mean), "n"],
    ["fading", (row) => figure(row.fading), "n"], ["skill of the model over it", (row) => figure(row.skill), "n"],
  ], rows));
}

function calibration({ expected_error: error, brier, bins }, plot) {
  return section("Calibration", h("p", { class: "soft" }, "Of the events that got a score of about p, a share of about p should be true. The larger a dot, the more labels."),
    facts([["expected calibration error", figure(error)], ["Brier score", figure(brier.score)]]),
    h("div", { class: "two" }, plot, table("Calibration, bins", [
      ["scores", (bin) => `${bin.low} to ${bin.high}`], ["labels", (bin) => count(bin.labels), "n"],
      ["mean score", (bin) => percent(bin.score), "n"], ["true", (bin) => percent(bin.share), "n"],
    ], bins.filter((bin) => bin.labels))));
}

function drawBins(plot, bins) {
  const most = Math.max(...bins.map((bin) => bin.labels), 1);
  const dots = {
    x: bins.map((bin) => bin.score), y: bins.map((bin) => bin.share), mode: "markers", type: "scatter", name: "bins",
    marker: { color: colour("model"), size: bins.map((bin) => 6 + 24 * Math.sqrt(bin.labels / most)), opacity: 0.75 },
  };
  const even = { x: [0, 1], y: [0, 1], mode: "lines", name: "calibrated", hoverinfo: "skip", line: { color: colour("soft"), dash: "dot", width: 1.5 } };
  return draw(plot, [even, dots], { showlegend: false, hovermode: "closest",
    xaxis: { range: [0, 1], title: { text: "mean score" } }, yaxis: { range: [0, 1], title: { text: "true" } } });
}

function slices(found) {
  if (!Object.keys(found).length) return [section("Slices", h("p", {}, "No columns are declared as slices."))];
  return Object.entries(found).map(([column, { groups, fairness }]) => section(`Slices by ${column}`,
    h("p", { class: "soft" }, `Between the groups with the highest and the lowest rate: demographic parity ${percent(fairness.parity_difference)}, equal opportunity ${percent(fairness.opportunity_difference)}, false positives ${percent(fairness.false_positive_difference)}, errors ${percent(fairness.error_difference)}. A dash means too few labels.`),
    table(`Slices by ${column}`, [
      [column, (row) => row.value], ["labels", (row) => count(row.labels), "n"], ["positive", (row) => percent(row.positive), "n"],
      ["true positive", (row) => percent(row.true_positive), "n"], ["false positive", (row) => percent(row.false_positive), "n"], ["error", (row) => percent(row.error), "n"],
    ], groups)));
}
