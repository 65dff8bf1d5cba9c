// The dead letters by reason, and the newest ones, to be sent again; the predictions that wait for a label.

import { at, get, post } from "./api.js";
import { reasonDialog, refused } from "./dialogs.js";
import { count, facts, h, moment, replace, section, table } from "./dom.js";

export const letters = { title: "Dead letters", every: 5000, read };

async function read({ pipeline, body, state, isShown }) {
  const [dead, now] = await Promise.all([get(at(pipeline, "dead-letters")), get(at(pipeline, "overview"))]);
  if (!isShown()) return;
  build({ body, state });
  const found = JSON.stringify([dead, now.learned]);
  if (state.found === found) return; // nothing new
  state.found = found;
  for (const each of body.querySelectorAll("details")) each.open ? state.open.add(each.dataset.place) : state.open.delete(each.dataset.place);
  const learned = now.learned ?? {};
  replace(state.pending, section("Pending labels", facts([
    ["pending", count(learned.pending), "predictions that wait for their label"],
    ["expired", count(learned.expired), "never got one"],
    ["learned", count(learned.labels), "labels"],
  ])));
  const again = (letters, text) => sendButton({ pipeline, state, letters, text });
  replace(state.letters, dead.total ? reasons(dead, again) : section("Dead letters", h("p", {}, "There are none: every record was used.")));
  replace(state.newest, dead.total ? newest(dead, state.open, again) : "");
}

function build({ body, state }) {
  if (state.letters) return;
  Object.assign(state, { open: new Set(), pending: h("div"), letters: h("div"), newest: h("div"), dialog: reasonDialog(),
    outcome: h("div", { id: "outcome", role: "status" }) });
  body.replaceChildren(state.pending, state.letters, state.outcome, state.newest, state.dialog);
}

function reasons(dead, again) {
  return section("Dead letters",
    h("p", { class: "soft" }, "Records that could not be used. Remove the cause first: a record that fails again becomes a new dead letter. Sending needs a token with the scope operate, and a reason, which the audit log keeps."),
    table("Dead letters by reason", [
      ["reason", (row) => h("code", {}, row.reason)], ["topic", (row) => row.topic], ["records", (row) => count(row.records), "n"],
      ["", (row) => (dead.inputs.includes(row.topic) ? again({ reason: row.reason, topic: row.topic }, `${row.reason} of ${row.topic}`) : "no input")],
    ], dead.counts));
}

function newest(dead, open, again) {
  return section("The newest", table("The newest dead letters", [
    ["place", (row) => h("code", {}, row.place)], ["time", (row) => moment(row.time)], ["reason", (row) => row.reason], ["topic", (row) => row.topic],
    ["detail", (row) => h("details", { open: open.has(row.place), "data-place": row.place }, h("summary", {}, row.detail), h("pre", {}, h("code", {}, row.value)))],
    ["", (row) => (dead.inputs.includes(row.topic) ? again({ places: [row.place] }, row.place) : "no input")],
  ], dead.newest));
}

function sendButton({ pipeline, state, letters, text }) {
  const ask = () => state.dialog.ask(`Send again: ${text}`, (reason) => send(pipeline, state.outcome, letters, text, reason));
  return h("button", { type: "button", "aria-label": `send again ${text}`, "data-again": text, on: { click: ask } }, "send again");
}

async function send(pipeline, outcome, letters, text, reason) {
  const say = (...children) => outcome.replaceChildren(section(`Sent again: ${text}`, ...children));
  say(h("p", {}, "Sending, and waiting for the flows ..."));
  try {
    const answer = await post(at(pipeline, "dead-letters/replay"), { reason, letters });
    say(...told(answer));
  } catch (error) {
    say(h("p", {}, refused(error)));
  }
}

function told({ status, sent, failed, failures, skipped }) {
  const records = (number) => `${count(number)} ${number === 1 ? "record" : "records"}`;
  const rest = status === "done" ? "" : " The flows have not read all of them yet; those that fail again appear below.";
  const lines = [`${records(sent)} sent again, ${failed ? `${count(failed)} failed again` : "none has failed again"}.${rest}`,
    ...skipped.map((each) => `${records(each.records)} not sent: ${each.why}.`)];
  return [...lines.map((line) => h("p", {}, line)), failed ? table("Failed again", [
    ["place", (row) => h("code", {}, row.place)], ["reason", (row) => row.reason], ["topic", (row) => row.topic], ["why", (row) => row.detail],
  ], failures) : ""];
}
