"use strict";
// What runs' files say is text: it becomes text nodes, or is escaped for Plotly, which reads some HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");

// Okabe and Ito's colours, which the colour-blind tell apart; lighter ones on a dark ground. Symbols tell methods
// apart too.
const PALETTE = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b88300", "#3d9bd1", "#7a5195", "#5b6470"],
  dark: ["#4ea8e6", "#ff8a4c", "#2fc89b", "#e79fc6", "#e6b422", "#9ad4f5", "#b795d6", "#a9b4bf"]
};
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down"];
const symbol = number => SYMBOLS[(number + Math.floor(number / 8)) % 8];
const DASHES = ["solid", "dash", "dot"];
const BORDERS = ["solid", "dashed", "dotted"];
const MOST_LINES = 7; // layers that a chart shows as lines
const MOST_ROWS = 200; // of the table, until one asks for more

const state = {
  text: "",
  network: "",
  method: "",
  dataset: "",
  flags: "",
  status: "",
  grouped: false,
  published: true,
  sort: "network",
  down: false,
  chosen: new Set(),
  most: MOST_ROWS
};

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

const table = (kind, head, body) =>
  el("table", {class: kind}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
const card = (title, ...children) => el("section", {class: "card"}, title ? el("h3", {}, title) : null, children);
const plain = text => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const fixed = (value, digits) => (value === null || value === undefined ? "" : value.toFixed(digits));
const compression = value => (value === null || value === undefined ? "" : `${fixed(value, value < 10 ? 1 : 0)}×`);
const percent = value => fixed(value, 2);
const isGone = row => row.compression === null && row.sparsity === 100;
const compressionOf = row => (isGone(row) ? "all pruned" : compression(row.compression));
const factorText = value => (value === null ? "all pruned" : compression(value));
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
  const url = URL.createObjectURL(
    new Blob([rows.map(row => row.map(cell).join(",") + "\n").join("")], {type: "text/csv"})
  );
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
