// All runs: filters, chart and table.

const matches = row =>
  ["network", "method", "dataset"].every(key => !state[key] || row[key] === state[key]) &&
  (!state.flags || (row.flags ?? null) === (state.flags === "none" ? "" : state.flags)) &&
  (!state.status || row.status === state.status) &&
  state.text
    .toLowerCase()
    .split(/\s+/)
    .every(word => !word || row.search.includes(word));

function prepared(row) {
  row.search ??= [row.name, row.network, row.method, row.dataset, row.flags, row.start, row.source, row.status]
    .join(" ")
    .toLowerCase();
  return row;
}

const shownRuns = () => DATA.rows.map(prepared).filter(matches);
const shownPublished = () => (state.published ? DATA.published.map(prepared).filter(matches) : []);

function statistics(values) {
  const own = values.filter(value => value !== null),
    mean = own.reduce((a, b) => a + b, 0) / own.length;
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
      group.seed = own
        .map(row => row.seed)
        .sort()
        .join(", ");
      for (const key of ["error", "train_error", "sparsity", "compression"])
        [group[key], group.deviations[key]] = statistics(own.map(row => row[key]));
      const gone = own.filter(isGone).length;
      if (gone) {
        group.gone = `all pruned${gone < own.length ? ` in ${gone} of ${own.length}` : ""}`;
        group.compression = group.deviations.compression = null;
      }
    }
    return group;
  });
}

/** Whether a published row is the authors' own. */
const official = row => row.source === "paper" || row.source === "poster";
const spread = (row, key, show) =>
  show(row[key]) + (row.deviations?.[key] != null ? ` ± ${show(row.deviations[key])}` : "");
/** What columns say that a narrow screen has no room for. */
const place = row => el("small", {class: "narrow"}, title(row));
const COLUMNS = [
  {
    key: "name",
    title: "Run",
    kind: "name",
    cell: row =>
      row.source
        ? [
            el(
              "span",
              {class: `badge ${official(row) ? "paper" : ""}`},
              official(row) ? `the ${row.source}'s` : "published"
            ),
            place(row)
          ]
        : [
            el("a", {href: row.ids?.length > 1 ? compareUrl(row.ids) : runUrl(row.id)}, row.name),
            " ",
            row.status === "finished" ? null : el("span", {class: `badge ${row.status}`}, row.status),
            place(row)
          ]
  },
  {key: "network", title: "Network", kind: "whole minor"},
  {
    key: "method",
    title: "Method",
    kind: "whole minor",
    cell: row => {
      const at = row.source && !official(row) ? -1 : methods().indexOf(row.method);
      const paint = at < 0 ? css("--soft") : color(at);
      return [
        el("span", {
          class: "dot",
          style: `border: 2px solid ${paint}; background: ${row.source ? "transparent" : paint}`
        }),
        row.method
      ];
    }
  },
  {key: "dataset", title: "Data", kind: "minor"},
  {
    key: "flags",
    title: "Start, flags",
    kind: "minor flags",
    cell: row =>
      row.source && !official(row)
        ? el("small", {class: "source", title: row.source}, row.source)
        : [row.start && row.start !== "random" ? `from ${row.start}` : "", ...(row.flags ?? "").split(/ (?=--)/)]
            .filter(Boolean)
            .flatMap(text => [el("span", {class: text.length < 24 ? "whole" : ""}, text), " "])
  },
  {key: "seed", title: "Seed", kind: "number minor", number: true},
  {
    key: "epochs",
    title: "Epochs",
    kind: "number minor",
    number: true,
    text: row => (row.status === "finished" || row.source ? (row.epochs ?? "") : `${row.done}/${row.epochs}`)
  },
  {key: "error", title: "Error %", kind: "number", number: true, text: row => spread(row, "error", percent)},
  {
    key: "sparsity",
    title: "Sparsity %",
    kind: "number minor",
    number: true,
    text: row => spread(row, "sparsity", percent)
  },
  {
    key: "compression",
    title: "Compression",
    kind: "number",
    number: true,
    text: row => row.gone ?? (isGone(row) ? "all pruned" : spread(row, "compression", compression))
  },
  {key: "started", title: "Started", kind: "least whole", text: row => (row.started ?? "").slice(0, 10)}
];

function sorted(rows) {
  const {number} = COLUMNS.find(column => column.key === state.sort),
    sign = state.down ? -1 : 1;
  const value = row =>
    number ? ((row[state.sort] ?? "") === "" ? NaN : parseFloat(row[state.sort])) : (row[state.sort] ?? "");
  const order = (a, b) => {
    const x = value(a),
      y = value(b);
    if (!number) return sign * x.localeCompare(y, "en", {numeric: true});
    return isNaN(x) - isNaN(y) || (isNaN(x) ? 0 : sign * (x - y)); // What has no number is last.
  };
  return rows.sort((a, b) => order(a, b) || (a.error ?? Infinity) - (b.error ?? Infinity));
}

function overview() {
  const body = el("tbody"),
    count = el("span", {class: "soft", role: "status"}),
    more = el("div");
  const compare = el("a", {class: "button main"});
  const points = chartCard(
    "Error against compression",
    traces,
    "Compression is weights / non-zero weights. Hollow: as published. Select a point to open its run.",
    "large",
    {
      click: event => {
        const id = event.points[0].customdata;
        if (rowOf(id)) location.hash = runUrl(id);
      }
    }
  );
  const unplaced = el("small"),
    options = {};
  points.card.append(" ", unplaced);

  function select(key, name, values) {
    const element = el("select", {
      onchange: event => {
        state[key] = event.target.value;
        update();
      }
    });
    options[key] = () =>
      element.replaceChildren(
        el("option", {value: ""}, "all"),
        ...values().map(([value, text]) => el("option", {value, selected: state[key] === value}, text))
      );
    return el("label", {class: "field"}, name, element);
  }
  const distinct = key => () =>
    [...new Set([...DATA.rows, ...DATA.published].map(row => row[key]))].sort().map(value => [value, value]);
  const tick = (key, name) =>
    el(
      "label",
      {class: "tick"},
      el("input", {
        type: "checkbox",
        checked: state[key],
        onchange: event => {
          state[key] = event.target.checked;
          update();
        }
      }),
      name
    );
  const search = el("input", {
    type: "search",
    id: "search",
    value: state.text,
    placeholder: "name, flag …",
    oninput: event => {
      state.text = event.target.value;
      update();
    }
  });
  const filters = el(
    "form",
    {class: "bar", role: "search", onsubmit: event => event.preventDefault()},
    el("label", {class: "field"}, "Search", search),
    select("network", "Network", distinct("network")),
    select("method", "Method", distinct("method")),
    select("dataset", "Data", distinct("dataset")),
    select("flags", "Flags", () => [
      ["none", "none"],
      ...[...new Set(DATA.rows.map(row => row.flags))]
        .filter(Boolean)
        .sort()
        .map(text => [text, text])
    ]),
    select("status", "Status", () => ["finished", "training", "stopped"].map(text => [text, text])),
    tick("published", "Published"),
    el(
      "button",
      {
        type: "button",
        onclick: () => {
          Object.assign(state, {text: "", network: "", method: "", dataset: "", flags: "", status: ""});
          search.value = "";
          update();
        }
      },
      "Clear"
    )
  );
  const heads = COLUMNS.map(column =>
    el(
      "th",
      {class: column.kind ?? "", scope: "col"},
      el(
        "button",
        {
          type: "button",
          onclick: () => {
            state.down = state.sort === column.key && !state.down;
            state.sort = column.key;
            update();
          }
        },
        column.title
      )
    )
  );

  function traces() {
    const runs = shownRuns(),
      published = shownPublished(),
      names = methods();
    const placed = [...runs, ...published].filter(row => row.error !== null && row.compression > 0);
    const hover = row =>
      `<b>${plain(row.source ? `${row.method}, ${row.source}` : row.name)}</b><br>${plain(title(row))}<br>` +
      `error ${percent(row.error)} %, compression ${compression(row.compression)}` +
      (row.flags ? `<br>${plain(row.flags)}` : "") +
      (row.status && row.status !== "finished" ? `<br>${row.status}` : "");
    const trace = (rows, name, marker) => ({
      type: "scatter",
      mode: "markers",
      name: plain(name),
      x: rows.map(row => row.compression),
      y: rows.map(row => row.error),
      text: rows.map(hover),
      hoverinfo: "text",
      customdata: rows.map(row => row.id),
      marker
    });
    const own = names.map((name, place) =>
      trace(
        runs.filter(row => row.method === name && placed.includes(row)),
        name,
        {color: color(place), symbol: symbol(place), size: 10, opacity: 0.85, line: {width: 1, color: css("--card")}}
      )
    );
    const ours = row => official(row) && names.includes(row.method);
    const theirs = names.map((name, place) =>
      trace(
        published.filter(row => row.method === name && ours(row)),
        `${name}, paper`,
        {color: color(place), symbol: `${symbol(place)}-open`, size: 13, line: {width: 2.5}}
      )
    );
    const others = trace(
      published.filter(row => !ours(row)),
      "other methods, published",
      {color: css("--soft"), symbol: "hexagon2-open", size: 10, line: {width: 1.5}}
    );
    const errors = placed.map(row => row.error).filter(error => error > 0);
    const wide = Math.max(...errors) > 10 * Math.min(...errors);
    return [
      [others, ...theirs, ...own].filter(found => found.x.length),
      {
        xaxis: logAxis(
          "compression",
          placed.map(row => row.compression)
        ),
        yaxis: wide ? logAxis("error, %", errors) : {title: "error, %", type: "linear"},
        uirevision: JSON.stringify([state.network, state.method, state.dataset, state.flags, state.text]),
        clickmode: "event",
        showlegend: true,
        legend: {orientation: "h", y: narrow.matches ? -0.25 : -0.16, yanchor: "top", x: 0, traceorder: "reversed"}
      }
    ];
  }

  function tableRow(row) {
    const ids = row.ids ?? [row.id];
    const pick = row.source
      ? null
      : el("input", {
          type: "checkbox",
          checked: ids.every(id => state.chosen.has(id)),
          "data-key": row.id,
          "aria-label": `Compare ${row.name}`,
          onchange: event => {
            ids.forEach(id => state.chosen[event.target.checked ? "add" : "delete"](id));
            choice();
          }
        });
    return el(
      "tr",
      {class: row.source ? "published" : "", "data-id": row.id},
      el("td", {}, pick),
      COLUMNS.map(column =>
        el(
          "td",
          {class: column.kind ?? ""},
          column.cell ? column.cell(row) : String(column.text ? column.text(row) : (row[column.key] ?? ""))
        )
      )
    );
  }

  function choice() {
    const ids = [...state.chosen].filter(rowOf);
    compare.textContent = ids.length < 2 ? "Compare: tick two runs or more" : `Compare ${ids.length} runs`;
    compare.setAttribute("aria-disabled", ids.length < 2);
    if (ids.length < 2) compare.removeAttribute("href");
    else compare.href = compareUrl(ids);
  }

  const rows = () => sorted([...(state.grouped ? grouped(shownRuns()) : shownRuns()), ...shownPublished()]);

  function update() {
    const found = rows(),
      focused = document.activeElement?.dataset?.key;
    Object.values(options).forEach(fill => fill());
    body.replaceChildren(...found.slice(0, state.most).map(tableRow));
    if (focused) body.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    more.replaceChildren(
      ...(found.length > state.most
        ? [
            el(
              "button",
              {
                type: "button",
                onclick: () => {
                  state.most = Infinity;
                  update();
                }
              },
              `Show all ${found.length} rows`
            )
          ]
        : [])
    );
    heads.forEach((head, place) =>
      COLUMNS[place].key === state.sort
        ? head.setAttribute("aria-sort", state.down ? "descending" : "ascending")
        : head.removeAttribute("aria-sort")
    );
    const runs = shownRuns(),
      left = runs.filter(row => row.error === null || !(row.compression > 0)).length;
    count.textContent = plural(runs.length, "run");
    unplaced.textContent = left
      ? `In the table only: ${plural(left, "run")} without a weight left, or without an epoch.`
      : "";
    choice();
    points.draw();
  }

  main.append(
    ...(DATA.broken.length
      ? [
          el(
            "details",
            {class: "warning"},
            el("summary", {}, `${plural(DATA.broken.length, "folder")} skipped`),
            el(
              "ul",
              {},
              DATA.broken.map(text => el("li", {}, text))
            )
          )
        ]
      : []),
    card(null, filters),
    points.card,
    card(
      null,
      el(
        "div",
        {class: "bar"},
        el("h3", {class: "inline"}, "Runs"),
        count,
        tick("grouped", "Group over seeds"),
        el("span", {class: "push"}),
        el("button", {type: "button", onclick: () => download("runs.csv", csvRows(rows()))}, "Download CSV"),
        compare
      ),
      el(
        "div",
        {class: "scroll"},
        el(
          "table",
          {class: "runs"},
          el("thead", {}, el("tr", {}, el("th", {}, el("span", {"aria-label": "Compare"}, "")), heads)),
          body
        ),
        more
      )
    )
  );
  update();
  return {refresh: update, recolor: update};
}

function csvRows(rows) {
  const keys = [
    "network",
    "method",
    "dataset",
    "start",
    "flags",
    "seed",
    "epochs",
    "status",
    "error",
    "train_error",
    "sparsity",
    "compression"
  ];
  return [
    ["run", ...keys, "error_deviation", "compression_deviation", "source"],
    ...rows.map(row => [
      row.ids?.length > 1 ? row.ids.join(" ") : row.source ? "" : row.id,
      ...keys.map(key => row[key]),
      row.deviations?.error,
      row.deviations?.compression,
      row.source
    ])
  ];
}
