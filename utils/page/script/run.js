// One run.

const column = (detail, name) => detail.history[name] ?? [];
const layersOf = detail => Object.keys(detail.history).filter(name => name.startsWith("sparsity_percent_"));

const partsOf = detail => Object.keys(detail.history).filter(name => name.endsWith("_left"));

// What language models are measured by, with the axis' title; null of other runs.
const measureOf = detail =>
  [
    ["bits", "bits a character"],
    ["perplexity", "perplexity"]
  ].find(([name]) => column(detail, `test_${name}`).length) ?? null;

// Curves of training, validation and test data, as far as there are any.
const splits = (detail, name) =>
  [
    ["train", 1],
    ["valid", 2],
    ["test", 0]
  ]
    .filter(([split]) => column(detail, `${split}_${name}`).length)
    .map(([split, place]) => curve(detail, `${split}_${name}`, split, place));
const heights = curves => curves.map(one => one.y);

function lossChart(detail) {
  const x = {title: "epoch"},
    measure = measureOf(detail);
  if (measure) {
    const [name, title] = measure,
      curves = splits(detail, name);
    return [
      curves,
      {xaxis: x, yaxis: name === "bits" ? {title} : logAxis(title, ...heights(curves)), hovermode: "x unified"}
    ];
  }
  // The axis is logarithmic: an objective that is a log density, as soft weight-sharing's, has no place on it.
  const losses = column(detail, "train_loss"),
    apart =
      losses.every(value => value > 0) && losses.some((value, place) => value !== column(detail, "train_nll")[place]),
    dotted = {line: {color: color(3), width: 2, dash: "dot"}},
    curves = splits(detail, "nll");
  if (apart) curves.push(curve(detail, "train_loss", "train, objective", 3, dotted));
  return [curves, {xaxis: x, yaxis: logAxis("nats per example", ...heights(curves)), hovermode: "x unified"}];
}

function curve(detail, name, label, place, more = {}) {
  return {
    type: "scatter",
    mode: column(detail, "epoch").length < 30 ? "lines+markers" : "lines",
    name: plain(label),
    x: column(detail, "epoch"),
    y: column(detail, name),
    line: {color: color(place), width: 2},
    marker: {size: 5},
    hovertemplate: "%{y:.4g}",
    ...more
  };
}

function sparsityChart(detail) {
  const layers = layersOf(detail),
    names = layers.map(name => plain(name.slice("sparsity_percent_".length)));
  if (layers.length > MOST_LINES)
    return [
      [
        {
          type: "heatmap",
          x: column(detail, "epoch"),
          y: names,
          z: layers.map(name => column(detail, name)),
          zmin: 0,
          zmax: 100,
          colorscale: "Cividis",
          colorbar: {thickness: 12, outlinewidth: 0, title: {text: "%"}},
          hovertemplate: "%{y}, epoch %{x}: %{z:.1f} %<extra></extra>"
        }
      ],
      {xaxis: {title: "epoch"}, yaxis: {autorange: "reversed", type: "category"}}
    ];
  return [
    layers.map((name, place) => curve(detail, name, name.slice("sparsity_percent_".length), place)),
    {
      xaxis: {title: "epoch"},
      yaxis: {title: "sparsity, %", range: [0, 102]},
      hovermode: "x unified",
      showlegend: true
    }
  ];
}

function runView(id) {
  const row = rowOf(id);
  if (!row) return missing([id]);
  let detail = null;
  const head = el("div"),
    tiles = el("div", {class: "tiles"}),
    rest = el("div"),
    layers = el("div");
  const x = {title: "epoch"};
  const curves = [
    chartCard("Error", () => {
      const curves = splits(detail, "error_percent");
      return [curves, {xaxis: x, yaxis: errorAxis(heights(curves)), hovermode: "x unified"}];
    }),
    chartCard("Loss, -log p(y | x)", () => lossChart(detail)),
    chartCard("Sparsity by layer", () => sparsityChart(detail)),
    chartCard("Compression", () => [
      [curve(detail, "compression", "compression", 0)],
      {xaxis: x, yaxis: logAxis("weights / non-zero weights", column(detail, "compression")), hovermode: "x unified"}
    ]),
    chartCard("Parts left", () => [
      partsOf(detail).map((name, place) => curve(detail, name, name.slice(0, -"_left".length), place)),
      {xaxis: x, yaxis: logAxis("left", ...partsOf(detail).map(name => column(detail, name))), hovermode: "x unified"}
    ])
  ];
  const epochs = el("div", {class: "grid"});
  let shown = "";

  function fill(found) {
    detail = found;
    const row = rowOf(id),
      last = column(detail, "epoch").at(-1);
    head.replaceChildren(
      el(
        "div",
        {class: "head"},
        el(
          "div",
          {},
          el("h2", {tabIndex: -1}, row.name),
          el(
            "div",
            {class: "soft"},
            [title(row), row.start === "random" ? "" : `from ${row.start}`, row.flags, `seed ${row.seed} `]
              .filter(Boolean)
              .join(", "),
            el("span", {class: `badge ${row.status}`}, row.status)
          )
        ),
        el(
          "div",
          {class: "bar"},
          el(
            "button",
            {
              type: "button",
              onclick: () => {
                state.chosen.add(id);
                location.hash = "#/";
              }
            },
            "Compare with …"
          ),
          el(
            "button",
            {type: "button", onclick: () => download(`${row.name}.csv`, historyRows([[row, detail]]))},
            "History as CSV"
          )
        )
      )
    );
    const tile = (name, value) =>
      value === "" ? null : el("div", {class: "tile"}, el("small", {}, name), el("b", {}, value));
    const measure = measureOf(detail);
    tiles.replaceChildren(
      ...[
        tile("Test error", row.error === null ? "" : `${percent(row.error)} %`),
        measure && tile(`Test, ${measure[1]}`, row.measure === null ? "" : row.measure.toFixed(3)),
        tile("Train error", row.train_error === null ? "" : `${percent(row.train_error)} %`),
        tile("Sparsity", row.prunes && row.sparsity !== null ? `${percent(row.sparsity)} %` : ""),
        tile("Compression", row.prunes ? compressionOf(row) : ""),
        tile("Epochs", row.status === "finished" ? String(row.epochs) : `${last ?? 0} of ${row.epochs}`),
        tile("Time", duration(row.seconds))
      ].filter(Boolean)
    );
    const visible = curves.filter(
      (_, place) => last && (place < 2 || (row.prunes && (place < 4 ? layersOf : partsOf)(detail).length))
    );
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
  const load = first =>
    details(row)
      .then(found => {
        if (head.isConnected) {
          fill(found);
          if (first) focusHead();
        }
      })
      .catch(
        error => first && main.append(el("p", {class: "warning"}, `This run cannot be shown: ${error.message}`))
      );
  load(true);
  return {refresh: ids => ids.includes(id) && load(false)};
}

function layersCard(place, detail, row) {
  const names = detail.layers.map(([name]) => plain(name));
  const bars = chartCard("Weights by layer", () => [
    [
      {
        type: "bar",
        name: "weights",
        x: names,
        y: detail.layers.map(layer => layer[1]),
        marker: {color: css("--line")},
        hovertemplate: "%{y:,} weights<extra></extra>"
      },
      {
        type: "bar",
        name: "not zero",
        x: names,
        y: detail.layers.map(layer => layer[2] || null),
        marker: {color: color(0)},
        hovertemplate: "%{y:,} not zero<extra></extra>"
      }
    ],
    {
      barmode: "overlay",
      xaxis: {type: "category"},
      yaxis: {type: "log", dtick: 1, title: "weights"},
      showlegend: true
    }
  ]);
  const listed = card(
    "Sparsity by layer, at the end",
    el(
      "div",
      {class: "scroll"},
      table(
        "layers",
        ["Layer", "Weights", "Not zero", "Sparsity %", "Compression"].map((name, at) =>
          el("th", {class: at ? "number" : "", scope: "col"}, name)
        ),
        detail.layers.map(([name, weights, nonzero, sparsity, factor]) =>
          el(
            "tr",
            {},
            el("td", {}, name),
            [
              weights.toLocaleString("en"),
              nonzero.toLocaleString("en"),
              percent(sparsity),
              factorText(factor)
            ].map(text => el("td", {class: "number"}, text))
          )
        )
      )
    )
  );
  place.append(el("div", {class: "grid"}, row.prunes ? [bars.card, listed] : [listed]));
  if (row.prunes) bars.draw();
}

function thresholdCard(place, detail) {
  const {rows, edges, histogram, images} = detail.thresholds;
  const nearest = value =>
    rows.reduce((best, row, at) => (Math.abs(row[0] - value) < Math.abs(rows[best][0] - value) ? at : best), 0);
  const own = nearest(detail.threshold ?? 3);
  let at = own;
  const output = el("output", {"aria-live": "polite", id: "at-threshold"});
  const slider = el("input", {
    type: "range",
    min: 0,
    max: rows.length - 1,
    step: 1,
    "aria-label": "Threshold on log alpha",
    oninput: event => move(Number(event.target.value))
  });
  const centers = edges.slice(1).map((edge, bin) => (edge + edges[bin]) / 2);
  const counts = chartCard(
    "log α of the weights, and the threshold",
    () => [
      histogram.map(([layer, values], number) => ({
        type: "scatter",
        mode: "lines",
        name: plain(layer),
        x: centers,
        y: values.map(value => value || null),
        line: {shape: "hvh", width: 1.8, color: color(number), dash: DASHES[Math.floor(number / 8) % 3]},
        hovertemplate: "%{y:,} weights"
      })),
      {
        xaxis: {title: "log α"},
        yaxis: {type: "log", title: "weights", dtick: 1},
        hovermode: "x unified",
        showlegend: true,
        shapes: [
          {
            type: "line",
            x0: rows[at][0],
            x1: rows[at][0],
            yref: "paper",
            y0: 0,
            y1: 1,
            line: {width: 4, color: css("--text")}
          }
        ],
        annotations: [
          {
            x: rows[at][0],
            y: 1,
            yref: "paper",
            text: "pruned →",
            showarrow: false,
            xanchor: "left",
            yanchor: "top",
            xshift: 6
          }
        ]
      },
      {edits: {shapePosition: true}}
    ],
    "Drag the line, or move the slider with the arrow keys.",
    "",
    {
      relayout: change => {
        const value = change["shapes[0].x0"];
        if (value !== undefined) move(nearest(Number(value)));
      }
    }
  );
  const placed = rows.filter(row => row[2] !== null),
    axis = errorAxis([placed.map(row => row[1])], 0.8);
  const reached = placed.filter(row => row[1] <= axis.range[1]).map(row => row[2]);
  const path = chartCard(`Error against compression, by threshold (${images})`, () => [
    [
      {
        type: "scatter",
        mode: "lines+markers",
        x: placed.map(row => row[2]),
        y: placed.map(row => row[1]),
        name: "thresholds",
        line: {color: color(0), width: 2},
        marker: {size: 6},
        text: placed.map(row => `log α < ${row[0]}`),
        hovertemplate: "%{text}: %{y:.2f} %, %{x:.0f}×<extra></extra>"
      },
      {
        type: "scatter",
        mode: "markers",
        x: [rows[own][2]],
        y: [rows[own][1]],
        name: "the run's",
        hoverinfo: "skip",
        marker: {size: 15, symbol: "circle-open", color: color(0), line: {width: 2}}
      },
      {
        type: "scatter",
        mode: "markers",
        x: [rows[at][2]],
        y: [rows[at][1]],
        name: "the handle's",
        hoverinfo: "skip",
        marker: {size: 13, symbol: "diamond", color: color(1)}
      }
    ],
    {
      xaxis: {
        ...logAxis("compression", reached),
        range: [Math.log10(0.95 * Math.min(...reached)), Math.log10(1.05 * Math.max(...reached))]
      },
      yaxis: axis,
      showlegend: true
    }
  ]);

  function move(to) {
    at = to;
    const [threshold, error, factor, nonzero] = rows[at];
    slider.value = at;
    slider.setAttribute(
      "aria-valuetext",
      `log alpha below ${threshold}: error ${percent(error)} %, compression ${factorText(factor)}`
    );
    output.replaceChildren(
      ...[
        ["log α <", String(threshold)],
        ["error", `${percent(error)} %`],
        ["compression", factorText(factor)],
        ["weights left", nonzero.toLocaleString("en")]
      ].map(([name, value]) => el("span", {}, el("span", {class: "soft"}, `${name} `), el("b", {}, value)))
    );
    counts.draw();
    path.draw();
  }
  place.append(
    card("Threshold", el("div", {class: "threshold"}, slider, output)),
    el("div", {class: "grid"}, counts.card, path.card)
  );
  move(at);
}

function facts(row, detail) {
  const pairs = (name, list) =>
    list.length
      ? card(
          name,
          el(
            "div",
            {class: "scroll"},
            el(
              "table",
              {class: "facts"},
              el(
                "tbody",
                {},
                list.map(([key, value]) => el("tr", {}, el("td", {}, key), el("td", {}, value)))
              )
            )
          )
        )
      : null;
  const files = Object.fromEntries(detail.files),
    moving = detail.files.filter(([name]) => name.endsWith(".gif"));
  const still = detail.files.filter(
    ([name]) =>
      name.endsWith(".png") && !["curves.png", "thresholds.png"].includes(name) && !files[name.replace(/png$/, "gif")]
  );
  const figure = ([name, url]) => {
    const image = el("img", {src: row.href + url, alt: name, loading: "lazy"}),
      one = files[name.replace(/gif$/, "png")];
    // Who does not want things to move sees a few epochs side by side.
    return el(
      "figure",
      {},
      name.endsWith(".gif") && one
        ? el("picture", {}, el("source", {srcset: row.href + one, media: "(prefers-reduced-motion: reduce)"}), image)
        : image,
      el("figcaption", {class: "soft"}, name)
    );
  };
  const pictures = [...moving, ...still];
  const thinned =
    column(detail, "epoch").length < detail.epochs
      ? ` Curves show ${column(detail, "epoch").length} of ${detail.epochs} epochs; history.csv has all.`
      : "";
  return [
    pictures.length ? card("Pictures", el("div", {class: "pictures"}, pictures.map(figure))) : null,
    el(
      "div",
      {class: "grid"},
      pairs("Settings", detail.settings),
      el(
        "div",
        {},
        pairs("Where it ran", [
          ...(detail.command ? [["command", el("code", {}, detail.command)]] : []),
          ["commit", el("code", {}, detail.commit || "unknown")],
          ["started", row.started || "unknown"],
          ...detail.environment
        ]),
        card(
          "Files",
          el(
            "div",
            {class: "files"},
            detail.files.map(([name, url]) => el("a", {href: row.href + url}, name))
          ),
          thinned ? el("small", {}, thinned) : null
        )
      )
    ),
    detail.log === null ? null : card("Log", el("pre", {tabIndex: 0}, detail.log))
  ].filter(Boolean);
}
