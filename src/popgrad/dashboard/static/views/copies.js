"use strict";
// Who copied whom: how often each member (heir) started from the state of another one (donor).
(function () {
  const { chart, statistics, element: make } = popgrad;
  const LEAST = 5; // pixels of a cell below which members share cells
  const LARGEST = 44; // pixels of a cell, and in the whole window
  const WHOLE = 60;
  const BARS = 44; // pixels of the sums beside the matrix

  popgrad.views.copies = {
    title: "Who copied whom",
    help:
      "How often each heir (a column) started from the state of each donor (a row). Members are ordered " +
      "by the founder that they descend from at present, whose colour is the strip along the edges (as in the plot of founders), and " +
      "then such that partners are close. The bars are sums. A member on the diagonal went back to an " +
      "older state of its own.",
    create,
  };

  function create(container, run) {
    const view = { grid: null, frame: null };
    const surface = chart.surface(container, run, {
      label: "Number of copies by donor and heir",
      height: (width) => Math.max(260, Math.min(width, 430)),
      draw: (context, width, height) => draw(view, run, context, width, height),
      mark: (context, selection) => mark(view, run, context, selection),
      pick: (x, y) => pick(view, run, x, y),
      words: () => (note.textContent = sentence(run, view.grid)),
    });
    const note = make("p", { class: "chart-note" });
    container.append(note);

    surface.redraw();
    return { update: surface.redraw, resize: surface.resize, destroy: surface.destroy };
  }

  /** Say in words how unequal donors are. */
  function sentence(run, grid) {
    if (!grid) return "";
    const by = (part) => {
      const sums = new Map();
      for (const each of grid.copies) sums.set(each[part], (sums.get(each[part]) || 0) + each.rows.length);
      return [...sums].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    };
    const donors = by("donor");
    const times = (count) => (count === 1 ? "once" : `${popgrad.integer(count)} times`);
    const most = donors[0];
    const binned = grid.each > 1 ? ` Each cell is ${grid.each} × ${grid.each} members.` : "";
    const copies = grid.total === 1 ? "1 copy" : `${popgrad.integer(grid.total)} copies`;
    return `${copies} from ${donors.length} of ${run.members.length} members; the most from member ${most[0]}, ${times(most[1])}.${binned}`;
  }

  // --- counts -------------------------------------------------------------------------------------

  /** Return members by present founder, then by the order in which arcs are short. */
  function ordered(run) {
    const founders = new Map(run.present.map((row) => [run.member[row], run.founder[row]]));
    const sizes = new Map();
    for (const founder of founders.values()) sizes.set(founder, (sizes.get(founder) || 0) + 1);
    const group = (member) => (founders.has(member) ? founders.get(member) : Infinity);
    const size = (member) => sizes.get(founders.get(member)) || 0;
    const members = run.members.slice().sort(
      (a, b) => size(b) - size(a) || group(a) - group(b) || run.slotOrder.get(a) - run.slotOrder.get(b),
    );
    return { members, founders };
  }

  /** Return the counts in cells of `each` members: {members, place, cells, most, copies, ...}. */
  function gridOf(run, each) {
    const copies = statistics.copies(run);
    const { members, founders } = ordered(run);
    const place = new Map(members.map((member, i) => [member, Math.floor(i / each)]));
    const cells = new Map();
    const size = Math.ceil(members.length / each);
    const [given, received] = [new Float64Array(size), new Float64Array(size)];
    let [most, total] = [0, 0];
    for (const copy of copies) {
      const [line, column] = [place.get(copy.donor), place.get(copy.heir)];
      if (line === undefined || column === undefined) continue;
      const key = line * size + column;
      if (!cells.has(key)) cells.set(key, { line, column, count: 0, copies: [] });
      const cell = cells.get(key);
      cell.count += copy.rows.length;
      cell.copies.push(copy);
      given[line] += copy.rows.length;
      received[column] += copy.rows.length;
      total += copy.rows.length;
      most = Math.max(most, cell.count);
    }
    return { copies, members, founders, place, cells, size, each, given, received, most, total };
  }

  // --- drawing ------------------------------------------------------------------------------------

  function draw(view, run, context, width, height) {
    view.grid = null;
    if (!run.copied.includes(1)) {
      const words = run.n ? "No member has copied another one yet." : "No segment has finished yet.";
      chart.sentence(context, width, height, words);
      return;
    }
    context.font = popgrad.font(11);
    const longest = context.measureText(String(d3.max(run.members))).width;
    const margin = Math.ceil(longest) + 34;
    const room = Math.min(width - margin - BARS - 20, height - margin - BARS - 46);
    const each = Math.max(1, Math.ceil((run.members.length * LEAST) / room));
    const grid = gridOf(run, each);
    const cell = Math.min(height > 460 ? WHOLE : LARGEST, room / grid.size);
    const left = margin + 8;
    const top = 26 + BARS;
    const side = cell * grid.size;
    view.grid = grid;
    view.cell = cell;
    view.frame = { left, top, right: left + side, bottom: top + side };

    matrix(view, context);
    strips(view, run, context);
    numbers(view, context, longest);
    sums(view, context);
    key(view, context, width);
  }

  /** Colour of a count: from the background's side of the ramp to its far end. */
  const shade = (grid, count) => popgrad.ramp(grid.most > 1 ? 0.12 + (0.88 * (count - 1)) / (grid.most - 1) : 0.5);

  function matrix(view, context) {
    const { grid, cell, frame } = view;
    const theme = popgrad.theme();
    context.fillStyle = theme.grid;
    context.globalAlpha = 0.45;
    context.fillRect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
    context.globalAlpha = 1;
    if (cell >= 10) {
      for (let i = 0; i <= grid.size; i++) {
        chart.line(context, frame.left + i * cell, frame.top, frame.left + i * cell, frame.bottom, theme.background);
        chart.line(context, frame.left, frame.top + i * cell, frame.right, frame.top + i * cell, theme.background);
      }
    }
    context.font = popgrad.font(Math.min(12, cell * 0.55), "600");
    context.textAlign = "center";
    context.textBaseline = "middle";
    const gap = cell >= 10 ? 1 : 0;
    for (const each of grid.cells.values()) {
      const [x, y] = [frame.left + each.column * cell, frame.top + each.line * cell];
      const colour = shade(grid, each.count);
      context.fillStyle = colour;
      context.fillRect(x + gap, y + gap, cell - gap, cell - gap);
      if (cell < 15) continue;
      context.fillStyle = chart.inkOn(colour);
      context.fillText(String(each.count), x + cell / 2 + 0.5, y + cell / 2 + 1);
    }
  }

  /** Draw the colour of the present founder along both edges. */
  function strips(view, run, context) {
    const { grid, frame } = view;
    const unit = (frame.right - frame.left) / (grid.size * grid.each);
    grid.members.forEach((member, i) => {
      context.fillStyle = chart.founderColour(run, grid.founders.get(member)) || popgrad.theme().faint;
      context.fillRect(frame.left - 6, frame.top + i * unit, 4, Math.ceil(unit));
      context.fillRect(frame.left + i * unit, frame.bottom + 2, Math.ceil(unit), 4);
    });
  }

  function numbers(view, context, longest) {
    const { grid, cell, frame } = view;
    const theme = popgrad.theme();
    context.font = popgrad.font(11);
    context.fillStyle = theme.muted;
    const down = Math.ceil(13 / cell);
    const across = Math.ceil((longest + 6) / cell);
    // Several members in one cell have no common number.
    for (let i = 0; i < grid.size && grid.each === 1; i++) {
      const name = String(grid.members[i * grid.each]);
      const middle = (i + 0.5) * cell;
      context.textAlign = "right";
      context.textBaseline = "middle";
      if (i % down === 0) context.fillText(name, frame.left - 10, frame.top + middle);
      context.textAlign = "center";
      context.textBaseline = "top";
      if (i % across === 0) context.fillText(name, frame.left + middle, frame.bottom + 9);
    }
    context.font = popgrad.font(12);
    context.fillStyle = theme.foreground;
    context.fillText("heir (member)", (frame.left + frame.right) / 2, frame.bottom + 25);
    context.save();
    context.translate(14, (frame.top + frame.bottom) / 2);
    context.rotate(-Math.PI / 2);
    context.textBaseline = "middle";
    context.fillText("donor (member)", 0, 0);
    context.restore();
  }

  function sums(view, context) {
    const { grid, cell, frame } = view;
    const theme = popgrad.theme();
    context.fillStyle = theme.faint;
    const most = Math.max(...grid.given, ...grid.received);
    const length = (count) => (count / most) * (BARS - 12);
    for (let i = 0; i < grid.size; i++) {
      const gap = cell >= 6 ? 1 : 0;
      context.fillRect(frame.right + 4, frame.top + i * cell + gap, length(grid.given[i]), cell - gap);
      const tall = length(grid.received[i]);
      context.fillRect(frame.left + i * cell + gap, frame.top - 4 - tall, cell - gap, tall);
    }
  }

  /** Explain the colours and the bars, right of the matrix if there is room. */
  function key(view, context, width) {
    const { grid, frame } = view;
    const left = frame.right + BARS + 14;
    if (width - left < 60) return;
    const theme = popgrad.theme();
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    context.font = popgrad.font(12);
    context.fillStyle = theme.foreground;
    context.fillText("copies", left, frame.top + 10);
    const counts = [...new Set(d3.ticks(1, grid.most, 5).filter(Number.isInteger).concat([1, grid.most]))].sort((a, b) => a - b);
    context.textBaseline = "middle";
    context.font = popgrad.font(11);
    counts.forEach((count, i) => {
      const y = frame.top + 28 + 17 * i;
      context.fillStyle = shade(grid, count);
      context.fillRect(left, y - 6, 14, 12);
      context.fillStyle = theme.muted;
      context.fillText(String(count), left + 20, y);
    });
  }

  // --- selection ----------------------------------------------------------------------------------

  function mark(view, run, context, selection) {
    if (!view.grid) return;
    const theme = popgrad.theme();
    const { grid, cell, frame } = view;
    for (const row of [selection.row, selection.hover]) {
      if (row < 0 || row >= run.n) continue;
      const place = grid.place.get(run.member[row]);
      if (place === undefined) continue;
      const selected = row === selection.row;
      context.strokeStyle = selected ? theme.selected : theme.hover;
      context.lineWidth = selected ? 2 : 1.5;
      context.globalAlpha = 0.55;
      context.setLineDash([2, 2]);
      context.strokeRect(frame.left, frame.top + place * cell, frame.right - frame.left, cell);
      context.strokeRect(frame.left + place * cell, frame.top, cell, frame.bottom - frame.top);
      context.setLineDash([]);
      context.globalAlpha = 1;
      // The cell of the copy that the segment started with.
      const parent = run.parent[row];
      if (!run.copied[row] || parent < 0) continue;
      const line = grid.place.get(run.member[parent]);
      context.lineWidth = selected ? 3 : 2;
      context.strokeRect(frame.left + place * cell, frame.top + line * cell, cell + 1, cell + 1);
    }
  }

  function pick(view, run, x, y) {
    if (!view.grid) return null;
    const { grid, cell, frame } = view;
    const column = Math.floor((x - frame.left) / cell);
    const line = Math.floor((y - frame.top) / cell);
    if (column < 0 || line < 0 || column >= grid.size || line >= grid.size) return null;
    const found = grid.cells.get(line * grid.size + column);
    if (!found) return null;
    const copy = found.copies.reduce((a, b) => (b.rows.length > a.rows.length ? b : a));
    const row = copy.rows[copy.rows.length - 1];
    return { row, lines: lines(run, found, copy) };
  }

  function lines(run, cell, copy) {
    const intervals = copy.rows.map((row) => run.interval[row]);
    const shown = intervals.slice(0, 12).join(", ") + (intervals.length > 12 ? ", …" : "");
    const title = `Member ${copy.heir} copied member ${copy.donor}`;
    const found = [title, ["copies", popgrad.integer(copy.rows.length)], [intervals.length === 1 ? "at the start of interval" : "at the start of intervals", shown]];
    if (cell.copies.length > 1) found.push(["all copies in this cell", popgrad.integer(cell.count)]);
    return found;
  }
})();
