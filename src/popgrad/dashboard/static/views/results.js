"use strict";
// Results: the region that the population searched, a point for each segment.
(function () {
  const { chart, statistics, element: make } = popgrad;
  const SMALL = 5000; // segments from which on points are small squares
  const SPREAD = 0.6; // of the distance between two options, over which members are spread

  popgrad.views.results = {
    title: "Results",
    help:
      "A point for each segment. Choose what the axes and the colour show. Rings are the first " +
      "interval, points with a rim the last one, the star is the winner, and the line joins its " +
      "ancestry in the order of training. Failed segments are crosses, at the lower edge if the score " +
      "is an axis.",
    create,
  };

  function create(container, run, options) {
    const view = { xs: [], ys: [], chosen: null, choices: null, known: "" };
    const surface = chart.surface(container, run, {
      label: "Scatter of hyperparameters and scores",
      height: () => 380,
      draw(context, width, height) {
        choose(view, run);
        draw(view, run, context, width, height);
      },
      mark: (context, selection) => mark(view, run, context, selection),
      pick: (x, y) => pick(view, x, y),
      words: () => legend.set(entries(run)),
    });
    const legend = chart.legend(container);
    const tools = make("div", { class: "chart-row" });
    container.prepend(tools);
    view.choices = ["x", "y", "colour"].map((name) =>
      chart.choice(tools, name, [], (value) => {
        view.chosen[name] = value;
        surface.resize();
      }),
    );

    surface.redraw();
    return { update: surface.redraw, resize: surface.resize, destroy: surface.destroy };
  }

  /** Offer hyperparameters, score, steps and interval; keep what was chosen. */
  function choose(view, run) {
    const dimensions = statistics.searched(run);
    const offered = [
      ...dimensions.map((each) => ["h:" + each.name, popgrad.visible(each.name)]),
      ["score", popgrad.visible(run.metric)],
      ["interval", "interval"],
      ["step", "training steps"],
      ["member", "member"],
    ];
    const known = JSON.stringify(offered);
    if (known === view.known) return;
    view.known = known;
    const names = dimensions.map((each) => "h:" + each.name);
    // As in results.png: two hyperparameters are the plane, any other number is seen against the score.
    if (names.length === 2) view.chosen = { x: names[0], y: names[1], colour: "score" };
    else view.chosen = { x: names[0] || "step", y: "score", colour: "interval" };
    view.choices.forEach((each, i) => each.set(offered, view.chosen[["x", "y", "colour"][i]]));
  }

  function entries(run) {
    const theme = popgrad.theme();
    const [first, middle, last] = [popgrad.ramp(0.3), popgrad.ramp(0.5), theme.foreground];
    const items = run.intervals > 1 ? [["ring", first, "first interval"]] : [];
    if (run.intervals > 2) items.push(["dot", middle, "in between"]);
    items.push(["ring", last, run.intervals > 1 ? "last interval (rim)" : "only interval (rim)"]);
    if (run.score.some((each) => !Number.isFinite(each))) items.push(["cross", theme.muted, "failed"]);
    if (run.winner >= 0) items.push(["star", theme.winner, "the winner and its ancestry"]);
    return items;
  }

  // --- what an axis shows -------------------------------------------------------------------------

  /** Return {label, scale(from, to), value(row), words} of a choice. */
  function quantity(run, key) {
    if (key === "score") return score(run);
    if (key.startsWith("h:")) return hparam(run, key.slice(2));
    const [label, value, most] = {
      interval: ["interval", (row) => run.interval[row], run.intervals - 1],
      step: ["training steps", (row) => run.lastStep(row), run.maxStep],
      member: ["member", (row) => run.member[row], d3.max(run.members)],
    }[key];
    const more = { pad: 0.03, whole: true, compact: true };
    return { label, value, scale: (from, to) => chart.numbers("linear", 0, most, from, to, more) };
  }

  function score(run) {
    const range = statistics.scoreRange(run.score, run.lowerIsBetter);
    const label = popgrad.visible(run.metric) + (range.cut ? " (the worst are off the scale)" : "");
    const scale = (from, to) => chart.numbers("linear", range.low, range.high, from, to, { pad: 0.05 });
    return { label, value: (row) => run.score[row], scale, reversed: run.lowerIsBetter, score: true };
  }

  function hparam(run, name) {
    const dimension = run.dimension(name);
    const values = run.hparams[name] || [];
    const scale = (from, to) => chart.ofHparam(run, dimension, from, to, { pad: 0.04 });
    const log = { log: ", log scale", "one-minus": ", log scale of the distance to 1" }[dimension.scale] || "";
    return { label: popgrad.visible(name) + log, value: (row) => values[row], scale };
  }

  // --- drawing ------------------------------------------------------------------------------------

  function draw(view, run, context, width, height) {
    view.xs = view.ys = [];
    if (!run.n) {
      chart.sentence(context, width, height, "No segment has finished yet.");
      return;
    }
    const [across, up, colour] = ["x", "y", "colour"].map((name) => quantity(run, view.chosen[name]));
    const frame = { left: 0, right: width - 92, top: 30, bottom: height - 44 };
    const y = up.scale(frame.bottom, frame.top);
    frame.left = chart.tickWidth(context, y, 8) + 14;
    const x = across.scale(frame.left, frame.right);
    chart.axisX(context, frame, x, across.label);
    chart.axisY(context, frame, y, up.label);
    place(view, run, frame, [across, x], [up, y]);

    const shades = shadesOf(run, colour);
    chart.inside(context, frame, () => {
      points(view, run, context, shades, colour);
      winner(view, run, context);
    });
    bar(context, { left: width - 66, right: width - 54, top: frame.top + 4, bottom: frame.bottom }, shades, colour);
  }

  function place(view, run, frame, [across, x], [up, y]) {
    view.xs = new Float32Array(run.n);
    view.ys = new Float32Array(run.n);
    for (let row = 0; row < run.n; row++) {
      const failed = run.failed(row);
      view.xs[row] = failed && across.score ? frame.left + 5 : x.at(across.value(row)) + shift(run, x, row);
      view.ys[row] = failed && up.score ? frame.bottom - 5 : y.at(up.value(row)) - shift(run, y, row);
    }
  }

  function shift(run, scale, row) {
    if (!scale.options) return 0;
    return ((run.slotOrder.get(run.member[row]) + 0.5) / run.members.length - 0.5) * scale.step * SPREAD;
  }

  /** Return how a choice becomes a colour: {at(row) in [0, 1] or NaN, scale or options}. */
  function shadesOf(run, colour) {
    const scale = colour.scale(0, 1);
    if (!scale.options) {
      const share = (row) => Math.min(1, Math.max(0, scale.at(colour.value(row))));
      return { scale, colour: (row) => popgrad.ramp(colour.reversed ? 1 - share(row) : share(row)) };
    }
    const index = new Map(scale.options.map((each, i) => [each, i]));
    return { scale, colour: (row) => popgrad.category(index.get(colour.value(row))) };
  }

  function points(view, run, context, shades) {
    const theme = popgrad.theme();
    const [first, last] = [0, run.intervals - 1];
    const order = [[], [], []];
    for (let row = 0; row < run.n; row++) {
      const interval = run.interval[row];
      order[interval === last ? 2 : interval === first ? 1 : 0].push(row);
    }
    const small = run.n > SMALL;
    order.forEach((rows, kind) => {
      for (const row of rows) {
        const [x, y] = [view.xs[row], view.ys[row]];
        if (run.failed(row)) chart.cross(context, x, y, 3.5, theme.muted);
        else if (small && kind === 0) square(context, x, y, shades.colour(row));
        else dot(context, x, y, shades.colour(row), kind, small, theme);
      }
    });
  }

  function square(context, x, y, colour) {
    context.fillStyle = colour;
    context.fillRect(x - 1.5, y - 1.5, 3, 3);
  }

  function dot(context, x, y, colour, kind, small, theme) {
    context.beginPath();
    context.arc(x, y, (small ? [2, 3, 3] : [3.4, 4.2, 4.8])[kind], 0, 2 * Math.PI);
    context.fillStyle = context.strokeStyle = colour;
    context.lineWidth = small ? 1.2 : 2;
    if (kind === 1) {
      context.stroke();
      return;
    }
    context.fill();
    if (kind === 0) return;
    context.strokeStyle = theme.foreground;
    context.lineWidth = small ? 1 : 1.6;
    context.stroke();
  }

  function winner(view, run, context) {
    const theme = popgrad.theme();
    const rows = run.winnerLineage.filter((row) => Number.isFinite(view.xs[row]) && Number.isFinite(view.ys[row]));
    if (!rows.length) return;
    context.beginPath();
    rows.forEach((row, i) => context[i ? "lineTo" : "moveTo"](view.xs[row], view.ys[row]));
    context.strokeStyle = theme.winner;
    context.lineWidth = 1.6;
    context.lineJoin = "round";
    context.stroke();
    const last = rows[rows.length - 1];
    chart.star(context, view.xs[last], view.ys[last], 9);
  }

  /** Draw what the colours mean, right of the points. */
  function bar(context, frame, shades, colour) {
    const theme = popgrad.theme();
    context.textAlign = "right";
    context.textBaseline = "alphabetic";
    context.font = popgrad.font(12);
    context.fillStyle = theme.foreground;
    const label = chart.fitted(context, colour.label.replace(/[,(].*/, "").trim(), 86);
    context.fillText(label, frame.right + 50, frame.top - 13);
    context.font = popgrad.font(11);
    context.textAlign = "left";
    context.textBaseline = "middle";
    if (shades.scale.options) return words(context, frame, shades.scale, theme);

    const scale = colour.scale(frame.bottom, frame.top);
    for (let y = frame.top; y < frame.bottom; y++) {
      const share = (frame.bottom - y) / (frame.bottom - frame.top);
      context.fillStyle = popgrad.ramp(colour.reversed ? 1 - share : share);
      context.fillRect(frame.left, y, frame.right - frame.left, 1.5);
    }
    context.fillStyle = theme.muted;
    for (const [tick, text] of chart.labelled(scale, Math.max(2, (frame.bottom - frame.top) / 50))) {
      const y = scale.at(tick);
      if (y < frame.top - 1 || y > frame.bottom + 1) continue;
      context.fillText(chart.fitted(context, text, 46), frame.right + 5, y);
    }
  }

  function words(context, frame, scale, theme) {
    scale.options.forEach((option, i) => {
      const y = frame.top + 10 + 18 * i;
      if (y > frame.bottom) return;
      context.fillStyle = popgrad.category(i);
      context.fillRect(frame.left, y - 5, 10, 10);
      context.fillStyle = theme.muted;
      context.fillText(chart.fitted(context, scale.text(option), 46), frame.left + 15, y);
    });
  }

  function mark(view, run, context, selection) {
    const theme = popgrad.theme();
    const { row, hover } = selection;
    if (row >= 0 && row < view.xs.length) {
      const rows = run.lineage(row);
      context.beginPath();
      rows.forEach((each, i) => context[i ? "lineTo" : "moveTo"](view.xs[each], view.ys[each]));
      context.strokeStyle = theme.selected;
      context.lineWidth = 1.2;
      context.stroke();
      chart.ring(context, view.xs[row], view.ys[row], 8, true);
    }
    if (hover >= 0 && hover < view.xs.length) chart.ring(context, view.xs[hover], view.ys[hover], 8, false);
  }

  function pick(view, x, y) {
    const row = chart.nearest(view.xs, view.ys, x, y, 14);
    return row < 0 ? null : { row };
  }
})();
