"use strict";
// Scores: all segments, best and median of each interval, and the winner's ancestry.
(function () {
  const { chart, statistics, element: make } = popgrad;
  const DOTS = 1500; // segments up to which each has a dot

  popgrad.views.scores = {
    title: "Scores",
    help:
      "The metric that ranks, as each segment was evaluated at its end. Every thin line leads from a " +
      "segment to one that started from its state, so no line runs back in time. Best and median are " +
      "those of the members in each interval; once members have started fresh, of those with about as many " +
      "training steps. Crosses at the edge are failed segments.",
    create,
  };

  function create(container, run, options) {
    const view = { xs: [], ys: [], frame: null, by: "steps", cut: 0 };
    const surface = chart.surface(container, run, {
      label: "Scores of all members, with best, median and the winner's ancestry",
      height: () => 380,
      draw: (context, width, height) => draw(view, run, context, width, height),
      mark: (context, selection) => mark(view, run, context, selection),
      pick: (x, y) => pick(view, x, y),
      words,
    });
    const legend = chart.legend(container);
    const note = make("p", { class: "chart-note" });
    container.append(note);
    const axes = [["steps", "training steps"], ["interval", "interval"]];
    if (options && options.tools) {
      chart.choice(options.tools, "against", axes, (value) => {
        view.by = value;
        surface.resize();
      });
    }

    function words() {
      const theme = popgrad.theme();
      const failures = run.score.some(Number.isNaN);
      legend.set([
        ["thick", theme.winner, "the winner's ancestry"],
        ["line", theme.accent, "best"],
        ["dash", theme.foreground, "median"],
        ["line", theme.faint, "all members"],
        ...(failures ? [["cross", theme.failed, "failed"]] : []),
      ]);
      note.textContent = offScale(view.cut);
    }
    surface.redraw();
    return { update: surface.redraw, resize: surface.resize, destroy: surface.destroy };
  }

  function offScale(cut) {
    if (!cut) return "";
    return cut === 1
      ? "The worst score is off the scale; it would flatten all others."
      : `The worst ${popgrad.integer(cut)} scores are off the scale; they would flatten all others.`;
  }

  // --- drawing ------------------------------------------------------------------------------------

  function draw(view, run, context, width, height) {
    view.xs = view.ys = [];
    if (!run.n) {
      chart.sentence(context, width, height, "No segment has finished yet.");
      return;
    }
    const range = statistics.scoreRange(run.score, run.lowerIsBetter);
    const frame = { left: 0, right: width - 16, top: 30, bottom: height - 44 };
    const y = chart.numbers("linear", range.low, range.high, frame.bottom - 6, frame.top + 6, { pad: 0.03 });
    frame.left = chart.tickWidth(context, y, 8) + 14;
    const x = scaleX(view, run, frame);
    chart.axisX(context, frame, x, view.by === "steps" ? "training steps" : "interval");
    const better = run.lowerIsBetter ? "lower is better" : "higher is better";
    chart.axisY(context, frame, y, `${popgrad.visible(run.metric)} (${better})`);

    place(view, run, x, y, frame, range);
    view.frame = frame;
    chart.inside(context, { ...frame, left: frame.left - 6, right: frame.right + 6 }, () => {
      members(view, run, context);
      lines(view, run, context, x, y);
      ancestry(view, run, context);
    });
  }

  function scaleX(view, run, frame) {
    if (view.by === "steps") {
      return chart.numbers("linear", 0, Math.max(1, run.maxStep), frame.left, frame.right, { compact: true });
    }
    const last = Math.max(run.intervals - 1, 0);
    return chart.numbers("linear", 0, last, frame.left + 8, frame.right - 4, { whole: true });
  }

  /** Find the places of all segments: failed ones at the edge of bad scores, NaN = off the scale. */
  function place(view, run, x, y, frame, range) {
    const edge = run.lowerIsBetter ? frame.top + 5 : frame.bottom - 5;
    view.xs = new Float32Array(run.n);
    view.ys = new Float32Array(run.n);
    view.cut = 0;
    for (let row = 0; row < run.n; row++) {
      view.xs[row] = x.at(view.by === "steps" ? run.lastStep(row) : run.interval[row]);
      const score = run.score[row];
      view.ys[row] = run.failed(row) ? edge : y.at(score);
      if (range.cut && (score < range.low || score > range.high)) view.cut += 1;
    }
  }

  function members(view, run, context) {
    const theme = popgrad.theme();
    context.strokeStyle = theme.faint;
    context.globalAlpha = Math.max(0.1, Math.min(0.7, 30 / Math.sqrt(run.n * 2)));
    context.lineWidth = 1;
    context.beginPath();
    for (let row = 0; row < run.n; row++) {
      const parent = run.parent[row];
      if (parent < 0 || run.failed(row) || run.failed(parent)) continue;
      context.moveTo(view.xs[parent], view.ys[parent]);
      context.lineTo(view.xs[row], view.ys[row]);
      // A path of everything would be slow to draw.
      if (row % 500 === 499) {
        context.stroke();
        context.beginPath();
      }
    }
    context.stroke();
    context.globalAlpha = 1;
    dots(view, run, context, theme);
  }

  function dots(view, run, context, theme) {
    const small = run.n <= DOTS;
    context.globalAlpha = small ? 1 : 0.4;
    context.fillStyle = theme.faint;
    for (let row = 0; row < run.n; row++) {
      if (run.failed(row)) chart.cross(context, view.xs[row], view.ys[row], small ? 3.5 : 2, theme.failed);
      else if (small) context.fillRect(view.xs[row] - 1.5, view.ys[row] - 1.5, 3, 3);
    }
    context.globalAlpha = 1;
  }

  function lines(view, run, context, x, y) {
    const theme = popgrad.theme();
    const found = statistics.scoreLines(run, view.by);
    const best = found.map((each) => (each.best < 0 ? null : [x.at(each.at), y.at(run.score[each.best])]));
    const median = found.map((each) => (each.best < 0 ? null : [x.at(each.at), y.at(each.median)]));
    join(context, median, theme.foreground, 1.6, [5, 3]);
    join(context, best, theme.accent, 1.8, []);
  }

  /** Join places; null is a gap. A place that stands alone is a dot. */
  function join(context, places, colour, width, dash) {
    context.beginPath();
    chart.join(context, places);
    context.setLineDash(dash);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = colour;
    places.forEach((each, i) => {
      if (each && !places[i - 1] && !places[i + 1]) context.fillRect(each[0] - 3, each[1] - 1.5, 6, 3);
    });
  }

  function ancestry(view, run, context) {
    const theme = popgrad.theme();
    const rows = run.winnerLineage;
    if (!rows.length) return;
    const places = rows.map((row) => (run.failed(row) ? null : [view.xs[row], view.ys[row]]));
    join(context, places, theme.background, 5, []);
    join(context, places, theme.winner, 2.6, []);
    const last = places[places.length - 1];
    if (last) chart.star(context, last[0], last[1], 8);
  }

  function mark(view, run, context, selection) {
    const theme = popgrad.theme();
    const { row, hover } = selection;
    if (row >= 0 && row < view.xs.length) {
      const places = run.lineage(row).map((each) => (run.failed(each) ? null : [view.xs[each], view.ys[each]]));
      join(context, places, theme.selected, 1.6, []);
      chart.ring(context, view.xs[row], view.ys[row], 6, true);
    }
    if (hover >= 0 && hover < view.xs.length) chart.ring(context, view.xs[hover], view.ys[hover], 6, false);
  }

  function pick(view, x, y) {
    const row = chart.nearest(view.xs, view.ys, x, y);
    return row < 0 ? null : { row };
  }
})();
