"use strict";
// Time line: workers against the clock, with the time in which they waited.
(function () {
  const { chart, statistics, element: make } = popgrad;
  const LANE = 22; // pixels of a worker
  const LEAST = 120; // pixels of all workers
  const MOST = 420; // pixels of all workers, above which they are lower
  const NAMED = 8; // workers up to which each is named in the sentence
  const COLOURS = [["score", "score"], ["interval", "interval"], ["member", "member"]];

  popgrad.views.timeline = {
    title: "Time line",
    help:
      "When each worker trained which segment. The background shows through where a worker waited, for " +
      "others to finish an interval or for something to train. The numbers are members. Pauses, in which no worker trained for " +
      "long (between an interruption and a resumption), are cut out: a dashed line marks each. Clock " +
      "times are telemetry, which differs between two equal runs.",
    create,
  };

  function create(container, run, options) {
    const view = { found: null, boxes: null, by: "score" };
    const note = make("p", { class: "chart-note" });
    const surface = chart.surface(container, run, {
      label: "Segments by worker and clock time",
      height() {
        view.found = run.cached("timeline", () => statistics.timeline(run));
        return 84 + heightOf(view.found);
      },
      draw: (context, width, height) => draw(view, run, context, width, height),
      mark: (context, selection) => mark(view, run, context, selection),
      pick: (x, y) => pick(view, x, y),
      words: () => (note.textContent = sentences(run, view.found)),
    });
    container.append(note);
    if (options && options.tools) {
      chart.choice(options.tools, "colour", COLOURS, (value) => {
        view.by = value;
        surface.resize();
      });
    }

    surface.redraw();
    return { update: surface.redraw, resize: surface.resize, destroy: surface.destroy };
  }

  function heightOf(found) {
    const lanes = found.workers.reduce((sum, worker) => sum + Math.min(4, worker.lanes), 0);
    return Math.min(MOST, Math.max(LEAST, lanes * LANE));
  }

  // --- words --------------------------------------------------------------------------------------

  const percent = (share) => {
    const value = 100 * share;
    return (value > 0 && value < 1 ? "less than 1" : String(Math.round(value))) + "%";
  };

  const nameOf = (worker) => (worker.name ? chart.clipped(popgrad.visible(worker.name), 30) : "an unnamed worker");

  function sentences(run, found) {
    if (!run.n) return "";
    const parts = [];
    if (found.workers.length) {
      parts.push(waiting(found.workers));
      for (const pause of found.pauses.slice(0, 3)) {
        parts.push(`A pause of ${popgrad.duration(pause.length)} is cut out.`);
      }
      if (found.pauses.length > 3) parts.push(`${found.pauses.length - 3} more pauses are cut out.`);
    }
    if (found.unknown && found.workers.length) {
      const many = found.unknown === 1 ? "1 segment has" : `${popgrad.integer(found.unknown)} segments have`;
      parts.push(`${many} no clock time and is left out.`.replace("have no clock time and is", "have no clock time and are"));
    }
    return parts.join(" ");
  }

  function waiting(workers) {
    if (workers.length <= NAMED) {
      const each = workers.map((worker) => `${nameOf(worker)} waited ${percent(1 - worker.busy)}`);
      const text = each.join(", ") + " of the time.";
      return text[0].toUpperCase() + text.slice(1);
    }
    const shares = workers.map((worker) => 1 - worker.busy).sort((a, b) => a - b);
    const mean = shares.reduce((sum, each) => sum + each, 0) / shares.length;
    return `${workers.length} workers waited ${percent(shares[0])} to ${percent(shares[shares.length - 1])} of the time, ${percent(mean)} on average.`;
  }

  // --- drawing ------------------------------------------------------------------------------------

  function draw(view, run, context, width, height) {
    view.boxes = null;
    const found = view.found;
    if (!run.n || !found.workers.length) {
      const text = run.n
        ? "Clock times are unknown: the run was recorded without them."
        : "No segment has finished yet.";
      chart.sentence(context, width, height, text);
      return;
    }
    context.font = popgrad.font(11);
    const names = found.workers.map((worker) => chart.clipped(popgrad.visible(worker.name) || "unnamed", 18));
    const left = Math.ceil(d3.max(names, (each) => context.measureText(each).width)) + 16;
    const frame = { left, right: width - 16, top: 26, bottom: height - 44 };
    const x = clock(found.seconds, frame);
    key(view, run, context, width);
    chart.axisX(context, frame, x, x.label, { grid: false });
    view.frame = frame;
    view.boxes = layout(found, frame, x, run.n);
    lanes(view, context, found, names, frame);
    bars(view, run, context, frame);
    pauses(context, found, frame, x);
  }

  /** Return a scale of seconds, with ticks in whole seconds, minutes or hours. */
  function clock(seconds, frame) {
    const [unit, word] = seconds > 3 * 3600 ? [3600, "hours"] : seconds > 300 ? [60, "minutes"] : [1, "seconds"];
    const scale = chart.numbers("linear", 0, Math.max(seconds, 1e-3) / unit, frame.left, frame.right, {});
    return {
      at: (value) => scale.at(value / unit),
      ticks: (count) => scale.ticks(count).map((tick) => tick * unit),
      text: (value) => chart.tickText(value / unit),
      label: `${word} since the start, without pauses`,
    };
  }

  /** Return boxes of all segments by row: [left, right, top, bottom] each, NaN if it has none. */
  function layout(found, frame, x, rows) {
    const boxes = { left: filled(rows), right: filled(rows), top: filled(rows), bottom: filled(rows), workers: [] };
    const height = (frame.bottom - frame.top) / found.workers.length;
    found.workers.forEach((worker, i) => {
      const gap = height > 8 ? 2 : height > 3 ? 1 : 0;
      const top = frame.top + i * height + gap;
      const lane = (height - 2 * gap) / worker.lanes;
      boxes.workers.push({ top, bottom: top + lane * worker.lanes, lane });
      for (const span of worker.spans) {
        boxes.left[span.row] = x.at(span.begin);
        boxes.right[span.row] = x.at(span.end);
        boxes.top[span.row] = top + span.lane * lane;
        boxes.bottom[span.row] = top + (span.lane + 1) * lane;
      }
    });
    return boxes;
  }

  const filled = (rows) => new Float32Array(rows).fill(NaN);

  function lanes(view, context, found, names, frame) {
    const theme = popgrad.theme();
    context.font = popgrad.font(11);
    context.textAlign = "right";
    context.textBaseline = "middle";
    let free = -Infinity;
    view.boxes.workers.forEach(({ top, bottom }, i) => {
      context.fillStyle = theme.grid;
      context.fillRect(frame.left, top, frame.right - frame.left, bottom - top);
      const middle = (top + bottom) / 2;
      if (middle < free) return;
      free = middle + 13;
      context.fillStyle = theme.muted;
      context.fillText(names[i], frame.left - 8, middle);
    });
  }

  /** Return how a row is coloured: {colour(row), scale or null, label, reversed}. */
  function shades(view, run) {
    if (view.by === "score") {
      const range = statistics.scoreRange(run.score, run.lowerIsBetter);
      const span = range.high - range.low || 1;
      const share = (row) => Math.min(1, Math.max(0, (run.score[row] - range.low) / span));
      const at = (row) => popgrad.ramp(run.lowerIsBetter ? 1 - share(row) : share(row));
      return { ends: [range.low, range.high], cut: range.cut, reversed: run.lowerIsBetter, label: popgrad.visible(run.metric), at };
    }
    if (view.by === "interval") {
      const last = Math.max(1, run.intervals - 1);
      return { ends: [0, run.intervals - 1], label: "interval", at: (row) => popgrad.ramp(run.interval[row] / last) };
    }
    const most = Math.max(1, d3.max(run.members));
    return { ends: [0, most], label: "member", at: (row) => popgrad.ramp(run.member[row] / most) };
  }

  function bars(view, run, context, frame) {
    const theme = popgrad.theme();
    const { left, right, top, bottom } = view.boxes;
    const { at } = shades(view, run);
    for (let row = 0; row < run.n; row++) {
      if (!Number.isFinite(left[row])) continue;
      const wide = right[row] - left[row];
      const gap = wide > 4 ? 1 : 0;
      context.fillStyle = run.failed(row) ? theme.background : at(row);
      context.fillRect(left[row], top[row], Math.max(0.6, wide - gap), Math.max(0.6, bottom[row] - top[row] - (bottom[row] - top[row] > 6 ? 0.5 : 0)));
      if (!run.failed(row)) continue;
      const size = Math.min(4, (bottom[row] - top[row]) / 3);
      context.strokeStyle = theme.failed;
      context.lineWidth = 1;
      context.strokeRect(left[row] + 0.5, top[row] + 0.5, Math.max(0.5, wide - gap - 1), bottom[row] - top[row] - 1);
      if (wide > 8) chart.cross(context, (left[row] + right[row]) / 2, (top[row] + bottom[row]) / 2, size, theme.failed);
    }
    if (frame.right - frame.left > 300) labels(view, run, context);
  }

  /** Write member and interval into bars that are wide enough. */
  function labels(view, run, context) {
    const { left, right, top, bottom } = view.boxes;
    if (run.n > 2000) return;
    const { at } = shades(view, run);
    context.font = popgrad.font(10);
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (let row = 0; row < run.n; row++) {
      if (!(right[row] - left[row] > 18) || bottom[row] - top[row] < 12 || run.failed(row)) continue;
      context.fillStyle = chart.inkOn(at(row));
      context.fillText(String(run.member[row]), (left[row] + right[row]) / 2, (top[row] + bottom[row]) / 2 + 0.5);
    }
  }

  function pauses(context, found, frame, x) {
    const theme = popgrad.theme();
    for (const pause of found.pauses) {
      const at = x.at(pause.at);
      context.setLineDash([3, 3]);
      chart.line(context, at, frame.top - 4, at, frame.bottom + 4, theme.foreground, 1.5);
      context.setLineDash([]);
    }
  }

  /** Explain the colours above the lanes. */
  function key(view, run, context, width) {
    const theme = popgrad.theme();
    const { ends, label, reversed, cut } = shades(view, run);
    const left = Math.max(120, width - 330);
    const texts = ends.map(popgrad.format);
    if (cut) texts[reversed ? 1 : 0] = (reversed ? "≥ " : "≤ ") + texts[reversed ? 1 : 0];
    context.font = popgrad.font(11);
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.fillStyle = theme.muted;
    context.fillText(chart.fitted(context, label + "  " + texts[0], left - 10), left + 120, 10);
    for (let i = 0; i < 100; i++) {
      context.fillStyle = popgrad.ramp(reversed ? 1 - i / 99 : i / 99);
      context.fillRect(left + 126 + i, 5, 1.5, 10);
    }
    context.textAlign = "left";
    context.fillStyle = theme.muted;
    context.fillText(texts[1], left + 232, 10);
  }

  // --- selection ----------------------------------------------------------------------------------

  function mark(view, run, context, selection) {
    if (!view.boxes) return;
    const theme = popgrad.theme();
    const { left, right, top, bottom } = view.boxes;
    for (const row of [selection.hover, selection.row]) {
      if (!(row >= 0) || row >= left.length || !Number.isFinite(left[row])) continue;
      const selected = row === selection.row;
      const box = [left[row] - 1, top[row] - 1, Math.max(3, right[row] - left[row] + 1), bottom[row] - top[row] + 2];
      context.strokeStyle = theme.background;
      context.lineWidth = selected ? 5 : 4;
      context.strokeRect(...box);
      context.strokeStyle = selected ? theme.selected : theme.hover;
      context.lineWidth = selected ? 2.5 : 2;
      context.strokeRect(...box);
    }
  }

  function pick(view, x, y) {
    if (!view.boxes) return null;
    const { left, right, top, bottom } = view.boxes;
    for (let row = left.length - 1; row >= 0; row--) {
      if (x >= left[row] - 0.5 && x <= right[row] + 0.5 && y >= top[row] && y <= bottom[row]) return { row };
    }
    return null;
  }
})();
