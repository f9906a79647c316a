// Which view is shown, and following what is new.

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
  try {
    names = rest.split(",").map(decodeURIComponent);
  } catch {
    /* no name of ours */
  }
  current = kind === "run" ? runView(names[0]) : kind === "compare" ? compareView(names) : overview();
  const row = kind === "run" && rowOf(names[0]);
  document.title = row ? `${row.name} – SparseVD runs` : "SparseVD runs";
}

function news(trouble) {
  const training = DATA.rows.filter(row => row.status === "training").length;
  document.getElementById("news").textContent =
    trouble ||
    [
      plural(DATA.rows.length, "run"),
      ...(training ? [`${training} training`] : []),
      DATA.live ? "followed live" : `as of ${DATA.written}`
    ].join(" · ");
}

async function follow() {
  try {
    const answer = await fetch(`changes?since=${DATA.revision}`);
    if (!answer.ok) throw new Error(answer.status);
    const found = await answer.json();
    // A server that was started anew counts anew.
    if (found.live !== DATA.live) return location.reload();
    if (found.revision !== DATA.revision) {
      const rows = new Map(DATA.rows.map(row => [row.id, row]));
      found.rows.forEach(row => rows.set(row.id, row));
      Object.assign(DATA, {
        revision: found.revision,
        broken: found.broken,
        rows: found.ids.filter(id => rows.has(id)).map(id => rows.get(id))
      });
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
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
});
applyTheme();
news();
show();
addEventListener("DOMContentLoaded", () => charts.forEach(redraw => redraw()));
if (DATA.live) setTimeout(follow, 1500);
