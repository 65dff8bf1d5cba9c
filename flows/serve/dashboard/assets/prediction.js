// One prediction, found by the id of its event, and what each feature contributed.

import { at, get } from "./api.js";
import { facts, figure, h, moment, section, table } from "./dom.js";

export const prediction = { title: "Prediction", every: 0, read };

async function read({ pipeline, body, isShown }) {
  const field = h("input", { id: "event-id", name: "id", required: true, autocomplete: "off", spellcheck: "false" });
  const found = h("div", { "aria-live": "polite" });
  const form = h("form", { on: { submit: (event) => { event.preventDefault(); look(pipeline, field.value.trim(), found, isShown); } } },
    h("p", { class: "actions" }, h("label", {}, "Event id ", field), h("button", { class: "main" }, "Look up")));
  body.replaceChildren(section("Look up a prediction", form), found);
}

async function look(pipeline, id, found, isShown) {
  found.replaceChildren(h("p", { class: "soft" }, "searching ..."));
  const path = `predictions/${encodeURIComponent(id)}`;
  try {
    const answer = await get(at(pipeline, path));
    if (!isShown()) return;
    const explained = h("div", {}, h("p", { class: "soft" }, "computing the explanation ..."));
    found.replaceChildren(summary(answer), section("Explanation", explained));
    explained.replaceChildren(...explanation(await get(at(pipeline, `${path}/explanation?top=5`))));
  } catch (error) {
    const text = h("p", {}, error.message);
    (found.querySelector("[data-section=Explanation] div") ?? found).replaceChildren(text);
  }
}

const shown = (value) => (value === null ? "null" : typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value));
const score = (value) => (typeof value === "number" ? figure(value) : Object.entries(value).map(([name, each]) => `${name} ${figure(each)}`).join(", "));

function summary(answer) {
  return section(`Event ${answer.id}`,
    facts([["score", score(answer.score)], ["model", answer.model, `${answer.learned ?? "-"} labels learned`], ["event time", moment(answer.time)],
      ...Object.entries(answer.shadows).map(([version, each]) => [`shadow ${version}`, score(each)])]),
    h("details", {}, h("summary", {}, "The features as served"), table("Features", [
      ["feature", ([name]) => h("code", {}, name)], ["value", ([, value]) => shown(value), "n"],
    ], Object.entries(answer.features))));
}

function explanation(answer) {
  const most = Math.max(...answer.contributions.map((each) => Math.abs(each.contribution)), 1e-300);
  const rows = [...answer.contributions].sort((one, other) => Math.abs(other.contribution) - Math.abs(one.contribution));
  return [
    h("p", { class: "soft" }, `${answer.unit}: base ${figure(answer.base)} plus the contributions. Method ${answer.method}, ${answer.exact ? "exact" : "a sample"}; the score was ${answer.explained_with.reproduced ? "" : "not "}reproduced bit for bit.`),
    table("Contributions", [
      ["feature", (row) => h("code", {}, row.feature)], ["value", (row) => shown(row.value), "n"],
      ["contribution", (row) => figure(row.contribution), "n"], ["", (row) => bar(row.contribution / most)],
    ], rows),
    answer.alternatives.length ? h("h3", {}, "If one feature alone had another value") : null,
    answer.alternatives.length ? table("Alternatives", [
      ["feature", (row) => h("code", {}, row.feature)], ["with", (row) => shown(row.value), "n"], ["score", (row) => figure(row.score), "n"],
    ], answer.alternatives) : null,
  ].filter(Boolean);
}

function bar(share) {
  const found = h("span", { class: share < 0 ? "bar minus" : "bar", "aria-hidden": "true" });
  found.style.width = `${Math.round(120 * Math.abs(share))}px`;
  return found;
}
