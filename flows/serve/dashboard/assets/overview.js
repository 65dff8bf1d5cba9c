// The pipeline at a glance: its state, the journey of an event with rates, the flows, the topics.

import { at, get } from "./api.js";
import { count, facts, figure, h, moment, rate, replace, seconds, section, table, tag } from "./dom.js";

export const overview = { title: "Overview", every: 2000, read };

async function read({ pipeline, body, isShown }) {
  const now = await get(at(pipeline, "overview"));
  if (!isShown()) return;
  if (now.state === "broken") {
    replace(body, banner("broken", "The log cannot be read.", now.why));
    return;
  }
  replace(body, state(now), glance(now), journey(now), flows(now), topics(now));
}

function banner(kind, title, text) {
  return h("div", { class: `notice ${kind}`, id: "state", "data-state": kind }, h("p", {}, h("b", {}, title), " ", text));
}

function named(flows, state) {
  return flows.filter((flow) => flow.state === state);
}

function state({ state, flows, names, pipeline }) {
  const waiting = (flow) => `${flow.flow} (${count(flow.lag)} records wait)`;
  if (state === "empty") {
    return banner("empty", "No event yet.",
      `Publish to the topic ${names.events}: with driftline publish, with a producer, or with POST ${at(pipeline, "events")}. ${running(flows)}`);
  }
  if (state === "stopped") {
    return banner("stopped", `Stopped: ${named(flows, "stopped").map((flow) => flow.flow).join(", ")}.`,
      `Nothing is lost: the records wait in the topics, ${named(flows, "stopped").map(waiting).join(", ")}. Start the flows with driftline run.`);
  }
  if (state === "behind") {
    const text = named(flows, "behind").map((flow) =>
      `${waiting(flow)}, ${flow.rate ? `about ${seconds(flow.lag / flow.rate)} at its pace` : "it does not move"}`);
    return banner("behind", "Behind.", `${text.join("; ")}.`);
  }
  return banner("running", "Running.", running(flows));
}

function running(flows) {
  const starting = named(flows, "starting").map((flow) => `${flow.flow} waits: ${flow.why}.`);
  const unknown = named(flows, "unknown").map((flow) => flow.flow);
  if (unknown.length) starting.push(`Not known: ${unknown.join(", ")}.`);
  return starting.length ? starting.join(" ") : "All flows answer.";
}

function topic(now, kind) {
  return now.topics.find((each) => each.topic === now.names[kind]);
}

function glance(now) {
  const { latency, learned, champion } = now;
  const predict = now.flows.find((flow) => flow.flow === "predict");
  const dead = topic(now, "dead-letters");
  const [name, value] = Object.entries(learned.metrics?.model ?? {})[0] ?? ["metric", null];
  return section("Now", facts([
    ["predictions", count(topic(now, "predictions")?.records), rate(topic(now, "predictions")?.rate)],
    ["latency", seconds(latency?.p50), latency ? `p99 ${seconds(latency.p99)}` : "no record has published-at"],
    ["backlog of predict", count(predict.lag), predict.lag === null ? "nothing read yet" : "records"],
    ["champion", champion?.version ?? "-", champion?.frozen ? "frozen" : `${count(learned.labels)} labels learned`],
    [name, figure(value), `since the first label, ${moment(learned.time)}`],
    ["pending labels", count(learned.pending), `${count(learned.expired)} expired`],
    ["dead letters", count(dead?.records), rate(dead?.rate)],
  ]));
}

function journey(now) {
  const flow = (name) => now.flows.find((each) => each.flow === name);
  const box = (kind) => h("li", {}, h("b", {}, kind), h("span", { class: "soft" }, rate(topic(now, kind)?.rate)));
  const step = (name) => h("li", { class: "is-flow" }, h("b", {}, name), tag(flow(name).state));
  return section("The journey of an event",
    h("ol", { class: "journey" }, box("events"), step("predict"), box("predictions"), box("labels"), step("learn"), box("drift")));
}

function flows(now) {
  return section("Flows", table("Flows", [
    ["flow", (flow) => flow.flow],
    ["state", (flow) => tag(flow.state)],
    ["processes", (flow) => count(flow.processes), "n"],
    ["lag", (flow) => count(flow.lag), "n"],
    ["reads", (flow) => rate(flow.rate), "n"],
    ["memory", (flow) => (flow.memory ? `${count(flow.memory / 2 ** 20)} MB` : "-"), "n"],
    ...(now.flows.some((flow) => flow.why) ? [["waits for", (flow) => flow.why ?? ""]] : []),
  ], now.flows));
}

function topics(now) {
  return section("Topics", table("Topics", [
    ["topic", (each) => h("code", {}, each.topic)],
    ["records", (each) => count(each.records), "n"],
    ["rate", (each) => rate(each.rate), "n"],
  ], now.topics));
}
