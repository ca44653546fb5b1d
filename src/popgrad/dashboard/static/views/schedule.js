"use strict";
// Schedule: every hyperparameter against training steps, along one lineage over all members.
(function () {
  const { chart, element: make } = popgrad;
  const FORMATS = [["json", "JSON"], ["csv", "CSV"], ["torch", "PyTorch"]];
  const PANEL = 168; // pixels of the height of a panel
  const LEAST = 380; // pixels of all panels
  const WIDE = 2; // hyperparameters up to which the view has the width of others
  const SPREAD = 0.6; // of the distance between two options, over which members are spread

  popgrad.views.schedule = {
    title: "Schedule",
    help:
      "The hyperparameters that trained the winner, against the training steps behind its weights. " +
      "A chosen segment has its own lineage drawn beside it. Thin lines are all segments, each from " +
      "the value of the segment that it started from. Dashed lines are the bounds of the search.",
    create,
  };

  function create(container, run, options) {
    const view = { panels: [] };
    const surface = chart.surface(container, run, {
      label: "Hyperparameters against training steps",
      height: (width) => Math.max(LEAST, 34 + Math.ceil(count(run) / columns(width, count(run))) * PANEL),
      draw: (context, width, height) => draw(view, run, context, width, height),
      mark: (context, selection) => mark(view, run, context, selection),
      pick: (x, y) => pick(view, run, x, y),
      words,
    });
    const legend = chart.legend(container);
    const note = make("p", { class: "chart-note" });
    container.append(note);
    copyButtons(options, run);

    function words() {
      const theme = popgrad.theme();
      legend.set([
        ["thick", theme.winner, "the winner's lineage"],
        ["thick", theme.selected, "lineage of the chosen segment"],
        ["line", theme.faint, "all members"],
        ["dash", theme.muted, "bounds"],
      ]);
      note.textContent = constants(run);
    }
    function update() {
      const panel = container.closest(".panel");
      if (panel) panel.classList.toggle("is-wide", count(run) > WIDE);
      surface.redraw();
    }
    update();
    return { update, resize: surface.resize, destroy: surface.destroy };
  }

  const count = (run) => Math.max(1, popgrad.statistics.searched(run).length);

  const ofHparam = (run, dimension, from, to) => chart.ofHparam(run, dimension, from, to, { pad: 0.06 });

  const columns = (width, panels) => Math.min(panels, Math.max(1, Math.floor(width / 280)), 4);

  function constants(run) {
    const fixed = run.header.space.filter((each) => each.kind === "constant");
    if (!fixed.length) return "";
    const texts = fixed.map((each) => popgrad.visible(each.name) + " = " + popgrad.format(each.value));
    return "Constant: " + texts.join(", ") + ".";
  }

  // --- drawing ------------------------------------------------------------------------------------

  function draw(view, run, context, width, height) {
    const dimensions = popgrad.statistics.searched(run);
    view.panels = [];
    if (!dimensions.length) {
      chart.sentence(context, width, height, "No hyperparameter is searched: all are constant.");
      return;
    }
    if (!run.n) {
      chart.sentence(context, width, height, "No segment has finished yet.");
      return;
    }
    const across = columns(width, dimensions.length);
    const margin = Math.max(...dimensions.map((each) => chart.tickWidth(context, ofHparam(run, each, 100, 0), 4)));
    const down = Math.ceil(dimensions.length / across);
    const tall = (height - 34) / down;
    const wide = width / across;
    dimensions.forEach((dimension, i) => {
      const [column, line] = [i % across, Math.floor(i / across)];
      const frame = {
        left: column * wide + margin + 12,
        right: (column + 1) * wide - 14,
        top: line * tall + 30,
        bottom: (line + 1) * tall - (i + across >= dimensions.length ? 14 : 18),
      };
      const last = i + across >= dimensions.length;
      view.panels.push(panel(run, context, dimension, frame, last));
    });
  }

  function panel(run, context, dimension, frame, last) {
    const theme = popgrad.theme();
    const x = chart.numbers("linear", 0, Math.max(1, run.maxStep), frame.left, frame.right, { compact: true });
    const y = ofHparam(run, dimension, frame.bottom, frame.top);
    axes(context, frame, x, y, dimension, last);

    const values = run.hparams[dimension.name];
    const places = Float32Array.from({ length: run.n }, (_, row) => y.at(values[row]) + shift(run, y, row));
    const line = (row) => y.at(values[row]);
    const made = { frame, x, y, places, line };
    chart.inside(context, frame, () => {
      bounds(context, frame, y, dimension, theme);
      context.strokeStyle = theme.faint;
      context.globalAlpha = Math.max(0.3, Math.min(0.8, 30 / Math.sqrt(run.n)));
      context.lineWidth = 1;
      fan(context, run, made);
      context.globalAlpha = 1;
      path(context, made, run, run.winnerLineage, theme.winner, 2.6);
    });
    return made;
  }

  /** Spread the members of an option, so that they do not hide each other. */
  function shift(run, y, row) {
    if (!y.options) return 0;
    const members = run.members;
    const share = (run.slotOrder.get(run.member[row]) + 0.5) / members.length - 0.5;
    return share * y.step * SPREAD;
  }

  function axes(context, frame, x, y, dimension, last) {
    chart.axisX(context, frame, x, last ? "training steps" : "", {});
    chart.axisY(context, frame, y, "", {});
    const theme = popgrad.theme();
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    context.font = popgrad.font(12, "600");
    context.fillStyle = theme.foreground;
    const room = frame.right - frame.left;
    const name = chart.fitted(context, popgrad.visible(dimension.name), room);
    context.fillText(name, frame.left, frame.top - 8);
    const taken = context.measureText(name).width + 8;
    context.font = popgrad.font(11);
    context.fillStyle = theme.muted;
    const words = { log: "log scale", "one-minus": "log scale of the distance to 1" }[dimension.scale] || "";
    const more = [words, dimension.init_only ? "fixed at the start" : ""].filter(Boolean).join(", ");
    if (room - taken > 60) context.fillText(chart.fitted(context, more, room - taken), frame.left + taken, frame.top - 8);
  }

  function bounds(context, frame, y, dimension, theme) {
    if (dimension.options) return;
    context.setLineDash([4, 4]);
    for (const bound of [dimension.low, dimension.high]) {
      if (typeof bound === "number") {
        chart.line(context, frame.left, y.at(bound), frame.right, y.at(bound), theme.muted);
      }
    }
    context.setLineDash([]);
  }

  /** Draw all segments, thinned if there are more than pixels. */
  function fan(context, run, made) {
    const { x, places } = made;
    const room = Math.max(1, (made.frame.right - made.frame.left) / 1.5);
    const every = Math.max(1, Math.floor(run.intervals / room));
    const members = run.members.length;
    context.beginPath();
    let pending = 0;
    for (let row = 0; row < run.n; row++) {
      if (every > 1 && run.interval[row] % every) continue;
      const parent = run.parent[row];
      const begin = x.at(run.firstStep[row]);
      if (parent >= 0 && every === 1 && places[parent] !== places[row]) {
        context.moveTo(begin, places[parent]);
        context.lineTo(begin, places[row]);
      } else context.moveTo(begin, places[row]);
      context.lineTo(x.at(run.firstStep[row] + run.steps[row] * every), places[row]);
      // A path of everything would be slow to draw.
      pending += 1;
      if (pending >= Math.max(200, members)) {
        context.stroke();
        context.beginPath();
        pending = 0;
      }
    }
    context.stroke();
  }

  /** Draw the steps of a lineage, on a rim of the background; options are not spread along it. */
  function path(context, made, run, rows, colour, width) {
    if (!rows.length) return;
    context.beginPath();
    const ends = rows.flatMap((row) => {
      const y = made.line(row);
      return [[made.x.at(run.firstStep[row]), y], [made.x.at(run.lastStep(row)), y]];
    });
    chart.join(context, ends);
    context.lineJoin = "round";
    context.strokeStyle = popgrad.theme().background;
    context.lineWidth = width + 2.5;
    context.stroke();
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }

  function mark(view, run, context, selection) {
    const theme = popgrad.theme();
    for (const made of view.panels) {
      chart.inside(context, made.frame, () => {
        if (shown(run, selection.row)) path(context, made, run, run.lineage(selection.row), theme.selected, 2);
      });
      for (const row of [selection.hover, selection.row]) {
        if (!shown(run, row)) continue;
        const middle = made.x.at(run.firstStep[row] + run.steps[row] / 2);
        const selected = row === selection.row;
        chart.ring(context, middle, selected || run.winnerLine.has(row) ? made.line(row) : made.places[row], 5, selected);
      }
    }
  }

  const shown = (run, row) => row >= 0 && row < run.n;

  // --- pointer ------------------------------------------------------------------------------------

  function pick(view, run, x, y) {
    const inside = ({ frame }) => x >= frame.left - 4 && x <= frame.right + 8 && y >= frame.top - 8 && y <= frame.bottom + 8;
    const made = view.panels.find(inside);
    if (!made) return null;
    const step = made.x.back(x);
    let found = -1;
    let least = 14;
    for (let row = 0; row < made.places.length; row++) {
      if (step < run.firstStep[row] || step >= run.firstStep[row] + run.steps[row]) continue;
      // The winner's line is on top.
      const onLine = run.winnerLine.has(row) || row === popgrad.selection.row;
      const away = Math.abs((onLine ? made.line(row) : made.places[row]) - y) - (onLine ? 2 : 0);
      if (away < least) [found, least] = [row, away];
    }
    return found < 0 ? null : { row: found };
  }

  // --- copying ------------------------------------------------------------------------------------

  function copyButtons(options, run) {
    const { source, tools } = options || {};
    if (!source || !source.schedule || !tools) return;
    const said = make("span", { class: "chart-said", role: "status" });
    const buttons = FORMATS.map(([format, text]) =>
      make("button", { type: "button", "data-format": format,
        title: `Copy the schedule of the winner, or of the chosen segment, as ${text}`,
        onclick: () => copy(source, run, format, said) }, text));
    tools.append(said, make("span", { class: "chart-copy" }, "copy as"), ...buttons);
  }

  async function copy(source, run, format, said) {
    const chosen = popgrad.selection.row;
    const row = shown(run, chosen) ? chosen : run.winner;
    try {
      if (row < 0) throw new Error("there is no winner yet");
      await toClipboard(await source.schedule(row, format));
      said.textContent = row === run.winner ? "copied: the winner's" : "copied: " + popgrad.nameOf(run, row);
    } catch (error) {
      said.textContent = popgrad.visible(error.message);
    }
    setTimeout(() => (said.textContent = ""), 6000);
  }

  async function toClipboard(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Pages from a file, and older browsers, copy what is marked.
      const field = make("textarea", { class: "unseen", "aria-hidden": "true" });
      field.value = text;
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      if (!done) throw new Error("the browser does not let this page copy");
    }
  }
})();
