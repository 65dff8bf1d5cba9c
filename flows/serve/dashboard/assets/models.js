// The versions with their roles, what happened to them, and what a person may change, with a reason and a token.

import { at, get, post } from "./api.js";
import { reasonDialog, refused } from "./dialogs.js";
import { count, figure, h, moment, replace, section, table, tag } from "./dom.js";

export const models = { title: "Models", every: 5000, read };

const WHOLE = [["freeze", "Let the champion serve without learning"], ["unfreeze", "Let it learn again"], ["retrain", "Train candidates"]];

async function read({ pipeline, body, state, isShown }) {
  const [versions, history] = await Promise.all([get(at(pipeline, "models")), get(at(pipeline, "models/history"))]);
  if (!isShown()) return;
  if (!state.parts) {
    state.parts = { versions: h("div"), gates: h("div"), history: h("div") };
    state.dialog = reasonDialog();
    const actions = WHOLE.map(([action, title]) => button(pipeline, action, "", state, title));
    body.replaceChildren(state.parts.versions, section("Commands", h("p", { class: "soft" },
      "A change needs a token with the scope operate, and a reason, which the registry keeps. The learner carries it out."),
      h("p", { class: "actions" }, actions), h("p", { id: "outcome", role: "status" })), state.parts.gates, state.parts.history, state.dialog);
  }
  const found = JSON.stringify([versions, history]);
  if (state.found === found) return; // nothing new
  state.found = found;
  replace(state.parts.versions, versionTable(versions, pipeline, state));
  replace(state.parts.history, historyTable(history));
}

function versionTable(versions, pipeline, state) {
  if (!versions.length) return section("Versions", h("p", {}, "No version yet: the learn flow registers the first one when it starts."));
  return section("Versions", table("Versions", [
    ["version", (row) => h("code", {}, row.version)],
    ["role", (row) => h("span", {}, tag(row.role), row.frozen ? " frozen" : "")],
    ["born", (row) => moment(row.born)],
    ["labels", (row) => count(row.labels), "n"],
    ["parent", (row) => row.parent ?? "-"],
    ["cause", (row) => row.cause ?? "-"],
    ["", (row) => h("span", { class: "actions" }, actions(row).map((action) => button(pipeline, action, row.version, state)),
      row.role === "challenger" ? h("button", { type: "button", on: { click: () => compare(pipeline, row.version, state) } }, "compare") : null)],
  ], versions));
}

const ACTIONS = { challenger: ["promote", "retire"], shadow: ["promote", "rollback", "retire"], retired: ["rollback"] };
const actions = (row) => ACTIONS[row.role] ?? [];

function historyTable(entries) {
  if (!entries.length) return section("History", h("p", {}, "Nothing happened yet."));
  return section("History", table("History", [
    ["time", (row) => moment(row.time)], ["change", (row) => row.change], ["version", (row) => h("code", {}, row.version)],
    ["labels", (row) => count(row.labels), "n"], ["who", (row) => row.who], ["why", (row) => row.why],
  ], [...entries].reverse()));
}

async function compare(pipeline, version, state) {
  let shown;
  try {
    const gates = await get(at(pipeline, `models/${encodeURIComponent(version)}/gates`));
    shown = table(`Gates of ${version}`, [
      ["gate", (gate) => gate.name], ["value", (gate) => (gate.value === null ? "-" : figure(gate.value)), "n"],
      ["required", (gate) => figure(gate.required), "n"], ["passed", (gate) => (gate.passed ? "yes" : "no")],
    ], gates);
  } catch (error) {
    shown = h("p", {}, error.message);
  }
  state.parts.gates.replaceChildren(section(`${version} beside the champion`, shown));
}

function button(pipeline, action, version, state, title = "") {
  return h("button", { type: "button", title, "aria-label": `${action} ${version}`.trim(), "data-action": action,
    on: { click: () => state.dialog.ask(`${action} ${version}`.trim(), (reason) => send(pipeline, action, version, reason)) } }, action);
}

async function send(pipeline, action, version, reason) {
  const outcome = document.getElementById("outcome");
  outcome.textContent = `${action} ${version}: sent ...`;
  try {
    const path = version ? `models/${encodeURIComponent(version)}/${action}` : `models/${action}`;
    const answer = await post(at(pipeline, path), { reason });
    outcome.textContent = answer.status === "done"
      ? answer.entries.map((entry) => `${entry.version} ${entry.change}: ${entry.why}`).join("; ")
      : "Sent; the learner carries it out when it runs.";
  } catch (error) {
    outcome.textContent = `${action} ${version}: ${refused(error)}`;
  }
}
