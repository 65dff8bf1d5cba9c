// The dead letters by reason, and the newest ones; the predictions that wait for a label.

import { at, get } from "./api.js";
import { count, facts, h, moment, replace, section, table } from "./dom.js";

export const letters = { title: "Dead letters", every: 5000, read };

async function read({ pipeline, body, state, isShown }) {
  const [dead, now] = await Promise.all([get(at(pipeline, "dead-letters")), get(at(pipeline, "overview"))]);
  if (!isShown()) return;
  const found = JSON.stringify([dead, now.learned]);
  if (state.found === found) return; // nothing new
  state.found = found;
  state.open ??= new Set();
  for (const each of body.querySelectorAll("details")) each.open ? state.open.add(each.dataset.place) : state.open.delete(each.dataset.place);
  const learned = now.learned ?? {};
  replace(body,
    section("Pending labels", facts([
      ["pending", count(learned.pending), "predictions that wait for their label"],
      ["expired", count(learned.expired), "never got one"],
      ["learned", count(learned.labels), "labels"],
    ])),
    dead.total ? reasons(dead) : section("Dead letters", h("p", {}, "There are none: every record was used.")),
    dead.total ? newest(dead, state.open) : "");
}

function reasons(dead) {
  return section("Dead letters", h("p", { class: "soft" }, "Records that could not be used. Send them again with driftline dead-letters replay when the cause is removed."),
    table("Dead letters by reason", [
      ["reason", (row) => h("code", {}, row.reason)], ["topic", (row) => row.topic], ["records", (row) => count(row.records), "n"],
    ], dead.counts));
}

function newest(dead, open) {
  return section("The newest", table("The newest dead letters", [
    ["place", (row) => h("code", {}, row.place)], ["time", (row) => moment(row.time)], ["reason", (row) => row.reason], ["topic", (row) => row.topic],
    ["detail", (row) => h("details", { open: open.has(row.place), "data-place": row.place }, h("summary", {}, row.detail), h("pre", {}, h("code", {}, row.value)))],
  ], dead.newest));
}
