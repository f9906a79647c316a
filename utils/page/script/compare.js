// Several runs side by side.

function historyRows(found) {
  const names = [...new Set(found.flatMap(([, detail]) => Object.keys(detail.history)))];
  return [
    ["run", ...names],
    ...found.flatMap(([row, detail]) =>
      column(detail, "epoch").map((_, at) => [row.id, ...names.map(name => detail.history[name]?.[at])])
    )
  ];
}

function compareView(ids) {
  const present = ids.filter(rowOf);
  if (present.length < 2) return missing(ids);
  let found = [];
  const lines = (name, percentages) =>
    found.map(([row, detail], place) =>
      curve(detail, name, row.name, place, {
        line: {color: color(place), width: 2, dash: DASHES[Math.floor(place / 8) % 3]},
        ...(percentages ? {y: percentages(detail)} : {})
      })
    );
  const x = {title: "epoch"},
    unified = {hovermode: "x unified", showlegend: false};
  const charts = [
    chartCard("Test error", () => [
      lines("test_error_percent"),
      {xaxis: x, yaxis: errorAxis(found.map(([, detail]) => column(detail, "test_error_percent"))), ...unified}
    ]),
    chartCard("Test loss, -log p(y | x)", () => [
      lines("test_nll"),
      {
        xaxis: x,
        yaxis: logAxis("nats per example", ...found.map(([, detail]) => column(detail, "test_nll"))),
        ...unified
      }
    ]),
    chartCard("Sparsity of all weights", () => [
      lines("compression", detail => column(detail, "compression").map(value => (value ? 100 - 100 / value : 100))),
      {xaxis: x, yaxis: {title: "sparsity, %", range: [0, 102]}, ...unified}
    ]),
    chartCard("Compression", () => [
      lines("compression"),
      {
        xaxis: x,
        yaxis: logAxis("weights / non-zero weights", ...found.map(([, detail]) => column(detail, "compression"))),
        ...unified
      }
    ])
  ];
  const results = el("div"),
    tables = el("div");
  let all = false;

  function fill() {
    const names = new Set(found.flatMap(([, detail]) => detail.settings.map(([name]) => name)));
    const settings = found.map(([row, detail]) => ({...Object.fromEntries(detail.settings), commit: detail.commit}));
    const rows = [...names, "commit"].map(name => [name, settings.map(own => own[name] ?? "")]);
    const differs = ([, values]) => new Set(values).size > 1;
    const swatch = place =>
      el("span", {
        class: "dash",
        style: `border-color: ${color(place)}; border-top-style: ${BORDERS[Math.floor(place / 8) % 3]}`
      });
    const line = ([name, values]) =>
      el(
        "tr",
        {},
        el("th", {scope: "row"}, name),
        values.map(value => el("td", {}, value))
      );
    const heads = () => [
      el("th", {}, ""),
      ...found.map(([row], place) =>
        el("th", {scope: "col"}, swatch(place), el("a", {href: runUrl(row.id)}, row.name))
      )
    ];
    const measured = [
      ["error %", row => percent(row.error)],
      ["train error %", row => percent(row.train_error)],
      ["sparsity %", row => percent(row.sparsity)],
      ["compression", compressionOf],
      ["epochs", row => `${row.done}/${row.epochs}`],
      ["time", row => duration(row.seconds)]
    ];
    results.replaceChildren(
      card(
        "Results",
        el(
          "div",
          {class: "scroll"},
          table(
            "compared",
            heads(),
            measured.map(([name, show]) => line([name, found.map(([row]) => show(rowOf(row.id) ?? row))]))
          )
        )
      )
    );
    tables.replaceChildren(
      card(
        null,
        el(
          "div",
          {class: "bar"},
          el("h3", {class: "inline"}, all ? "All settings" : "Settings that differ"),
          el(
            "label",
            {class: "tick"},
            el("input", {
              type: "checkbox",
              checked: all,
              onchange: event => {
                all = event.target.checked;
                fill();
              }
            }),
            "Show all"
          )
        ),
        el("div", {class: "scroll"}, table("compared", heads(), rows.filter(one => all || differs(one)).map(line)))
      )
    );
    charts.forEach(one => one.draw());
  }

  main.append(
    el("p", {}, el("a", {href: "#/"}, "← All runs")),
    el(
      "div",
      {class: "head"},
      el("h2", {tabIndex: -1}, `${present.length} runs compared`),
      el(
        "div",
        {class: "bar"},
        el(
          "button",
          {
            type: "button",
            onclick: () => {
              state.chosen.clear();
              location.hash = "#/";
            }
          },
          "Clear the choice"
        ),
        el(
          "button",
          {type: "button", onclick: () => download("comparison.csv", historyRows(found))},
          "Histories as CSV"
        )
      )
    ),
    results,
    el(
      "div",
      {class: "grid"},
      charts.map(one => one.card)
    ),
    tables
  );
  const load = first =>
    Promise.all(present.filter(rowOf).map(async id => [rowOf(id), await details(rowOf(id))]))
      .then(loaded => {
        if (tables.isConnected) {
          found = loaded;
          fill();
          if (first) focusHead();
        }
      })
      .catch(
        error => first && main.append(el("p", {class: "warning"}, `These runs cannot be shown: ${error.message}`))
      );
  load(true);
  return {
    refresh: changed => changed.some(id => present.includes(id)) && load(false),
    recolor: () => found.length && fill()
  };
}

function missing(ids) {
  main.append(
    el("p", {}, el("a", {href: "#/"}, "← All runs")),
    el("p", {class: "warning"}, `No such run: ${ids.join(", ")}`)
  );
  return {};
}
