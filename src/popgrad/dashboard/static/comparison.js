"use strict";
// Comparison of several runs: best and median score against member-steps, with intervals over seeds.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});
  const { chart, element: make } = popgrad;
  const PARTS = [
    ["best", "Best score so far"],
    ["median", "Median score of the members"],
  ];
  const SYNC = "popgrad comparison "; // charts of a problem have one pointer
  const HINT = "Values are shown here while the pointer is over a chart.";

  popgrad.comparison = {
    title: "Comparison",
    help:
      "Scores against member-steps: the training steps of all members together, so that runs with " +
      "different populations are compared at equal cost. Thin lines are runs; the thick line is the " +
      "interquartile mean of a group of runs that differ in the seed alone, and the band its 95% " +
      "interval over seeds. Drag over a chart to enlarge a part of it, double-click to go back.",
    create,
  };

  /**
   * Draw a comparison into a container, as the server answers it: {problems, sentences, errors}. The
   * runs of each problem have charts of their own, since scores of different tasks do not compare.
   */
  function create(container, data) {
    const root = make("div", { class: "compare" });
    container.append(root);
    root.append(...data.sentences.map((each) => make("p", { class: "compare-verdict" }, popgrad.visible(each))));
    const sections = data.problems.map((problem) => sectionOf(root, problem, data.problems.length > 1));
    if (data.problems.length) root.append(make("p", { class: "chart-note" }, popgrad.comparison.help));
    root.append(...data.errors.map(leftOut));
    const each = (name) => () => sections.forEach((section) => section[name]());
    return {
      update: each("draw"),
      resize: each("resize"),
      destroy() {
        each("clear")();
        root.remove();
      },
    };
  }

  function leftOut({ name, error }) {
    return make("p", { class: "chart-note" }, `Left out: ${popgrad.visible(name)}: ${popgrad.visible(error)}`);
  }

  /** Draw the runs of one problem; return {draw, resize, clear}. */
  function sectionOf(root, problem, named) {
    const section = make("section", {});
    if (named) section.append(make("h2", { class: "compare-problem" }, popgrad.visible(problem.label)));
    const charts = make("div", { class: "compare-charts" });
    const places = PARTS.map(([name, title]) => {
      const place = make("div", { class: "compare-chart", role: "img", "aria-label": title });
      charts.append(make("div", {}, make("h2", {}, title), place));
      return { name, place };
    });
    section.append(charts);
    const legend = chart.legend(section);
    const said = make("p", { class: "chart-note compare-said", role: "status" });
    section.append(said, tableOf(problem));
    root.append(section);

    const empty = !problem.groups.some((group) => group.runs.some((run) => run.steps.length));
    const plots = [];
    function clear() {
      while (plots.length) plots.pop().destroy();
    }
    function draw() {
      clear();
      legend.set(problem.groups.map((group, i) => ["thick", popgrad.category(i), nameOf(group)]));
      said.textContent = empty ? "None of these runs has finished an interval yet." : HINT;
      if (empty) return;
      const read = (plot) => (said.textContent = valuesAt(problem, plot) || HINT);
      for (const { name, place } of places) plots.push(plotOf(problem, name, place, read));
    }
    function resize() {
      for (const plot of plots) plot.setSize(sizeOf(plot.root.parentNode));
    }
    draw();
    return { draw, resize, clear };
  }

  function nameOf(group) {
    const count = group.runs.length;
    return popgrad.visible(group.label) + (count === 1 ? " (1 run)" : ` (${count} seeds)`);
  }

  function sizeOf(place) {
    const width = Math.max(260, place.clientWidth);
    return { width, height: Math.round(Math.max(260, Math.min(420, width * 0.6))) };
  }

  // --- charts -------------------------------------------------------------------------------------

  /** Return columns that share their steps, and what each column after the first is. */
  function columnsOf(data, name) {
    const tables = [];
    const kinds = [];
    data.groups.forEach((group, index) => {
      for (const run of group.runs) {
        tables.push([run.steps, run[name]]);
        kinds.push({ index, kind: "run" });
      }
      if (group.runs.length < 2) return;
      const band = group[name];
      tables.push([group.steps, band.low, band.high, band.value]);
      for (const kind of ["low", "high", "value"]) kinds.push({ index, kind });
    });
    return { columns: uPlot.join(tables.filter((table) => table[0].length)), kinds: kinds };
  }

  function plotOf(data, name, place, read) {
    const shown = { ...data, groups: data.groups.map(withSteps) };
    const { columns, kinds } = columnsOf(shown, name);
    const series = [{}];
    const bands = [];
    for (const { index, kind } of kinds) {
      const alone = shown.groups[index].runs.length < 2;
      series.push(seriesOf(popgrad.category(index), kind, alone));
      if (kind === "high") bands.push({ series: [series.length - 1, series.length - 2], fill: withAlpha(popgrad.category(index), 0.2) });
    }
    const [low, high] = range(shown, name, data.lower_is_better);
    const options = {
      ...sizeOf(place),
      series,
      bands,
      scales: { x: { time: false }, y: { range: [low, high] } },
      axes: [axisOf("member-steps", false), axisOf(popgrad.visible(data.score), true)],
      legend: { show: false },
      cursor: { sync: { key: SYNC + data.label, setSeries: false }, y: false, points: { show: false }, drag: { x: true, y: false } },
      hooks: { setCursor: [read] },
    };
    return new uPlot(options, columns, place);
  }

  /** Return a group without the runs that have no step. */
  function withSteps(group) {
    return { ...group, runs: group.runs.filter((run) => run.steps.length) };
  }

  function seriesOf(colour, kind, alone) {
    const hidden = kind === "low" || kind === "high";
    const thick = kind === "value" || alone;
    return {
      stroke: hidden ? "transparent" : thick ? colour : withAlpha(colour, 0.4),
      width: hidden ? 0 : thick ? 2.4 : 1,
      spanGaps: true,
      points: { show: false },
    };
  }

  function withAlpha(colour, alpha) {
    const { r, g, b } = d3.rgb(colour);
    return `rgba(${r}, ${g}, ${b}, ${alpha})`;
  }

  function axisOf(label, vertical) {
    const values = (plot, ticks) => ticks.map((tick) => (tick === null ? "" : chart.shortNumber(Number(tick.toPrecision(6)))));
    return popgrad.axis(label, vertical ? { size: 58, values } : { size: 26, values });
  }

  /** Return the range of scores to draw; bad ones of the beginning do not flatten all others. */
  function range(data, name, lowerIsBetter) {
    const scores = data.groups.flatMap((group) => group.runs.flatMap((run) => run[name]));
    const { low, high } = popgrad.statistics.scoreRange(scores.filter((each) => each !== null), lowerIsBetter);
    const margin = 0.05 * (high - low) || Math.max(1e-9, Math.abs(high) * 0.05);
    return [low - margin, high + margin];
  }

  // --- values -------------------------------------------------------------------------------------

  /** Say the values of all groups at the pointer. */
  function valuesAt(data, plot) {
    const { idx } = plot.cursor;
    if (idx === null || idx === undefined) return "";
    const step = plot.data[0][idx];
    const parts = data.groups.map((group) => {
      const best = lastUntil(group, "best", step);
      const median = lastUntil(group, "median", step);
      return `${popgrad.visible(group.label)}: best ${popgrad.format(best)}, median ${popgrad.format(median)}`;
    });
    return `At ${popgrad.integer(step)} member-steps: ${parts.join("; ")}.`;
  }

  /** Return the value of a group at or before a step; null = it has none. */
  function lastUntil(group, name, step) {
    const alone = group.runs.length < 2;
    const steps = alone ? (group.runs[0] ? group.runs[0].steps : []) : group.steps;
    const values = alone ? (group.runs[0] ? group.runs[0][name] : []) : group[name].value;
    const at = d3.bisectRight(steps, step) - 1;
    return at < 0 ? null : values[at];
  }

  // --- table --------------------------------------------------------------------------------------

  function tableOf(data) {
    const heads = ["group", "runs", "member-steps", "best score so far", "median"];
    const head = make("tr", {}, heads.map((each, i) => make("th", { class: i > 1 ? "number" : "" }, each)));
    const body = data.groups.map((group) =>
      make("tr", {},
        make("td", {}, popgrad.visible(group.label)),
        make("td", {}, group.runs.map(linkOf)),
        make("td", { class: "number" }, stepsOf(group)),
        make("td", { class: "number" }, lastOf(group, "best")),
        make("td", { class: "number" }, lastOf(group, "median"))),
    );
    const metric = popgrad.visible(data.score) + (data.lower_is_better ? ", lower is better" : ", higher is better");
    return make("table", { class: "compare-table" },
      make("caption", {}, `Last values (${metric}); in brackets the interval over seeds.`),
      make("thead", {}, head), make("tbody", {}, body));
  }

  function linkOf(run, i) {
    const name = popgrad.visible(run.name) + (run.finished ? "" : " (in progress)");
    return [i ? ", " : "", make("a", { href: "#run=" + encodeURIComponent(run.id) }, name)];
  }

  function stepsOf(group) {
    const ends = group.runs.map((run) => run.steps[run.steps.length - 1] || 0);
    const [least, most] = [Math.min(...ends), Math.max(...ends)];
    return least === most ? popgrad.integer(most) : popgrad.integer(least) + "–" + popgrad.integer(most);
  }

  function lastOf(group, name) {
    if (group.runs.length < 2) return popgrad.format(last(group.runs[0] ? group.runs[0][name] : []));
    const { value, low, high } = group[name];
    if (!value.length) return "–";
    return `${popgrad.format(last(value))} [${popgrad.format(last(low))}, ${popgrad.format(last(high))}]`;
  }

  const last = (values) => (values.length ? values[values.length - 1] : null);
})();
