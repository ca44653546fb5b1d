"use strict";
// The drawing of the lineage: where each segment lies, and how bars, arcs and marks are painted.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});
  const SHADES = 96; // colours of the ramp that are told apart
  const LEFT = 48; // px for the numbers of the members
  const BOTTOM = 38; // px for the axis
  const TOP = 8;
  const RIGHT = 14;
  const MOST_ARCS = 2500; // more would be a carpet: then only those of the winner and the selection
  const MOST_MEMBERS = 200; // more members are a heat map

  // What is drawn of each row, in the units of the axis: recomputed when the run, the axis, the
  // order or the colours change, not when the page is scrolled.
  popgrad.lineageGeometry = function (run, axis, order, colouring) {
    const n = run.n;
    const made = {
      axis, n,
      from: new Float64Array(n), to: new Float64Array(n), slot: new Int32Array(n),
      shade: new Int16Array(n), // index into the palette; -1 = no value
      line: new Uint8Array(n), // 1 = ancestor of the winner
      living: new Uint8Array(n),
      places: placesOf(run, order), end: 1, arcs: 0, bySlot: [],
    };
    const start = axis === "time" ? d3.min(run.began.filter(Number.isFinite)) || 0 : 0;
    const scale = popgrad.colourScale(run, colouring);
    const values = colouring ? run.hparams[colouring] : run.score;
    const words = scale.words ? new Map(scale.words.map((word, i) => [word, i])) : null;

    for (let row = 0; row < n; row++) {
      const place = made.places.get(run.member[row]);
      made.slot[row] = place;
      (made.bySlot[place] = made.bySlot[place] || []).push(row);
      if (axis === "steps") {
        made.from[row] = run.firstStep[row];
        made.to[row] = run.lastStep(row);
      } else if (axis === "time") {
        const began = Number.isFinite(run.began[row]) ? run.began[row] - start : 0;
        made.from[row] = began;
        made.to[row] = began + run.seconds[row];
      } else {
        made.from[row] = run.interval[row];
        made.to[row] = run.interval[row] + 1;
      }
      made.end = Math.max(made.end, made.to[row]);
      made.shade[row] = words ? words.get(popgrad.format(values[row])) : shadeOf(scale, values[row]);
      if (run.copied[row]) made.arcs += 1;
    }
    for (const row of run.winnerLine) made.line[row] = 1;
    for (const row of run.living) made.living[row] = 1;
    if (axis === "interval" && run.header.status.state === "in progress") {
      made.end = Math.max(made.end, run.header.intervals || 0);
    }
    made.slots = made.places.size;
    made.scale = scale;
    return made;
  };

  function shadeOf(scale, value) {
    if (typeof value !== "number" || !Number.isFinite(value)) return -1;
    return Math.round(Math.min(1, Math.max(0, scale.share(value))) * (SHADES - 1));
  }

  function placesOf(run, order) {
    const members = run.members;
    if (order === "number") return new Map(members.map((member, place) => [member, place]));
    if (order !== "score") return run.slotOrder;
    const last = new Map(run.present.map((row) => [run.member[row], run.score[row]]));
    const of = (member) => (last.has(member) ? last.get(member) : NaN);
    const sorted = members.slice().sort((a, b) =>
      run.better(of(a), of(b)) ? -1 : run.better(of(b), of(a)) ? 1 : a - b);
    return new Map(sorted.map((member, place) => [member, place]));
  }

  // The frame: sizes in px, and the way from units to px and back. `view` has width, height, zoom
  // (1 = all fits), left and top (scrolled px), heat (whether cells take the place of bars).
  popgrad.lineageFrame = function (geometry, view) {
    const inner = view.width - LEFT - RIGHT;
    const content = inner * view.zoom;
    const unit = content / geometry.end;
    const typical = geometry.axis === "interval" ? unit : content / Math.max(1, geometry.n / geometry.slots);
    const heat = geometry.slots > MOST_MEMBERS || view.rowHeight < 7 || typical < 5;
    const gap = geometry.axis === "interval" && !heat ? Math.min(24, 0.3 * unit) : 0;
    const frame = {
      ...view, unit, heat, content,
      innerLeft: LEFT, innerTop: TOP, innerRight: view.width - RIGHT, innerBottom: view.height - BOTTOM,
      contentWidth: content + LEFT + RIGHT,
      contentHeight: geometry.slots * view.rowHeight + TOP + BOTTOM,
      x0: (row) => LEFT - view.left + geometry.from[row] * unit + gap / 2,
      x1: (row) => LEFT - view.left + geometry.to[row] * unit - gap / 2,
      y: (row) => TOP - view.top + (geometry.slot[row] + 0.5) * view.rowHeight,
      unitAt: (x) => (x - LEFT + view.left) / unit,
      slotAt: (y) => Math.floor((y - TOP + view.top) / view.rowHeight),
    };
    frame.allArcs = geometry.slots <= MOST_MEMBERS && geometry.arcs <= MOST_ARCS * view.zoom;
    frame.bar = heat ? Math.max(1, view.rowHeight - (view.rowHeight > 4 ? 1 : 0))
      : Math.round(Math.min(18, view.rowHeight * 0.56));
    return frame;
  };

  // Row at a point of the canvas; -1 = none. Bars of a member that has started fresh may lie upon
  // each other on the axis of steps: the one on top is found.
  popgrad.lineageHit = function (geometry, frame, x, y) {
    if (x < frame.innerLeft || x > frame.innerRight || y > frame.innerBottom) return -1;
    const rows = geometry.bySlot[frame.slotAt(y)];
    if (!rows) return -1;
    const at = frame.unitAt(x);
    const here = rows.filter((row) => geometry.from[row] <= at && at < geometry.to[row]);
    return here.findLast((row) => geometry.living[row]) ?? here[here.length - 1] ?? -1;
  };

  // --- the base: all bars and arcs --------------------------------------------------------------

  popgrad.paintLineage = function (context, run, geometry, frame) {
    const theme = popgrad.theme();
    context.clearRect(0, 0, frame.width, frame.height);
    context.save();
    context.beginPath();
    context.rect(frame.innerLeft - 6, 0, frame.innerRight - frame.innerLeft + 12, frame.innerBottom);
    context.clip();

    paintTracks(context, geometry, frame, theme);
    const rows = visibleRows(geometry, frame);
    if (!frame.heat) paintLinks(context, run, geometry, frame, theme, rows);
    else if (frame.allArcs) paintArcs(context, run, geometry, frame, theme, rows);
    paintBars(context, geometry, frame, rows, theme);
    paintLine(context, run, frame, run.winnerLineage, theme.winner, theme.background, frame.heat ? 2.5 : 3);
    paintMarks(context, run, frame, theme, rows);
    context.restore();
    paintAxes(context, run, geometry, frame, theme);
  };

  function visibleRows(geometry, frame) {
    const found = [];
    const [left, right] = [frame.unitAt(frame.innerLeft - 30), frame.unitAt(frame.width + 30)];
    const [above, below] = [frame.slotAt(-30), frame.slotAt(frame.height + 30)];
    for (let row = 0; row < geometry.n; row++) {
      if (geometry.to[row] < left || geometry.from[row] > right) continue;
      if (geometry.slot[row] < above || geometry.slot[row] > below) continue;
      found.push(row);
    }
    return found;
  }

  function paintTracks(context, geometry, frame, theme) {
    if (frame.heat) return;
    context.strokeStyle = theme.grid;
    context.lineWidth = 1;
    context.beginPath();
    for (let slot = 0; slot < geometry.slots; slot++) {
      const y = Math.round(frame.innerTop - frame.top + (slot + 0.5) * frame.rowHeight) + 0.5;
      context.moveTo(frame.innerLeft, y);
      context.lineTo(frame.innerRight, y);
    }
    context.stroke();
  }

  // Links of members to their own last segment, and arcs of copies.
  function paintLinks(context, run, geometry, frame, theme, rows) {
    for (const living of [0, 1]) {
      context.strokeStyle = living ? theme.muted : theme.faint;
      context.globalAlpha = living ? 0.9 : 0.45;
      context.lineWidth = living ? 1.4 : 1;
      context.beginPath();
      for (const row of rows) {
        const parent = run.parent[row];
        if (parent < 0 || geometry.living[row] !== living || geometry.line[row]) continue;
        if (run.copied[row] && !frame.allArcs) continue;
        link(context, frame, parent, row);
      }
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  function paintArcs(context, run, geometry, frame, theme, rows) {
    paintLinks(context, run, geometry, frame, theme, rows.filter((row) => run.copied[row]));
  }

  // The way from a parent's end to the start of what continues it: a line, or an arc to another slot.
  function link(context, frame, parent, row) {
    const [x0, y0, x1, y1] = [frame.x1(parent), frame.y(parent), frame.x0(row), frame.y(row)];
    context.moveTo(x0, y0);
    if (y0 === y1 || frame.heat) {
      context.lineTo(x1, y1);
      return;
    }
    // Flat at both ends; if the donor was ahead of its heir, the arc swings out and back.
    const reach = x1 >= x0 ? Math.max(5, 0.75 * (x1 - x0)) : 18;
    context.bezierCurveTo(x0 + reach, y0, x1 - reach, y1, x1, y1);
  }

  function paintBars(context, geometry, frame, rows, theme) {
    const palette = paletteOf(geometry.scale);
    const buckets = new Map();
    for (const row of rows) {
      const key = (geometry.living[row] ? 1000 : 0) + geometry.shade[row] + 1;
      const bucket = buckets.get(key);
      if (bucket) bucket.push(row);
      else buckets.set(key, [row]);
    }
    const round = frame.heat ? 0 : Math.min(4, frame.bar / 3);
    // Extinct ones first: on the axis of steps others may lie upon them.
    for (const [key, bucket] of [...buckets].sort((a, b) => a[0] - b[0])) {
      const shade = (key % 1000) - 1;
      context.globalAlpha = key >= 1000 ? 1 : frame.heat ? 0.38 : 0.3;
      context.fillStyle = shade < 0 ? (frame.heat ? theme.failed : theme.grid) : palette[shade];
      context.beginPath();
      for (const row of bucket) {
        const x = frame.x0(row);
        const width = Math.max(frame.heat ? 1 : 2, frame.x1(row) - x + (frame.heat ? 0.35 : 0));
        const y = frame.y(row) - frame.bar / 2;
        if (round) context.roundRect(x, y, width, frame.bar, round);
        else context.rect(x, y, width, frame.bar);
      }
      context.fill();
    }
    context.globalAlpha = 1;
  }

  function paletteOf(scale) {
    if (scale.words) return scale.words.map((_, i) => popgrad.category(i));
    return Array.from({ length: SHADES }, (_, i) => popgrad.ramp(i / (SHADES - 1)));
  }

  // Crosses on failures, rings on re-seedings, diamonds on transforms, a line under a role.
  function paintMarks(context, run, frame, theme, rows) {
    if (frame.rowHeight < 4) return;
    const size = Math.min(5, frame.bar / 2 - 0.5);
    context.lineWidth = 2;
    for (const row of rows) {
      const [x, y] = [frame.x0(row), frame.y(row)];
      if (run.failed(row)) {
        const middle = (x + frame.x1(row)) / 2;
        context.strokeStyle = theme.failed;
        context.beginPath();
        context.moveTo(middle - size, y - size);
        context.lineTo(middle + size, y + size);
        context.moveTo(middle + size, y - size);
        context.lineTo(middle - size, y + size);
        context.stroke();
      }
      if (run.reseeded(row)) mark(context, theme, x, y, size, "ring");
      if (run.transform[row]) mark(context, theme, x, y, size, "diamond");
      if (run.role[row]) {
        context.fillStyle = popgrad.category(run.role[row] - 1);
        context.fillRect(x, y + frame.bar / 2 + 1, frame.x1(row) - x, 2.5);
      }
    }
  }

  function mark(context, theme, x, y, size, shape) {
    context.fillStyle = theme.background;
    context.strokeStyle = theme.foreground;
    context.lineWidth = 1.5;
    context.beginPath();
    if (shape === "ring") {
      context.arc(x, y, size - 0.5, 0, 2 * Math.PI);
    } else {
      context.moveTo(x, y - size);
      context.lineTo(x + size, y);
      context.lineTo(x, y + size);
      context.lineTo(x - size, y);
      context.closePath();
    }
    context.fill();
    context.stroke();
  }

  // A lineage: outlined bars joined by links, or in a heat map one line through its cells.
  function paintLine(context, run, frame, line, colour, halo, width) {
    if (!line.length) return;
    context.lineJoin = context.lineCap = "round";
    const trace = () => {
      context.beginPath();
      line.forEach((row, i) => {
        if (i) link(context, frame, line[i - 1], row);
        if (frame.heat) {
          context.moveTo(frame.x0(row), frame.y(row));
          context.lineTo(frame.x1(row), frame.y(row));
        }
      });
    };
    if (frame.heat) {
      context.strokeStyle = halo;
      context.lineWidth = width + 2;
      trace();
      context.stroke();
    }
    context.strokeStyle = colour;
    context.lineWidth = width;
    trace();
    context.stroke();
    if (frame.heat) return;
    context.lineWidth = Math.min(width, 2.8);
    context.beginPath();
    for (const row of line) outline(context, frame, row, 0.5);
    context.stroke();
  }

  function outline(context, frame, row, grow) {
    const x = frame.x0(row) - grow;
    const width = Math.max(2, frame.x1(row) - frame.x0(row)) + 2 * grow;
    const height = frame.bar + 2 * grow;
    context.roundRect(x, frame.y(row) - height / 2, width, height, frame.heat ? 1 : Math.min(4, frame.bar / 3) + grow);
  }

  // --- the overlay: selection and pointer -------------------------------------------------------

  popgrad.paintLineageOverlay = function (context, run, geometry, frame) {
    const theme = popgrad.theme();
    const { row, hover } = popgrad.selection;
    context.clearRect(0, 0, frame.width, frame.height);
    context.save();
    context.beginPath();
    context.rect(frame.innerLeft - 6, 0, frame.innerRight - frame.innerLeft + 12, frame.innerBottom);
    context.clip();
    if (row >= 0 && row < run.n) {
      const line = run.lineage(row);
      // Wide enough to cover the winner's line where both are the same.
      paintLine(context, run, frame, line, theme.accent, theme.background, 3.5);
      context.setLineDash([3, 3]);
      context.strokeStyle = theme.accent;
      context.lineWidth = 1.5;
      context.beginPath();
      for (const child of run.children(row)) link(context, frame, row, child);
      context.stroke();
      context.setLineDash([]);
      ring(context, frame, row, theme.selected, 2.5, 2.5, theme.background);
      paintMarks(context, run, frame, theme, line);
    }
    if (hover >= 0 && hover < run.n && hover !== row) ring(context, frame, hover, theme.hover, 2, 2, theme.background);
    context.restore();
  };

  function ring(context, frame, row, colour, grow, width, halo) {
    for (const [style, line] of [[halo, width + 2], [colour, width]]) {
      context.strokeStyle = style;
      context.lineWidth = line;
      context.beginPath();
      outline(context, frame, row, grow);
      context.stroke();
    }
  }

  // --- axes -------------------------------------------------------------------------------------

  function paintAxes(context, run, geometry, frame, theme) {
    context.font = popgrad.font(11);
    context.fillStyle = theme.muted;
    context.strokeStyle = theme.border;
    context.lineWidth = 1;
    const base = Math.min(frame.innerBottom, frame.contentHeight - frame.top - BOTTOM) + 2;
    line(context, frame.innerLeft, base + 0.5, frame.innerRight, base + 0.5);

    context.textAlign = "center";
    context.textBaseline = "top";
    for (const tick of ticksOf(geometry, frame)) {
      const middle = geometry.axis === "interval" ? 0.5 : 0;
      const x = frame.innerLeft - frame.left + (tick + middle) * frame.unit;
      if (x < frame.innerLeft - 1 || x > frame.innerRight + 1) continue;
      line(context, Math.round(x) + 0.5, base, Math.round(x) + 0.5, base + 4);
      context.fillText(geometry.axis === "time" ? popgrad.duration(tick) : popgrad.format(tick), x, base + 6);
    }
    context.font = popgrad.font(12);
    context.fillText(axisLabel(run, geometry.axis), (frame.innerLeft + frame.innerRight) / 2, base + 21);
    paintSlots(context, geometry, frame, theme, base);
  }

  function line(context, x0, y0, x1, y1) {
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
  }

  function ticksOf(geometry, frame) {
    const count = Math.max(2, Math.floor(frame.content / 70));
    const ticks = d3.ticks(0, geometry.axis === "interval" ? geometry.end - 1 : geometry.end, count);
    return geometry.axis === "interval" ? ticks.filter(Number.isInteger) : ticks;
  }

  function axisLabel(run, axis) {
    if (axis === "steps") return "training steps along the lineage";
    if (axis === "time") return "time since the run began";
    const each = run.intervalWords;
    if (run.length.some((length) => length > 1)) return each ? "interval (" + each + ", or a multiple)" : "interval";
    const steps = new Set(run.steps.slice(0, 2000));
    const count = steps.size === 1 ? popgrad.integer(run.steps[0]) + " steps" : "";
    const words = each && count && !each.includes("step") ? each + " = " + count : count || each;
    return words ? "interval (" + words + " each)" : "interval";
  }

  function paintSlots(context, geometry, frame, theme, base) {
    const every = Math.max(1, Math.ceil(13 / frame.rowHeight));
    context.font = popgrad.font(11);
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.save();
    context.beginPath();
    context.rect(0, 0, frame.innerLeft, base);
    context.clip();
    for (const [member, slot] of geometry.places) {
      if (slot % every) continue;
      const y = frame.innerTop - frame.top + (slot + 0.5) * frame.rowHeight;
      if (y < -8 || y > base + 8) continue;
      context.fillText(popgrad.format(member), frame.innerLeft - 8, y + 0.5);
    }
    context.restore();
    context.save();
    context.translate(9, Math.min(base, frame.innerBottom) / 2);
    context.rotate(-Math.PI / 2);
    context.font = popgrad.font(12);
    context.textAlign = "center";
    context.fillText("member", 0, 0);
    context.restore();
  }
})();
