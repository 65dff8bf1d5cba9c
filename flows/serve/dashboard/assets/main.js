// Chooses the view by the address, and lets it read again while the page is visible.

import { Failed, get } from "./api.js";
import { h } from "./dom.js";
import { drift } from "./drift.js";
import { overview } from "./overview.js";
import { letters } from "./letters.js";
import { metrics } from "./metrics.js";
import { models } from "./models.js";
import { prediction } from "./prediction.js";
import { quality } from "./quality.js";
import { forget } from "./charts.js";
import { askOnce, askToken, onToken } from "./dialogs.js";

const VIEWS = { overview, metrics, quality, drift, models, prediction, letters };

const view = document.getElementById("view");
const notice = document.getElementById("notice");
const picker = document.getElementById("pipeline");
let turn = 0; // of the view that is shown; an answer for an earlier one is dropped
let timer = null;

function place() {
  const [name, pipeline] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return { name: Object.hasOwn(VIEWS, name) ? name : "overview", pipeline: pipeline || picker.value };
}

const address = (name, pipeline) => `#/${name}/${encodeURIComponent(pipeline)}`;

function say(text) {
  notice.hidden = !text;
  if (notice.textContent !== text) notice.textContent = text;
}

function failed(error) {
  say(error.message);
  if (error instanceof Failed && error.status === 401) askOnce(error.message);
}

async function show() {
  clearTimeout(timer);
  const mine = (turn += 1);
  const { name, pipeline } = place();
  picker.value = pipeline;
  document.title = `${VIEWS[name].title}: ${pipeline} - Driftline`;
  document.getElementById("views").replaceChildren(...Object.entries(VIEWS).map(([each, { title }]) =>
    h("a", { href: address(each, pipeline), "aria-current": each === name ? "page" : null }, title)));
  const body = h("div", {}, h("p", { class: "soft" }, "reading ..."));
  forget(view);
  view.replaceChildren(h("h1", {}, VIEWS[name].title), body);
  const state = {};
  const isShown = () => mine === turn;

  async function read() {
    try {
      if (!document.hidden) {
        await VIEWS[name].read({ pipeline, body, state, isShown });
        if (!isShown()) return;
        view.dataset.read = String(Number(view.dataset.read ?? 0) + 1);
        say("");
      }
    } catch (error) {
      if (!isShown()) return;
      failed(error);
    }
    if (VIEWS[name].every) timer = setTimeout(read, VIEWS[name].every);
  }
  await read();
}

async function start() {
  try {
    const { pipelines } = await get("/v1");
    const chosen = place().pipeline;
    picker.replaceChildren(...pipelines.map((name) => h("option", { value: name }, name)));
    if (pipelines.includes(chosen)) picker.value = chosen;
    say("");
    await show();
  } catch (error) {
    failed(error);
    if (error.status !== 401) setTimeout(start, 3000);
  }
}

onToken(() => (picker.options.length ? show() : start()));
document.getElementById("token-button").addEventListener("click", () => askToken(""));
picker.addEventListener("change", () => { location.hash = address(place().name, picker.value); });
addEventListener("hashchange", async () => { await show(); view.focus({ preventScroll: true }); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (picker.options.length) show(); });
start();
