"use strict";
// The areas of a Muller plot: the shares of the population that descend from each founder.
(function () {
  const { chart } = popgrad;
  const SEPARATE = 80; // founders up to which each is an area of its own

  /** Draw the areas of a view into a frame; they stay in view.areas. */
  function draw(view, run, context, frame) {
    const y = chart.numbers("linear", 0, 1, frame.bottom, frame.top, {});
    y.text = (value) => Math.round(100 * value) + "%";
    chart.axisX(context, frame, view.x, "", { ticks: false, grid: false });
    chart.axisY(context, frame, y, "share of the population by founder", { grid: false });
    view.areas = areasOf(view.found);
    for (const area of view.areas) fill(view, run, context, frame, area);
    for (const area of view.areas) label(view, run, context, frame, area);
  }

  /** Return the areas from below: {founder, -1 = several of the rest; low, high: [I] shares}. */
  function areasOf({ founders, counts, members, last, largest }) {
    const areas = [];
    const place = new Map();
    for (const founder of founders) {
      const own = founders.length <= SEPARATE || largest.includes(founder);
      const before = areas[areas.length - 1];
      // The many that have no colour are one area, as long as they are neighbours.
      if (own || !before || before.founder >= 0) {
        const [low, high] = [new Float64Array(last + 1), new Float64Array(last + 1)];
        areas.push({ founder: own ? founder : -1, low, high });
      }
      place.set(founder, areas.length - 1);
    }
    for (let i = 0; i <= last; i++) {
      const shares = new Float64Array(areas.length);
      for (const [founder, count] of counts[i]) shares[place.get(founder)] += count / members[i];
      let sum = 0;
      areas.forEach((area, at) => {
        area.low[i] = sum;
        sum += shares[at];
        area.high[i] = sum;
      });
    }
    return areas;
  }

  /** Return [pixels] of the intervals that are drawn; a single one is a band of the whole width. */
  function columns(view, frame) {
    const { intervals, last } = view.found;
    if (last === 0) return [frame.left, frame.right];
    return intervals.slice(0, last + 1).map(view.x.at);
  }

  const atColumn = (values, i) => values[Math.min(i, values.length - 1)];

  function outline(view, context, frame, area) {
    const xs = columns(view, frame);
    const y = (share) => frame.bottom - share * (frame.bottom - frame.top);
    context.beginPath();
    xs.forEach((x, i) => context[i ? "lineTo" : "moveTo"](x, y(atColumn(area.high, i))));
    for (let i = xs.length - 1; i >= 0; i--) context.lineTo(xs[i], y(atColumn(area.low, i)));
    context.closePath();
  }

  function fill(view, run, context, frame, area) {
    const theme = popgrad.theme();
    const colour = area.founder < 0 ? null : chart.founderColour(run, area.founder);
    outline(view, context, frame, area);
    context.fillStyle = colour || theme.faint;
    context.globalAlpha = colour ? 1 : 0.55;
    context.fill();
    context.globalAlpha = 1;
    context.strokeStyle = theme.background;
    context.lineWidth = view.areas.length > 30 ? 0.4 : 1;
    context.lineJoin = "round";
    context.stroke();
  }

  /** Write the name of a founder where its area is thickest, if there is room. */
  function label(view, run, context, frame, area) {
    if (area.founder < 0) return;
    const xs = columns(view, frame);
    const [columnWidth, tall] = [(frame.right - frame.left) / Math.max(1, xs.length - 1), frame.bottom - frame.top];
    context.font = popgrad.font(11, "600");
    const text = String(run.member[area.founder]);
    const half = context.measureText(text).width / 2 + 4;
    // The text must fit between the edges of the area along its whole length.
    const reach = Math.ceil(half / columnWidth);
    const room = (i) => {
      let [low, high] = [0, 1];
      for (let j = Math.max(0, i - reach); j <= Math.min(xs.length - 1, i + reach); j++) {
        low = Math.max(low, atColumn(area.low, j));
        high = Math.min(high, atColumn(area.high, j));
      }
      return { low, high, height: (high - low) * tall };
    };
    let found = -1;
    let best = { height: 0 };
    xs.forEach((x, i) => {
      if (x - half < frame.left || x + half > frame.right) return;
      const here = room(i);
      if (here.height > best.height + 0.5) [found, best] = [i, here];
    });
    if (found < 0 || best.height < 14) return;
    const middle = (best.low + best.high) / 2;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const x = xs.length > 2 ? xs[found] : (frame.left + frame.right) / 2;
    context.fillStyle = chart.inkOn(chart.founderColour(run, area.founder) || popgrad.theme().faint);
    context.fillText(text, x, frame.bottom - middle * tall);
  }

  /** Draw the border of an area on the sheet of the selection. */
  function border(view, context, area, selected) {
    const theme = popgrad.theme();
    chart.inside(context, view.frames.shares, () => {
      outline(view, context, view.frames.shares, area);
      context.lineJoin = "round";
      context.strokeStyle = theme.background;
      context.lineWidth = selected ? 5 : 4;
      context.stroke();
      context.strokeStyle = selected ? theme.selected : theme.hover;
      context.lineWidth = selected ? 2.5 : 2;
      context.stroke();
    });
  }

  /** Return the founder at a place of the intervals and a share from below; -1 = none. */
  function founderAt(view, place, share) {
    let sum = 0;
    for (const founder of view.found.founders) {
      sum += (view.found.counts[place].get(founder) || 0) / view.found.members[place];
      if (share <= sum && view.found.counts[place].get(founder)) return founder;
    }
    return -1;
  }

  popgrad.muller = { draw, border, founderAt, columns, atColumn };
})();
