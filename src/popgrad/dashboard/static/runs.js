"use strict";
// The list of runs, sortable by every column, and the page that compares those that were ticked.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});
  const make = popgrad.element;
  const EVERY = 4000; // ms between two looks at the list

  // The largest unit alone: "14 min ago".
  const age = (run) => {
    if (!run.changed) return "–";
    const seconds = Math.max(1, Math.round(Date.now() / 1000 - run.changed));
    return popgrad.duration(seconds).split(" ").slice(0, 2).join(" ") + " ago";
  };
  const COLUMNS = [
    { name: "Run", key: (run) => run.name, text: (run) => popgrad.visible(run.name) },
    { name: "Status", key: (run) => run.state || "", text: (run) => run.state || "" },
    { name: "Task", key: (run) => run.task || "", text: (run) => popgrad.visible(run.task || "") },
    { name: "Strategy", key: (run) => run.strategy || "", text: (run) => popgrad.visible(run.strategy || "") },
    { name: "Members", key: (run) => run.members, text: (run) => popgrad.format(run.members), number: true },
    { name: "Intervals", key: (run) => run.completed, number: true,
      text: (run) => popgrad.format(run.completed) + " of " + popgrad.format(run.intervals) },
    { name: "Score", key: (run) => run.score || "", text: (run) => popgrad.visible(run.score || "") },
    { name: "Best", key: (run) => (run.best === null ? undefined : run.best), number: true,
      text: (run) => popgrad.format(run.best) },
    { name: "Changed", key: (run) => run.changed, text: age, number: true, falling: true },
  ];

  popgrad.listPage = function (place) {
    const view = { sort: 8, falling: true, runs: [], ticked: new Set(), gone: false, timer: 0 };
    const compare = make("button", { type: "button", class: "primary", disabled: true, onclick: () => {
      location.hash = "compare=" + Array.from(view.ticked).join(",");
    } }, "Compare");
    const table = make("table", { class: "runs" });
    const empty = make("p", { class: "empty", hidden: true }, "There is no run in the given folders yet.");
    place.append(
      make("div", { class: "page-head" }, make("h1", {}, "Runs"), compare),
      make("div", { class: "panel table-panel" }, table, empty),
    );

    function heads() {
      return COLUMNS.map((column, i) =>
        make("th", { scope: "col", class: column.number ? "number" : "",
          "aria-sort": i === view.sort ? (view.falling ? "descending" : "ascending") : null },
        make("button", { type: "button", class: "sort", onclick: () => {
          view.falling = i === view.sort ? !view.falling : Boolean(column.falling);
          view.sort = i;
          draw();
        } }, column.name, i === view.sort
          ? make("span", { class: "sort-mark", "aria-hidden": "true" }, view.falling ? "▼" : "▲") : null)));
    }

    function rowOf(run) {
      if (run.error) {
        return make("tr", { class: "unreadable" }, make("td"), make("td", {}, popgrad.visible(run.name)),
          make("td", { colspan: COLUMNS.length - 1 }, popgrad.visible(run.error)));
      }
      const tick = make("input", { type: "checkbox", "aria-label": "Compare " + popgrad.visible(run.name),
        onchange: () => {
          if (tick.checked) view.ticked.add(run.id);
          else view.ticked.delete(run.id);
          button();
        } });
      tick.checked = view.ticked.has(run.id);
      return make("tr", { "data-state": run.state || "" }, make("td", { class: "tick" }, tick),
        COLUMNS.map((column, i) =>
          make("td", { class: column.number ? "number" : "", title: i === 0 ? popgrad.visible(run.path || "") : null },
            i === 0 ? make("a", { href: "#run=" + run.id }, column.text(run))
              : i === 1 ? make("span", { class: "state", "data-state": run.state || "", title: run.status || null }, column.text(run))
                : column.text(run))));
    }

    function button() {
      compare.disabled = view.ticked.size < 2;
      compare.textContent = view.ticked.size ? "Compare " + view.ticked.size + " runs" : "Compare";
    }

    function draw() {
      const { key } = COLUMNS[view.sort];
      const sorted = view.runs.slice().sort((a, b) => {
        const order = d3.ascending(key(a), key(b));
        // What is unknown stays at the end in both directions.
        if (Number.isNaN(order)) return (key(a) === undefined) - (key(b) === undefined);
        return (view.falling ? -order : order) || d3.ascending(a.name, b.name);
      });
      const focused = table.contains(document.activeElement) ? document.activeElement.textContent : null;
      table.replaceChildren(
        make("thead", {}, make("tr", {}, make("th", { class: "tick" },
          make("span", { class: "unseen" }, "Compare")), heads())),
        make("tbody", {}, sorted.map(rowOf)),
      );
      empty.hidden = view.runs.length > 0;
      table.hidden = !view.runs.length;
      if (focused) {
        const again = Array.from(table.querySelectorAll("button, a")).find((each) => each.textContent.startsWith(focused.replace(/[▲▼]/g, "")));
        if (again) again.focus();
      }
    }

    async function look() {
      try {
        view.runs = (await popgrad.getJson("api/runs")).runs;
        if (view.gone) return;
        popgrad.connection(view.runs.some((run) => run.state === "in progress") ? "live" : "done");
        if (!table.contains(document.activeElement) || document.activeElement.type !== "checkbox") draw();
      } catch {
        if (!view.gone) popgrad.connection("waiting");
      }
      if (!view.gone) view.timer = setTimeout(look, EVERY);
    }

    look();
    return {
      redraw: draw,
      destroy() {
        view.gone = true;
        clearTimeout(view.timer);
      },
    };
  };

  // Several runs beside each other. The chart itself is popgrad.comparison, if it is there.
  popgrad.comparePage = function (place, ids) {
    const page = { chart: null, gone: false };
    const body = make("div", { class: "panel comparison" });
    document.title = "comparison · popgrad";
    place.append(make("div", { class: "page-head" }, make("h1", {}, "Comparison of " + ids.length + " runs")), body);

    popgrad.getJson("api/compare?" + ids.map((id) => "run=" + encodeURIComponent(id)).join("&")).then(
      (data) => {
        if (page.gone) return;
        popgrad.connection("done");
        page.chart = popgrad.comparison.create(body, data, {});
      },
      (error) => body.append(make("p", { class: "empty" }, "The runs cannot be compared: " + error.message)),
    );
    return {
      redraw: () => page.chart && page.chart.update(),
      resize: () => page.chart && page.chart.resize(),
      destroy() {
        page.gone = true;
        if (page.chart) page.chart.destroy();
      },
    };
  };
})();
