// Charts by Plotly, which is loaded with the first one, in the colours of the page.

let loading = null;

function library() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "/assets/plotly.min.js";
    script.addEventListener("load", () => resolve(globalThis.Plotly));
    script.addEventListener("error", () => { loading = null; reject(new Error("The charts cannot be loaded; read the tables.")); });
    document.head.append(script);
  });
  return loading;
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const LINES = [["model", "solid", 2.5], ["p1", "dash", 2], ["p2", "dot", 2], ["p3", "dashdot", 2]];

export function lines(times, values) {
  return Object.entries(values).map(([name, y], n) => {
    const [paint, dash, width] = LINES[n % LINES.length];
    return { x: times, y, name, mode: "lines", type: "scatter", connectgaps: false, line: { color: colour(paint), dash, width } };
  });
}

// A vertical line at each mark, and a dot on top with its text, which can be pointed at.
export function marks(found) {
  const shapes = found.map(({ time, paint }) => ({
    type: "line", xref: "x", yref: "paper", x0: time, x1: time, y0: 0, y1: 1, line: { color: colour(paint), width: 1.5, dash: "dot" },
  }));
  const annotations = found.map(({ time, paint, sign, text }) => ({
    x: time, y: 1, xref: "x", yref: "paper", yanchor: "bottom", showarrow: false, text: sign, hovertext: text, font: { color: colour(paint), size: 12 },
  }));
  return { shapes, annotations };
}

export async function draw(element, data, layout = {}) {
  const Plotly = await library();
  const ink = { color: colour("soft"), size: 12, family: getComputedStyle(document.body).fontFamily };
  const axis = { gridcolor: colour("grid"), linecolor: colour("rule"), zerolinecolor: colour("grid"), automargin: true };
  const { xaxis, yaxis, ...rest } = layout;
  await Plotly.react(element, data, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: ink, hovermode: "x unified",
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("rule"), font: { color: colour("ink") } },
    margin: { l: 48, r: 12, t: 24, b: 36 }, legend: { orientation: "h", y: -0.16 }, uirevision: "kept",
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  }, { displayModeBar: false, responsive: true });
}

// Frees what the charts in an element hold; they listen to the size of the window.
export function forget(element) {
  for (const plot of element.querySelectorAll(".plot")) globalThis.Plotly?.purge(plot);
}
