// Colours, and charts, all by Plotly.

const stored = {
  get: () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  },
  set: value => {
    try {
      localStorage.setItem("theme", value);
    } catch {
      /* for this visit only */
    }
  }
};
const narrow = matchMedia("(max-width: 860px)");
const system = matchMedia("(prefers-color-scheme: dark)");
let theme = stored.get() || "system";
const dark = () => theme === "dark" || (theme === "system" && system.matches);
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const color = number => {
  const own = PALETTE[dark() ? "dark" : "light"];
  return own[number % own.length];
};

function applyTheme() {
  document.documentElement.dataset.theme = dark() ? "dark" : "light";
  const button = document.getElementById("theme");
  button.textContent = {system: "◐", light: "☀", dark: "☾"}[theme];
  button.setAttribute("aria-label", `Colours: ${theme === "system" ? "as the system" : theme}`);
  button.title = button.getAttribute("aria-label");
  charts.forEach(redraw => redraw());
  if (current) current.recolor?.();
}

/** The methods that ran, the paper's first: their places decide colour and symbol. */
function methods() {
  if (methods.of !== DATA.rows) {
    methods.of = DATA.rows;
    const found = [...new Set(DATA.rows.map(row => row.method))].sort();
    methods.found = [...found.filter(name => name === "SparseVD"), ...found.filter(name => name !== "SparseVD")];
  }
  return methods.found;
}

const charts = new Map(); // element -> what draws it again

function chart(element, make, events) {
  const redraw = () => {
    if (!window.Plotly) return; // It is read after the table; then all charts are drawn.
    const [traces, layout = {}, config = {}] = make();
    const text = css("--text"),
      line = css("--line");
    const axis = own => ({
      gridcolor: line,
      zerolinecolor: line,
      linecolor: line,
      automargin: true,
      ...own,
      title: {text: own?.title ?? "", font: {size: 12}}
    });
    const {xaxis, yaxis, ...rest} = layout;
    Plotly.react(
      element,
      traces,
      {
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: {family: "inherit", size: 12, color: text},
        margin: {l: 48, r: 14, t: 24, b: 40},
        hovermode: "closest",
        uirevision: "kept",
        legend: {orientation: "h", y: 1.01, yanchor: "bottom", x: 0},
        modebar: {bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--strong")},
        hoverlabel: {bgcolor: css("--card"), bordercolor: css("--soft"), font: {color: text}, align: "left"},
        xaxis: axis(xaxis),
        yaxis: axis(yaxis),
        ...rest
      },
      {
        displaylogo: false,
        responsive: true,
        displayModeBar: narrow.matches ? false : "hover",
        ...config,
        modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]
      }
    );
    for (const [name, handler] of Object.entries(events))
      if (!element.dataset[name]) {
        element.dataset[name] = true;
        element.on(`plotly_${name}`, handler);
      }
  };
  charts.set(element, redraw);
  redraw();
}

function chartCard(name, make, note, kind = "", events = {}) {
  const element = el("div", {class: `chart ${kind}`, role: "img", "aria-label": name});
  return {
    element,
    card: card(name, element, note ? el("small", {}, note) : null),
    draw: () => chart(element, make, events)
  };
}

/** Few labels for a wide range of values (lists of them), more for a narrow one. */
function logAxis(name, ...columns) {
  const values = columns.flat().filter(value => value > 0);
  const wide = values.length > 1 && Math.max(...values) > 8 * Math.min(...values);
  return {type: "log", title: name, tickformat: "~g", nticks: 6, ...(wide ? {dtick: narrow.matches ? 1 : "D2"} : {})};
}
/** The first epochs' errors would press all others together. */
function errorAxis(columns, least = 0) {
  const values = columns
    .flat()
    .filter(value => value !== null)
    .sort((a, b) => a - b);
  if (!values.length) return {title: "error, %"};
  const most = Math.min(2.5 * values[values.length >> 1] + 2, 101);
  return {title: "error, %", range: [least * values[0], 1.05 * Math.min(most, values.at(-1))]};
}
