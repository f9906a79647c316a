"use strict";
// What runs' files say is text: it becomes text nodes, or is escaped for Plotly, which reads some HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");

// Okabe and Ito's colours, which the colour-blind tell apart; lighter ones on a dark ground. Symbols tell methods apart too.
const PALETTE = {light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b88300", "#3d9bd1", "#7a5195", "#5b6470"],
                 dark: ["#4ea8e6", "#ff8a4c", "#2fc89b", "#e79fc6", "#e6b422", "#9ad4f5", "#b795d6", "#a9b4bf"]};
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down"];
const symbol = number => SYMBOLS[(number + Math.floor(number / 8)) % 8];
const DASHES = ["solid", "dash", "dot"];
const MOST_LINES = 7;       // layers that a chart shows as lines
const MOST_ROWS = 200;      // of the table, until one asks for more

const state = {text: "", network: "", method: "", dataset: "", flags: "", status: "", grouped: false, published: true,
               sort: "network", down: false, chosen: new Set(), most: MOST_ROWS};

// ---- Elements and text

function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else if (key in element && !key.startsWith("aria")) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined));
  return element;
}

const table = (kind, head, body) => el("table", {class: kind}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
const card = (title, ...children) => el("section", {class: "card"}, title ? el("h3", {}, title) : null, children);
const plain = text => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const fixed = (value, digits) => value === null || value === undefined ? "" : value.toFixed(digits);
const compression = value => value === null || value === undefined ? "" : `${fixed(value, value < 10 ? 1 : 0)}×`;
const percent = value => fixed(value, 2);
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const title = row => [row.network, row.method, row.dataset].join(", ");
const runUrl = id => `#/run/${encodeURIComponent(id)}`;
const compareUrl = ids => `#/compare/${ids.map(encodeURIComponent).join(",")}`;
const rowOf = id => DATA.rows.find(row => row.id === id);

function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  return minutes < 2 ? `${Math.round(seconds)} s` : minutes < 120 ? `${minutes} min` : `${fixed(minutes / 60, 1)} h`;
}

function download(name, rows) {
  const cell = value => {
    if (value === null || value === undefined) return "";
    // A spreadsheet takes text that begins so for a formula.
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const url = URL.createObjectURL(new Blob([rows.map(row => row.map(cell).join(",") + "\n").join("")], {type: "text/csv"}));
  el("a", {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function details(row) {
  if (DATA.live) {
    const answer = await fetch(row.href + "details");
    if (!answer.ok) throw new Error(`the server says ${answer.status}`);
    return answer.json();
  }
  if (document.readyState === "loading") await new Promise(done => addEventListener("DOMContentLoaded", done));
  const packed = document.querySelector(`[data-details="${CSS.escape(row.id)}"]`).textContent;
  const bytes = Uint8Array.from(atob(packed), character => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

// ---- Colours

const stored = {get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
                set: value => { try { localStorage.setItem("theme", value); } catch { /* for this visit only */ } }};
const narrow = matchMedia("(max-width: 860px)");
const system = matchMedia("(prefers-color-scheme: dark)");
let theme = stored.get() || "system";
const dark = () => theme === "dark" || (theme === "system" && system.matches);
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const color = number => { const own = PALETTE[dark() ? "dark" : "light"]; return own[number % own.length]; };

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

// ---- Charts, all by Plotly

const charts = new Map();   // element -> what draws it again

function chart(element, make, events) {
  const redraw = () => {
    if (!window.Plotly) return;     // It is read after the table; then all charts are drawn.
    const [traces, layout = {}, config = {}] = make();
    const text = css("--text"), line = css("--line");
    const axis = own => ({gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true, ...own,
                          title: {text: own?.title ?? "", font: {size: 12}}});
    const {xaxis, yaxis, ...rest} = layout;
    Plotly.react(element, traces, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {family: "inherit", size: 12, color: text},
      margin: {l: 48, r: 14, t: 24, b: 40}, hovermode: "closest", uirevision: "kept",
      legend: {orientation: "h", y: 1.01, yanchor: "bottom", x: 0},
      modebar: {bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--strong")},
      hoverlabel: {bgcolor: css("--card"), bordercolor: css("--soft"), font: {color: text}, align: "left"},
      xaxis: axis(xaxis), yaxis: axis(yaxis), ...rest},
      {displaylogo: false, responsive: true, displayModeBar: narrow.matches ? false : "hover", ...config,
       modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]});
    for (const [name, handler] of Object.entries(events))
      if (!element.dataset[name]) { element.dataset[name] = true; element.on(`plotly_${name}`, handler); }
  };
  charts.set(element, redraw);
  redraw();
}

function chartCard(name, make, note, kind = "", events = {}) {
  const element = el("div", {class: `chart ${kind}`, role: "img", "aria-label": name});
  return {element, card: card(name, element, note ? el("small", {}, note) : null), draw: () => chart(element, make, events)};
}

const logAxis = name => ({type: "log", title: name, tickformat: "~g", dtick: narrow.matches ? 1 : "D2"});
/** The first epochs' errors would press all others together. */
function errorAxis(columns, least = 0) {
  const values = columns.flat().filter(value => value !== null).sort((a, b) => a - b);
  if (!values.length) return {title: "error, %"};
  const most = Math.min(2.5 * values[values.length >> 1] + 2, 101);
  return {title: "error, %", range: [least * values[0], 1.05 * Math.min(most, values.at(-1))]};
}

// ---- Table and chart of all runs

const matches = row => ["network", "method", "dataset"].every(key => !state[key] || row[key] === state[key])
  && (!state.flags || (row.flags ?? null) === (state.flags === "none" ? "" : state.flags))
  && (!state.status || row.status === state.status)
  && state.text.toLowerCase().split(/\s+/).every(word => !word || row.search.includes(word));

function prepared(row) {
  row.search ??= [row.name, row.network, row.method, row.dataset, row.flags, row.start, row.source, row.status]
    .join(" ").toLowerCase();
  return row;
}

const shownRuns = () => DATA.rows.map(prepared).filter(matches);
const shownPublished = () => state.published ? DATA.published.map(prepared).filter(matches) : [];

function statistics(values) {
  const own = values.filter(value => value !== null), mean = own.reduce((a, b) => a + b, 0) / own.length;
  if (!own.length) return [null, null];
  return [mean, own.length < 2 ? null : Math.sqrt(own.reduce((a, b) => a + (b - mean) ** 2, 0) / (own.length - 1))];
}

function grouped(rows) {
  const found = new Map();
  for (const row of rows) found.set(row.group, [...(found.get(row.group) ?? []), row]);
  return [...found.values()].map(own => {
    const group = {...own[0], ids: own.map(row => row.id), deviations: {}};
    if (own.length > 1) {
      group.name = `${own.length} runs`;
      group.seed = own.map(row => row.seed).sort().join(", ");
      for (const key of ["error", "train_error", "sparsity", "compression"])
        [group[key], group.deviations[key]] = statistics(own.map(row => row[key]));
    }
    return group;
  });
}

/** Whether a published row is the authors' own. */
const official = row => row.source === "paper" || row.source === "poster";
const spread = (row, key, show) => show(row[key]) + (row.deviations?.[key] != null ? ` ± ${show(row.deviations[key])}` : "");
/** What columns say that a narrow screen has no room for. */
const place = row => el("small", {class: "narrow"}, `${row.network}, ${row.dataset}`);
const COLUMNS = [
  {key: "name", title: "Run", kind: "name", cell: row => row.source
    ? [el("span", {class: `badge ${official(row) ? "paper" : ""}`}, official(row) ? `the ${row.source}'s` : "published"), place(row)]
    : [el("a", {href: row.ids?.length > 1 ? compareUrl(row.ids) : runUrl(row.id)}, row.name), " ",
       row.status === "finished" ? null : el("span", {class: `badge ${row.status}`}, row.status), place(row)]},
  {key: "network", title: "Network", kind: "whole minor"},
  {key: "method", title: "Method", cell: row => {
    const at = row.source && !official(row) ? -1 : methods().indexOf(row.method);
    const paint = at < 0 ? css("--soft") : color(at);
    return [el("span", {class: "dot", style: `border: 2px solid ${paint}; background: ${row.source ? "transparent" : paint}`}), row.method];
  }},
  {key: "dataset", title: "Data", kind: "minor"},
  {key: "flags", title: "Start, flags", kind: "minor flags", cell: row => row.source && !official(row) ? el("small", {class: "source", title: row.source}, row.source)
    : [row.start && row.start !== "random" ? `from ${row.start} ` : "", row.flags ?? ""].join("")},
  {key: "seed", title: "Seed", kind: "number minor", number: true},
  {key: "epochs", title: "Epochs", kind: "number minor", number: true,
   text: row => row.status === "finished" || row.source ? row.epochs ?? "" : `${row.done}/${row.epochs}`},
  {key: "error", title: "Error %", kind: "number", number: true, text: row => spread(row, "error", percent)},
  {key: "sparsity", title: "Sparsity %", kind: "number minor", number: true, text: row => spread(row, "sparsity", percent)},
  {key: "compression", title: "Compression", kind: "number", number: true,
   text: row => row.compression === null && row.sparsity === 100 ? "all pruned" : spread(row, "compression", compression)},
  {key: "started", title: "Started", kind: "minor whole", text: row => (row.started ?? "").slice(0, 10)}];

function sorted(rows) {
  const {number} = COLUMNS.find(column => column.key === state.sort), sign = state.down ? -1 : 1;
  const value = row => number ? (row[state.sort] ?? "") === "" ? NaN : parseFloat(row[state.sort]) : row[state.sort] ?? "";
  const order = (a, b) => {
    const x = value(a), y = value(b);
    if (!number) return sign * x.localeCompare(y, "en", {numeric: true});
    return isNaN(x) - isNaN(y) || (isNaN(x) ? 0 : sign * (x - y));    // What has no number is last.
  };
  return rows.sort((a, b) => order(a, b) || (a.error ?? Infinity) - (b.error ?? Infinity));
}

function overview() {
  const body = el("tbody"), count = el("span", {class: "soft", role: "status"}), more = el("div");
  const compare = el("a", {class: "button main"});
  const points = chartCard("Error against compression", traces, "Compression is weights / non-zero weights. Hollow: as published. Select a point to open its run.", "large",
    {click: event => { const id = event.points[0].customdata; if (rowOf(id)) location.hash = runUrl(id); }});
  const unplaced = el("small"), options = {};
  points.card.append(" ", unplaced);

  function select(key, name, values) {
    const element = el("select", {onchange: event => { state[key] = event.target.value; update(); }});
    options[key] = () => element.replaceChildren(el("option", {value: ""}, "all"),
      ...values().map(([value, text]) => el("option", {value, selected: state[key] === value}, text)));
    return el("label", {class: "field"}, name, element);
  }
  const distinct = key => () => [...new Set([...DATA.rows, ...DATA.published].map(row => row[key]))].sort().map(value => [value, value]);
  const tick = (key, name) => el("label", {class: "tick"}, el("input", {type: "checkbox", checked: state[key], onchange: event => {
    state[key] = event.target.checked; update(); }}), name);
  const search = el("input", {type: "search", id: "search", value: state.text, placeholder: "name, flag …",
                              oninput: event => { state.text = event.target.value; update(); }});
  const filters = el("form", {class: "bar", role: "search", onsubmit: event => event.preventDefault()},
    el("label", {class: "field"}, "Search", search),
    select("network", "Network", distinct("network")), select("method", "Method", distinct("method")),
    select("dataset", "Data", distinct("dataset")),
    select("flags", "Flags", () => [["none", "none"], ...[...new Set(DATA.rows.map(row => row.flags))].filter(Boolean).sort().map(text => [text, text])]),
    select("status", "Status", () => ["finished", "training", "stopped"].map(text => [text, text])),
    tick("published", "Published"),
    el("button", {type: "button", onclick: () => {
      Object.assign(state, {text: "", network: "", method: "", dataset: "", flags: "", status: ""});
      search.value = ""; update(); }}, "Clear"));
  const heads = COLUMNS.map(column => el("th", {class: column.kind ?? "", scope: "col"}, el("button", {type: "button", onclick: () => {
    state.down = state.sort === column.key && !state.down; state.sort = column.key; update(); }}, column.title)));

  function traces() {
    const runs = shownRuns(), published = shownPublished(), names = methods();
    const placed = [...runs, ...published].filter(row => row.error !== null && row.compression > 0);
    const hover = row => `<b>${plain(row.source ? `${row.method}, ${row.source}` : row.name)}</b><br>${plain(title(row))}<br>`
      + `error ${percent(row.error)} %, compression ${compression(row.compression)}`
      + (row.flags ? `<br>${plain(row.flags)}` : "") + (row.status && row.status !== "finished" ? `<br>${row.status}` : "");
    const trace = (rows, name, marker) => ({type: "scatter", mode: "markers", name: plain(name), x: rows.map(row => row.compression),
      y: rows.map(row => row.error), text: rows.map(hover), hoverinfo: "text", customdata: rows.map(row => row.id), marker});
    const own = names.map((name, place) => trace(runs.filter(row => row.method === name && placed.includes(row)), name,
      {color: color(place), symbol: symbol(place), size: 10, opacity: .85, line: {width: 1, color: css("--card")}}));
    const ours = row => official(row) && names.includes(row.method);
    const theirs = names.map((name, place) => trace(published.filter(row => row.method === name && ours(row)), `${name}, paper`,
      {color: color(place), symbol: `${symbol(place)}-open`, size: 13, line: {width: 2.5}}));
    const others = trace(published.filter(row => !ours(row)), "other methods, published",
      {color: css("--soft"), symbol: "hexagon2-open", size: 10, line: {width: 1.5}});
    const errors = placed.map(row => row.error).filter(error => error > 0);
    const wide = Math.max(...errors) > 10 * Math.min(...errors);
    return [[others, ...theirs, ...own].filter(found => found.x.length), {
      xaxis: logAxis("compression"), yaxis: wide ? logAxis("error, %") : {title: "error, %", type: "linear"},
      uirevision: JSON.stringify([state.network, state.method, state.dataset, state.flags, state.text]),
      clickmode: "event", showlegend: true,
      legend: {orientation: "h", y: narrow.matches ? -.25 : -.16, yanchor: "top", x: 0, traceorder: "reversed"}}];
  }

  function tableRow(row) {
    const ids = row.ids ?? [row.id];
    const pick = row.source ? null : el("input", {type: "checkbox", checked: ids.every(id => state.chosen.has(id)), "data-key": row.id,
      "aria-label": `Compare ${row.name}`, onchange: event => {
        ids.forEach(id => state.chosen[event.target.checked ? "add" : "delete"](id)); choice(); }});
    return el("tr", {class: row.source ? "published" : "", "data-id": row.id}, el("td", {}, pick),
      COLUMNS.map(column => el("td", {class: column.kind ?? ""}, column.cell ? column.cell(row) : String(column.text ? column.text(row) : row[column.key] ?? ""))));
  }

  function choice() {
    const ids = [...state.chosen].filter(rowOf);
    compare.textContent = ids.length < 2 ? "Compare: tick two runs or more" : `Compare ${ids.length} runs`;
    compare.setAttribute("aria-disabled", ids.length < 2);
    if (ids.length < 2) compare.removeAttribute("href"); else compare.href = compareUrl(ids);
  }

  const rows = () => sorted([...(state.grouped ? grouped(shownRuns()) : shownRuns()), ...shownPublished()]);

  function update() {
    const found = rows(), focused = document.activeElement?.dataset?.key;
    Object.values(options).forEach(fill => fill());
    body.replaceChildren(...found.slice(0, state.most).map(tableRow));
    if (focused) body.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    more.replaceChildren(...(found.length > state.most ? [el("button", {type: "button", onclick: () => { state.most = Infinity; update(); }},
      `Show all ${found.length} rows`)] : []));
    heads.forEach((head, place) => COLUMNS[place].key === state.sort
      ? head.setAttribute("aria-sort", state.down ? "descending" : "ascending") : head.removeAttribute("aria-sort"));
    const runs = shownRuns(), left = runs.filter(row => row.error === null || !(row.compression > 0)).length;
    count.textContent = plural(runs.length, "run");
    unplaced.textContent = left ? `${plural(left, "run")} without a weight left, or without an epoch, ${left === 1 ? "is" : "are"} in the table only.` : "";
    choice();
    points.draw();
  }

  main.append(...DATA.broken.length ? [el("details", {class: "warning"}, el("summary", {}, `${plural(DATA.broken.length, "folder")} skipped`),
      el("ul", {}, DATA.broken.map(text => el("li", {}, text))))] : [],
    card(null, filters), points.card,
    card(null, el("div", {class: "bar"}, el("h3", {class: "inline"}, "Runs"), count, tick("grouped", "Group over seeds"),
      el("span", {class: "push"}), el("button", {type: "button", onclick: () => download("runs.csv", csvRows(rows()))}, "Download CSV"), compare),
      el("div", {class: "scroll"}, el("table", {class: "runs"}, el("thead", {}, el("tr", {}, el("th", {}, el("span", {"aria-label": "Compare"}, "")), heads)), body), more)));
  update();
  return {refresh: update, recolor: update};
}

function csvRows(rows) {
  const keys = ["network", "method", "dataset", "start", "flags", "seed", "epochs", "status", "error", "train_error", "sparsity", "compression"];
  return [["run", ...keys, "error_deviation", "compression_deviation", "source"],
    ...rows.map(row => [row.ids?.length > 1 ? row.ids.join(" ") : row.source ? "" : row.id, ...keys.map(key => row[key]),
                        row.deviations?.error, row.deviations?.compression, row.source])];
}

// ---- One run

const column = (detail, name) => detail.history[name] ?? [];
const layersOf = detail => Object.keys(detail.history).filter(name => name.startsWith("sparsity_percent_"));

function curve(detail, name, label, place, more = {}) {
  return {type: "scatter", mode: column(detail, "epoch").length < 30 ? "lines+markers" : "lines", name: plain(label), x: column(detail, "epoch"), y: column(detail, name),
          line: {color: color(place), width: 2}, marker: {size: 5}, hovertemplate: "%{y:.4g}", ...more};
}

function sparsityChart(detail) {
  const layers = layersOf(detail), names = layers.map(name => plain(name.slice("sparsity_percent_".length)));
  if (layers.length > MOST_LINES)
    return [[{type: "heatmap", x: column(detail, "epoch"), y: names, z: layers.map(name => column(detail, name)), zmin: 0, zmax: 100,
              colorscale: "Cividis", colorbar: {thickness: 12, outlinewidth: 0, title: {text: "%"}}, hovertemplate: "%{y}, epoch %{x}: %{z:.1f} %<extra></extra>"}],
            {xaxis: {title: "epoch"}, yaxis: {autorange: "reversed", type: "category"}}];
  return [layers.map((name, place) => curve(detail, name, name.slice("sparsity_percent_".length), place)),
          {xaxis: {title: "epoch"}, yaxis: {title: "sparsity, %", range: [0, 102]}, hovermode: "x unified", showlegend: true}];
}

function runView(id) {
  const row = rowOf(id);
  if (!row) return missing([id]);
  let detail = null;
  const head = el("div"), tiles = el("div", {class: "tiles"}), rest = el("div"), layers = el("div");
  const x = {title: "epoch"};
  const curves = [
    chartCard("Error", () => [[curve(detail, "train_error_percent", "train", 1), curve(detail, "test_error_percent", "test", 0)],
      {xaxis: x, yaxis: errorAxis([column(detail, "train_error_percent"), column(detail, "test_error_percent")]), hovermode: "x unified"}]),
    chartCard("Loss, -log p(y | x)", () => [[curve(detail, "train_nll", "train", 1), curve(detail, "test_nll", "test", 0),
      ...(column(detail, "train_loss").some((value, place) => value !== column(detail, "train_nll")[place])
        ? [curve(detail, "train_loss", "train, objective", 2, {line: {color: color(2), width: 2, dash: "dot"}})] : [])],
      {xaxis: x, yaxis: logAxis("nats per image"), hovermode: "x unified"}]),
    chartCard("Sparsity by layer", () => sparsityChart(detail)),
    chartCard("Compression", () => [[curve(detail, "compression", "compression", 0)], {xaxis: x, yaxis: logAxis("weights / non-zero weights"), hovermode: "x unified"}])];
  const epochs = el("div", {class: "grid"});
  let shown = "";

  function fill(found) {
    detail = found;
    const row = rowOf(id), last = column(detail, "epoch").at(-1);
    head.replaceChildren(el("div", {class: "head"}, el("div", {}, el("h2", {tabIndex: -1}, row.name),
      el("div", {class: "soft"}, `${title(row)}${row.start !== "random" ? `, from ${row.start}` : ""}${row.flags ? `, ${row.flags}` : ""}, seed ${row.seed} `,
        el("span", {class: `badge ${row.status}`}, row.status))),
      el("div", {class: "bar"}, el("button", {type: "button", onclick: () => { state.chosen.add(id); location.hash = "#/"; }}, "Compare with …"),
        el("button", {type: "button", onclick: () => download(`${row.name}.csv`, historyRows([[row, detail]]))}, "History as CSV"))));
    const tile = (name, value) => value === "" ? null : el("div", {class: "tile"}, el("small", {}, name), el("b", {}, value));
    tiles.replaceChildren(...[tile("Test error", row.error === null ? "" : `${percent(row.error)} %`),
      tile("Train error", row.train_error === null ? "" : `${percent(row.train_error)} %`),
      tile("Sparsity", row.prunes && row.sparsity !== null ? `${percent(row.sparsity)} %` : ""),
      tile("Compression", !row.prunes ? "" : row.compression === null ? "all pruned" : compression(row.compression)),
      tile("Epochs", row.status === "finished" ? String(row.epochs) : `${last ?? 0} of ${row.epochs}`), tile("Time", duration(row.seconds))].filter(Boolean));
    const visible = curves.filter((_, place) => last && (place < 2 || row.prunes && layersOf(detail).length));
    if (epochs.children.length !== visible.length) epochs.replaceChildren(...visible.map(one => one.card));
    visible.forEach(one => one.draw());
    const swept = JSON.stringify([detail.layers, detail.thresholds]);
    if (swept !== shown) {
      shown = swept;
      layers.replaceChildren();
      if (detail.layers.length) layersCard(layers, detail, row);
      if (detail.thresholds?.rows.length) thresholdCard(layers, detail);
    }
    rest.replaceChildren(...facts(row, detail));
  }

  main.append(el("p", {}, el("a", {href: "#/"}, "← All runs")), head, tiles, epochs, layers, rest);
  const load = first => details(row).then(found => { if (head.isConnected) { fill(found); if (first) focusHead(); } })
    .catch(error => first && main.append(el("p", {class: "warning"}, `This run cannot be shown: ${error.message}`)));
  load(true);
  return {refresh: ids => ids.includes(id) && load(false)};
}

function layersCard(place, detail, row) {
  const names = detail.layers.map(([name]) => plain(name));
  const bars = chartCard("Weights by layer", () => [[
    {type: "bar", name: "weights", x: names, y: detail.layers.map(layer => layer[1]), marker: {color: css("--line")}, hovertemplate: "%{y:,} weights<extra></extra>"},
    {type: "bar", name: "not zero", x: names, y: detail.layers.map(layer => layer[2] || null), marker: {color: color(0)}, hovertemplate: "%{y:,} not zero<extra></extra>"}],
    {barmode: "overlay", xaxis: {type: "category"}, yaxis: {type: "log", dtick: 1, title: "weights"}, showlegend: true}]);
  const listed = card("Sparsity by layer, at the end", el("div", {class: "scroll"}, table("layers",
    ["Layer", "Weights", "Not zero", "Sparsity %", "Compression"].map((name, at) => el("th", {class: at ? "number" : "", scope: "col"}, name)),
    detail.layers.map(([name, weights, nonzero, sparsity, factor]) => el("tr", {}, el("td", {}, name),
      [weights.toLocaleString("en"), nonzero.toLocaleString("en"), percent(sparsity), factor === null ? "all pruned" : compression(factor)]
        .map(text => el("td", {class: "number"}, text)))))));
  place.append(el("div", {class: "grid"}, row.prunes ? [bars.card, listed] : [listed]));
  if (row.prunes) bars.draw();
}

function thresholdCard(place, detail) {
  const {rows, edges, histogram, images} = detail.thresholds;
  const nearest = value => rows.reduce((best, row, at) => Math.abs(row[0] - value) < Math.abs(rows[best][0] - value) ? at : best, 0);
  const own = nearest(detail.threshold ?? 3);
  let at = own;
  const output = el("output", {"aria-live": "polite", id: "at-threshold"});
  const slider = el("input", {type: "range", min: 0, max: rows.length - 1, step: 1, "aria-label": "Threshold on log alpha", oninput: event => move(Number(event.target.value))});
  const centers = edges.slice(1).map((edge, bin) => (edge + edges[bin]) / 2);
  const counts = chartCard("log α of the weights, and the threshold", () => [
    histogram.map(([layer, values], number) => ({type: "scatter", mode: "lines", name: plain(layer), x: centers, y: values.map(value => value || null),
      line: {shape: "hvh", width: 1.8, color: color(number), dash: DASHES[Math.floor(number / 8) % 3]}, hovertemplate: "%{y:,} weights"})),
    {xaxis: {title: "log α"}, yaxis: {type: "log", title: "weights", dtick: 1}, hovermode: "x unified", showlegend: true,
     shapes: [{type: "line", x0: rows[at][0], x1: rows[at][0], yref: "paper", y0: 0, y1: 1, line: {width: 4, color: css("--text")}}],
     annotations: [{x: rows[at][0], y: 1, yref: "paper", text: "pruned →", showarrow: false, xanchor: "left", yanchor: "top", xshift: 6}]},
    {edits: {shapePosition: true}}],
    "Drag the line, or move the slider with the arrow keys.", "",
    {relayout: change => { const value = change["shapes[0].x0"]; if (value !== undefined) move(nearest(Number(value))); }});
  const placed = rows.filter(row => row[2] !== null);
  const path = chartCard(`Error against compression, by threshold (${images})`, () => [[
    {type: "scatter", mode: "lines+markers", x: placed.map(row => row[2]), y: placed.map(row => row[1]), name: "thresholds", line: {color: color(0), width: 2}, marker: {size: 6},
     text: placed.map(row => `log α < ${row[0]}`), hovertemplate: "%{text}: %{y:.2f} %, %{x:.0f}×<extra></extra>"},
    {type: "scatter", mode: "markers", x: [rows[own][2]], y: [rows[own][1]], name: "the run's", hoverinfo: "skip", marker: {size: 15, symbol: "circle-open", color: color(0), line: {width: 2}}},
    {type: "scatter", mode: "markers", x: [rows[at][2]], y: [rows[at][1]], name: "the handle's", hoverinfo: "skip", marker: {size: 13, symbol: "diamond", color: color(1)}}],
    {xaxis: {...logAxis("compression"), dtick: null, nticks: 7}, yaxis: errorAxis([placed.map(row => row[1])], .8), showlegend: true}]);

  function move(to) {
    at = to;
    const [threshold, error, factor, nonzero] = rows[at];
    slider.value = at;
    slider.setAttribute("aria-valuetext", `log alpha below ${threshold}: error ${percent(error)} %, compression ${factor === null ? "all pruned" : compression(factor)}`);
    output.replaceChildren(...[["log α <", String(threshold)], ["error", `${percent(error)} %`], ["compression", factor === null ? "all pruned" : compression(factor)],
      ["weights left", nonzero.toLocaleString("en")]].map(([name, value]) => el("span", {}, el("span", {class: "soft"}, `${name} `), el("b", {}, value))));
    counts.draw();
    path.draw();
  }
  place.append(card("Threshold", el("div", {class: "threshold"}, slider, output)), el("div", {class: "grid"}, counts.card, path.card));
  move(at);
}

function facts(row, detail) {
  const pairs = (name, list) => list.length ? card(name, el("div", {class: "scroll"}, el("table", {class: "facts"}, el("tbody", {},
    list.map(([key, value]) => el("tr", {}, el("td", {}, key), el("td", {}, value))))))) : null;
  const files = Object.fromEntries(detail.files), moving = detail.files.filter(([name]) => name.endsWith(".gif"));
  const still = detail.files.filter(([name]) => name.endsWith(".png") && !["curves.png", "thresholds.png"].includes(name) && !files[name.replace(/png$/, "gif")]);
  const figure = ([name, url]) => {
    const image = el("img", {src: row.href + url, alt: name, loading: "lazy"}), one = files[name.replace(/gif$/, "png")];
    // Who does not want things to move sees a few epochs side by side.
    return el("figure", {}, name.endsWith(".gif") && one ? el("picture", {}, el("source", {srcset: row.href + one, media: "(prefers-reduced-motion: reduce)"}), image) : image,
      el("figcaption", {class: "soft"}, name));
  };
  const pictures = [...moving, ...still];
  const thinned = column(detail, "epoch").length < detail.epochs ? ` Curves show ${column(detail, "epoch").length} of ${detail.epochs} epochs; history.csv has all.` : "";
  return [pictures.length ? card("Pictures", el("div", {class: "pictures"}, pictures.map(figure))) : null,
    el("div", {class: "grid"}, pairs("Settings", detail.settings), el("div", {}, pairs("Where it ran", [
      ...(detail.command ? [["command", el("code", {}, detail.command)]] : []), ["commit", el("code", {}, detail.commit || "unknown")],
      ["started", row.started || "unknown"], ...detail.environment]),
      card("Files", el("div", {class: "files"}, detail.files.map(([name, url]) => el("a", {href: row.href + url}, name))), thinned ? el("small", {}, thinned) : null))),
    detail.log === null ? null : card("Log", el("pre", {tabIndex: 0}, detail.log))].filter(Boolean);
}

// ---- Several runs

function historyRows(found) {
  const names = [...new Set(found.flatMap(([, detail]) => Object.keys(detail.history)))];
  return [["run", ...names], ...found.flatMap(([row, detail]) => column(detail, "epoch").map((_, at) => [row.id, ...names.map(name => detail.history[name]?.[at])]))];
}

function compareView(ids) {
  const present = ids.filter(rowOf);
  if (present.length < 2) return missing(ids);
  let found = [];
  const lines = (name, percentages) => found.map(([row, detail], place) => curve(detail, name, row.name, place,
    {line: {color: color(place), width: 2, dash: DASHES[Math.floor(place / 8) % 3]}, ...(percentages ? {y: percentages(detail)} : {})}));
  const x = {title: "epoch"}, unified = {hovermode: "x unified", showlegend: false};
  const charts = [
    chartCard("Test error", () => [lines("test_error_percent"), {xaxis: x, yaxis: errorAxis(found.map(([, detail]) => column(detail, "test_error_percent"))), ...unified}]),
    chartCard("Test loss, -log p(y | x)", () => [lines("test_nll"), {xaxis: x, yaxis: logAxis("nats per image"), ...unified}]),
    chartCard("Sparsity of all weights", () => [lines("compression", detail => column(detail, "compression").map(value => value ? 100 - 100 / value : 100)),
      {xaxis: x, yaxis: {title: "sparsity, %", range: [0, 102]}, ...unified}]),
    chartCard("Compression", () => [lines("compression"), {xaxis: x, yaxis: logAxis("weights / non-zero weights"), ...unified}])];
  const results = el("div"), tables = el("div");
  let all = false;

  function fill() {
    const names = new Set(found.flatMap(([, detail]) => detail.settings.map(([name]) => name)));
    const settings = found.map(([row, detail]) => ({...Object.fromEntries(detail.settings), commit: detail.commit}));
    const rows = [...names, "commit"].map(name => [name, settings.map(own => own[name] ?? "")]);
    const differs = ([, values]) => new Set(values).size > 1;
    const swatch = place => el("span", {class: "dash", style: `border-color: ${color(place)}; border-top-style: ${["solid", "dashed", "dotted"][Math.floor(place / 8) % 3]}`});
    const line = ([name, values]) => el("tr", {}, el("th", {scope: "row"}, name), values.map(value => el("td", {}, value)));
    const heads = () => [el("th", {}, ""), ...found.map(([row], place) => el("th", {scope: "col"}, swatch(place), el("a", {href: runUrl(row.id)}, row.name)))];
    const measured = [["error %", row => percent(row.error)], ["train error %", row => percent(row.train_error)], ["sparsity %", row => percent(row.sparsity)],
      ["compression", row => row.compression === null ? row.sparsity === 100 ? "all pruned" : "" : compression(row.compression)],
      ["epochs", row => `${row.done}/${row.epochs}`], ["time", row => duration(row.seconds)]];
    results.replaceChildren(card("Results", el("div", {class: "scroll"}, table("compared", heads(),
      measured.map(([name, show]) => line([name, found.map(([row]) => show(rowOf(row.id) ?? row))]))))));
    tables.replaceChildren(card(null, el("div", {class: "bar"}, el("h3", {class: "inline"}, all ? "All settings" : "Settings that differ"),
      el("label", {class: "tick"}, el("input", {type: "checkbox", checked: all, onchange: event => { all = event.target.checked; fill(); }}), "Show all")),
      el("div", {class: "scroll"}, table("compared", heads(), rows.filter(one => all || differs(one)).map(line)))));
    charts.forEach(one => one.draw());
  }

  main.append(el("p", {}, el("a", {href: "#/"}, "← All runs")),
    el("div", {class: "head"}, el("h2", {tabIndex: -1}, `${present.length} runs compared`), el("div", {class: "bar"},
      el("button", {type: "button", onclick: () => { state.chosen.clear(); location.hash = "#/"; }}, "Clear the choice"),
      el("button", {type: "button", onclick: () => download("comparison.csv", historyRows(found))}, "Histories as CSV"))),
    results, el("div", {class: "grid"}, charts.map(one => one.card)), tables);
  const load = first => Promise.all(present.filter(rowOf).map(async id => [rowOf(id), await details(rowOf(id))])).then(loaded => {
    if (tables.isConnected) { found = loaded; fill(); if (first) focusHead(); } })
    .catch(error => first && main.append(el("p", {class: "warning"}, `These runs cannot be shown: ${error.message}`)));
  load(true);
  return {refresh: changed => changed.some(id => present.includes(id)) && load(false), recolor: () => found.length && fill()};
}

function missing(ids) {
  main.append(el("p", {}, el("a", {href: "#/"}, "← All runs")), el("p", {class: "warning"}, `No such run: ${ids.join(", ")}`));
  return {};
}

// ---- Which view, and what is new

let current = null;
const focusHead = () => main.querySelector("h2")?.focus({preventScroll: true});

function show() {
  if (location.hash === "#main") return main.focus();
  charts.forEach((_, element) => window.Plotly?.purge(element));
  charts.clear();
  main.replaceChildren();
  scrollTo(0, 0);
  const [, kind, rest = ""] = location.hash.split("/");
  let names = [];
  try { names = rest.split(",").map(decodeURIComponent); } catch { /* no name of ours */ }
  current = kind === "run" ? runView(names[0]) : kind === "compare" ? compareView(names) : overview();
  const row = kind === "run" && rowOf(names[0]);
  document.title = row ? `${row.name} – SparseVD runs` : "SparseVD runs";
}

function news(trouble) {
  const training = DATA.rows.filter(row => row.status === "training").length;
  document.getElementById("news").textContent = trouble || [plural(DATA.rows.length, "run"), ...(training ? [`${training} training`] : []),
    DATA.live ? "followed live" : `as of ${DATA.written}`].join(" · ");
}

async function follow() {
  try {
    const answer = await fetch(`changes?since=${DATA.revision}`);
    if (!answer.ok) throw new Error(answer.status);
    const found = await answer.json();
    if (found.revision !== DATA.revision) {
      const rows = new Map(DATA.rows.map(row => [row.id, row]));
      // A server that was started anew counts anew.
      if (found.revision < DATA.revision) location.reload();
      found.rows.forEach(row => rows.set(row.id, row));
      Object.assign(DATA, {revision: found.revision, broken: found.broken, rows: found.ids.filter(id => rows.has(id)).map(id => rows.get(id))});
      current.refresh?.(found.rows.map(row => row.id));
    }
    news();
  } catch {
    news("No answer from the server; trying again");
  }
  setTimeout(follow, 1500);
}

document.getElementById("theme").addEventListener("click", () => {
  theme = {system: "light", light: "dark", dark: "system"}[theme];
  stored.set(theme);
  applyTheme();
});
system.addEventListener("change", applyTheme);
addEventListener("hashchange", show);
addEventListener("keydown", event => {
  if (event.key === "/" && !event.target.closest("input, select, textarea")) {
    const search = document.getElementById("search");
    if (search) { event.preventDefault(); search.focus(); }
  }
});
applyTheme();
news();
show();
addEventListener("DOMContentLoaded", () => charts.forEach(redraw => redraw()));
if (DATA.live) setTimeout(follow, 1500);
