"use strict";
// Founders: a Muller plot of the population, its effective number of founders, and the spread of its
// hyperparameters.
(function () {
  const { chart, muller, statistics, element: make } = popgrad;
  const MOST = 1000; // intervals that are drawn

  popgrad.views.founders = {
    title: "Founders",
    help:
      "The share of the population that descends from each founder: a member that started with fresh " +
      "weights. A band that widens was copied. Below: the effective number of founders (the " +
      "exponential of the entropy of the shares; equal shares of n founders give n), and how far apart " +
      "the members are in each hyperparameter (from the 10th to the 90th percentile, as a share of its " +
      "range on its scale). A warning appears if fewer than 1.5 effective founders are left from an " +
      "interval in the first half of the run on, or if every hyperparameter spreads over less than 5% " +
      "of its range. Failed segments, and intervals with too few members, do not count.",
    create,
  };

  function create(container, run) {
    const warning = make("p", { class: "chart-warning", role: "status", hidden: true });
    container.append(warning);
    const view = { found: null, areas: [], frames: null, x: null };
    const surface = chart.surface(container, run, {
      label: "Share of the population by founder, effective founders and spread of hyperparameters",
      height: () => 410,
      draw(context, width, height) {
        view.found = run.n ? derive(run) : null;
        draw(view, run, context, width, height);
      },
      mark: (context, selection) => mark(view, run, context, selection),
      pick: (x, y) => pick(view, run, x, y),
      words,
    });
    const legend = chart.legend(container);

    function words() {
      warning.textContent = view.found ? statistics.warning(run, statistics.diversityOf(run)) : "";
      warning.hidden = !warning.textContent;
      legend.set(entries(view, run));
    }
    surface.redraw();
    return {
      update: surface.redraw,
      resize: surface.resize,
      destroy() {
        surface.destroy();
        container.replaceChildren();
      },
    };
  }

  /** Return the diversity of a run, with the largest founders and the order of the areas. */
  function derive(run) {
    return run.cached("founders view", () => {
      const found = thinned(statistics.diversityOf(run));
      return { ...found, largest: statistics.largestFounders(run), last: lastDrawn(run, found) };
    });
  }

  /** Return a diversity of some intervals, if there are more than a screen can show. */
  function thinned(found) {
    const every = Math.ceil(found.intervals.length / MOST);
    if (every < 2) return found;
    const last = found.intervals.length - 1;
    const some = (values) => values.filter((_, i) => i === last || i % every === 0);
    const spread = Object.fromEntries(Object.entries(found.spread).map(([name, values]) => [name, some(values)]));
    const { intervals, members, counts, effective } = found;
    return {
      ...found, spread, intervals: some(intervals), members: some(members), counts: some(counts),
      effective: some(effective),
    };
  }

  /** Return the place of the last interval that is drawn: the one in progress has too few members. */
  function lastDrawn(run, found) {
    let last = found.intervals.length - 1;
    const most = d3.max(found.members);
    const progress = run.header.status.state === "in progress";
    while (progress && last > 0 && found.members[last] < most / 2) last -= 1;
    return last;
  }

  function nameOf(run, founder) {
    const interval = run.interval[founder];
    return "member " + run.member[founder] + (interval ? ", from interval " + interval : "");
  }

  function entries(view, run) {
    if (!view.found) return [];
    const items = view.found.largest.map((each) => ["area", chart.founderColour(run, each), nameOf(run, each)]);
    if (view.found.founders.length > view.found.largest.length) {
      items.push(["area", popgrad.theme().faint, "other founders"]);
    }
    return items;
  }

  // --- drawing ------------------------------------------------------------------------------------

  function draw(view, run, context, width, height) {
    view.frames = null;
    if (!view.found) {
      chart.sentence(context, width, height, "No segment has finished yet.");
      return;
    }
    const free = height - 30 - 2 * 36 - 44; // without titles and the axis of intervals
    const right = width - spreadMargin(context, run, width);
    const shares = { left: 50, right, top: 30, bottom: 30 + Math.round(free * 0.56) };
    const effective = { left: 50, right, top: shares.bottom + 36, bottom: shares.bottom + 36 + Math.round(free * 0.2) };
    const spread = { left: 50, right, top: effective.bottom + 36, bottom: height - 44 };
    view.frames = { shares, effective, spread };
    const { intervals, last } = view.found;
    view.x = chart.numbers("linear", intervals[0], intervals[last], shares.left, shares.right, { whole: true });

    muller.draw(view, run, context, shares);
    founders(view, context, effective);
    spreads(view, run, context, spread);
  }

  function founders(view, context, frame) {
    const theme = popgrad.theme();
    const { effective, last } = view.found;
    const most = Math.max(2, d3.max(effective.slice(0, last + 1)));
    const y = chart.numbers("linear", 0, most * 1.05, frame.bottom, frame.top, {});
    chart.axisX(context, frame, view.x, "", { ticks: false });
    chart.axisY(context, frame, y, "effective founders (dashed: 1.5, nearly all from one)", { ticks: 4 });
    context.setLineDash([4, 3]);
    chart.line(context, frame.left, y.at(statistics.ONE_FOUNDER), frame.right, y.at(statistics.ONE_FOUNDER), theme.warning);
    context.setLineDash([]);
    course(view, context, frame, effective, (value) => y.at(value), theme.foreground);
  }

  function spreadMargin(context, run, width) {
    context.font = popgrad.font(11);
    const widths = statistics.searched(run).map((each) => context.measureText(popgrad.visible(each.name)).width);
    return Math.ceil(Math.min(width / 4, Math.max(16, ...widths) + 14));
  }

  function spreads(view, run, context, frame) {
    const y = chart.numbers("linear", 0, 1, frame.bottom, frame.top, {});
    y.text = (value) => Math.round(100 * value) + "%";
    chart.axisX(context, frame, view.x, "interval");
    chart.axisY(context, frame, y, "spread of each hyperparameter, share of its range", { ticks: 3 });
    const names = statistics.searched(run).map((each) => each.name);
    const ends = names.map((name, i) => {
      const values = view.found.spread[name];
      course(view, context, frame, values, y.at, popgrad.category(i), i >= 7 ? [4, 3] : []);
      return { name, colour: popgrad.category(i), y: y.at(values[view.found.last]) };
    });
    endLabels(context, frame, ends.filter((each) => Number.isFinite(each.y)));
  }

  function course(view, context, frame, values, at, colour, dash) {
    const xs = muller.columns(view, frame);
    let pen = false;
    context.beginPath();
    xs.forEach((x, i) => {
      const value = muller.atColumn(values.slice(0, view.found.last + 1), i);
      if (Number.isFinite(value)) context[pen ? "lineTo" : "moveTo"](x, at(value));
      pen = Number.isFinite(value);
    });
    context.setLineDash(dash || []);
    context.strokeStyle = colour;
    context.lineWidth = 1.8;
    context.lineJoin = "round";
    context.stroke();
    context.setLineDash([]);
  }

  /** Write names at the ends of their lines, apart from each other; those without room are left out. */
  function endLabels(context, frame, ends) {
    ends.sort((a, b) => a.y - b.y);
    let free = frame.top - 4;
    for (const end of ends) {
      end.at = Math.max(end.y, free + 7);
      free = end.at + 7;
    }
    free = frame.bottom + 7;
    for (const end of ends.slice().reverse()) {
      end.at = Math.min(end.at, free - 7);
      free = end.at - 7;
    }
    context.font = popgrad.font(11);
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const end of ends) {
      if (end.at < frame.top - 12) continue;
      context.fillStyle = end.colour;
      const name = chart.fitted(context, popgrad.visible(end.name), context.canvas.clientWidth - frame.right - 8);
      context.fillText(name, frame.right + 6, end.at);
    }
  }

  // --- selection ----------------------------------------------------------------------------------

  function placeOf(view, row, run) {
    const { intervals, last } = view.found;
    return run.interval[row] > intervals[last] ? -1 : d3.bisectCenter(intervals, run.interval[row]);
  }

  function mark(view, run, context, selection) {
    if (!view.frames || !view.found) return;
    for (const row of [selection.row, selection.hover]) {
      if (row < 0 || row >= run.n) continue;
      const area = view.areas.find((each) => each.founder === run.founder[row]);
      const selected = row === selection.row;
      if (area) muller.border(view, context, area, selected);
      const place = placeOf(view, row, run);
      if (place < 0) continue;
      const x = muller.columns(view, view.frames.shares)[place];
      const colour = selected ? popgrad.theme().selected : popgrad.theme().hover;
      for (const frame of Object.values(view.frames)) chart.line(context, x, frame.top, x, frame.bottom, colour);
    }
  }

  /** Return the best segment of the founder under the pointer, in the nearest interval. */
  function pick(view, run, x, y) {
    if (!view.frames || !view.found) return null;
    const { shares, spread } = view.frames;
    if (x < shares.left - 4 || x > shares.right + 4 || y < shares.top - 4 || y > spread.bottom) return null;
    const { intervals, last, counts, members, effective } = view.found;
    const place = Math.min(last, Math.max(0, d3.bisectCenter(intervals.slice(0, last + 1), view.x.back(x))));
    const lines = ["Interval " + intervals[place], ["effective founders", effective[place].toFixed(2)]];
    if (y > shares.bottom) {
      for (const [name, values] of Object.entries(view.found.spread)) {
        lines.push(["spread of " + popgrad.visible(name), percent(values[place])]);
      }
      return { row: -1, lines };
    }
    const share = (shares.bottom - y) / (shares.bottom - shares.top);
    const founder = muller.founderAt(view, place, share);
    if (founder < 0) return null;
    const count = counts[place].get(founder);
    lines.unshift("Founder: " + nameOf(run, founder));
    lines.push(["descend from it", `${count} of ${members[place]} (${percent(count / members[place])})`]);
    const row = bestOf(run, intervals[place], founder);
    lines.push(["the best of them", "member " + run.member[row]]);
    return { row, lines };
  }

  const percent = (share) => (Number.isFinite(share) ? Math.round(100 * share) + "%" : "–");

  function bestOf(run, interval, founder) {
    let best = -1;
    for (let row = 0; row < run.n; row++) {
      if (run.interval[row] !== interval || run.founder[row] !== founder || run.failed(row)) continue;
      if (best < 0 || run.better(run.score[row], run.score[best])) best = row;
    }
    return best;
  }
})();
