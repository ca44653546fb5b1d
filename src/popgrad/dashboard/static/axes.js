"use strict";
// Scales and axes of the charts on canvas.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});

  // --- scales -------------------------------------------------------------------------------------

  const FORWARD = {
    linear: (x) => x,
    log: (x) => Math.log10(x),
    "one-minus": (x) => -Math.log10(Math.max(1e-16, 1 - x)),
  };
  const BACK = {
    linear: (x) => x,
    log: (x) => 10 ** x,
    "one-minus": (x) => 1 - 10 ** -x,
  };
  const NINES = [0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 0.99999];

  /**
   * Return a scale from [low, high] to pixels [from, to]: {at(value), back(pixel), ticks(count),
   * text(value), low, high}. `kind` is linear, log or one-minus; `pad` is the share of the range
   * that is left free at each end.
   */
  function numbers(kind, low, high, from, to, more) {
    const { pad = 0, whole = false, compact = false } = more || {};
    const forward = FORWARD[kind];
    const back = BACK[kind];
    let a = forward(low);
    let b = forward(high);
    if (!(b > a)) {
      const half = kind === "linear" ? Math.max(Math.abs(a) * 0.05, whole ? 0.5 : 1e-9) : 0.15;
      [a, b] = [a - half, b + half];
    }
    const margin = pad * (b - a);
    [a, b] = [a - margin, b + margin];
    return {
      kind,
      low: back(a),
      high: back(b),
      at: (value) => from + ((forward(value) - a) / (b - a)) * (to - from),
      back: (pixel) => back(a + ((pixel - from) / (to - from)) * (b - a)),
      ticks: (count) => ticks(kind, back(a), back(b), count).filter((each) => !whole || Number.isInteger(each)),
      text: compact ? shortNumber : tickText,
    };
  }

  /** Return a scale of options: their positions are the middles of equal parts of [from, to]. */
  function words(options, from, to) {
    const place = new Map(options.map((option, i) => [option, i]));
    return {
      options,
      at: (value) => from + (((place.has(value) ? place.get(value) : NaN) + 0.5) / options.length) * (to - from),
      ticks: () => options,
      text: (value) => clipped(popgrad.format(value), 14),
      step: Math.abs(to - from) / options.length,
    };
  }

  /** Return the scale of a hyperparameter, which spans its bounds and all values of it. */
  function ofHparam(run, dimension, from, to, more) {
    const values = run.hparams[dimension.name] || [];
    if (dimension.options) return words(dimension.options, from, to);
    let low = typeof dimension.low === "number" ? dimension.low : Infinity;
    let high = typeof dimension.high === "number" ? dimension.high : -Infinity;
    let plain = true;
    for (const value of values) {
      if (typeof value !== "number") plain = false;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (!plain || low > high) return words(Array.from(new Set(values)), from, to);
    const kind = low > 0 || dimension.scale !== "log" ? dimension.scale : "linear";
    const options = Object.assign({ whole: dimension.kind === "integer" }, more || {});
    return numbers(FORWARD[kind] ? kind : "linear", low, high, from, to, options);
  }

  function ticks(kind, low, high, count) {
    if (kind === "linear") return d3.ticks(low, high, count);
    const inside = (values) => values.filter((each) => each >= low * (1 - 1e-12) && each <= high);
    let found;
    if (kind === "one-minus") {
      found = inside(NINES);
      if (found.length > count) found = found.filter((each) => [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999].includes(each));
    } else {
      found = decades(low, high, [1]);
      const every = Math.ceil(found.length / Math.max(2, count));
      found = found.filter((_, i) => i % every === 0);
      if (found.length < 3 || 3 * found.length <= count) found = decades(low, high, count > 4 ? [1, 2, 5] : [1, 3]);
    }
    return found.length < 2 ? d3.ticks(low, high, Math.min(count, 4)) : found;
  }

  function decades(low, high, multiples) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const each of multiples) {
        const value = Number(each + "e" + power);
        if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) found.push(value);
      }
    }
    return found;
  }

  /** Return a number of an axis: 0.01, 1e−4, 2,000. */
  function tickText(value) {
    return popgrad.format(Number(value.toPrecision(6)));
  }

  /** Return a number of steps for an axis: 500, 2k, 1.5M. */
  function shortNumber(value) {
    const size = Math.abs(value);
    const short = (unit, letter) => popgrad.format(Number((value / unit).toPrecision(4))) + letter;
    if (size >= 1e9) return short(1e9, "G");
    if (size >= 1e6) return short(1e6, "M");
    if (size >= 1e4) return short(1e3, "k");
    return popgrad.format(value);
  }

  function clipped(text, most) {
    const letters = Array.from(text);
    return letters.length > most ? letters.slice(0, most - 1).join("") + "…" : text;
  }

  // --- axes ---------------------------------------------------------------------------------------

  /** Return [tick, text] of an axis; even steps have the same number of decimals. */
  function labelled(scale, count) {
    const found = scale.ticks(count);
    const texts = found.map(scale.text);
    const decimals = texts.map((text) => (/^[−\d,]*\.?\d*$/.test(text) ? (text.split(".")[1] || "").length : NaN));
    const most = Math.max(...decimals);
    if (scale.kind !== "linear" || !(most > 0)) return found.map((tick, i) => [tick, texts[i]]);
    return found.map((tick) => [tick, tick.toFixed(most).replace("-", "−")]);
  }

  /** Return the width in pixels of the widest tick of a vertical axis. */
  function tickWidth(context, scale, count) {
    context.font = popgrad.font(11);
    return Math.ceil(Math.max(8, ...labelled(scale, count).map(([, text]) => context.measureText(text).width)));
  }

  /** Draw a horizontal axis below a frame {left, right, top, bottom}: grid, ticks, label. */
  function axisX(context, frame, scale, label, more) {
    const { grid = true, ticks: shown = true } = more || {};
    const theme = popgrad.theme();
    const count = Math.max(2, Math.floor((frame.right - frame.left) / 70));
    context.font = popgrad.font(11);
    context.textAlign = "center";
    context.textBaseline = "top";
    let free = -Infinity;
    for (const [tick, text] of labelled(scale, count)) {
      const x = scale.at(tick);
      if (!(x >= frame.left - 0.5 && x <= frame.right + 0.5)) continue;
      if (grid) line(context, x, frame.top, x, frame.bottom, theme.grid);
      if (!shown) continue;
      const half = context.measureText(text).width / 2;
      line(context, x, frame.bottom, x, frame.bottom + 4, theme.faint);
      // The last one may not reach beyond the sheet.
      const middle = Math.min(x, frame.right + 14 - half);
      if (middle - half < free) continue;
      free = middle + half + 8;
      context.fillStyle = theme.muted;
      context.fillText(text, middle, frame.bottom + 7);
    }
    line(context, frame.left, frame.bottom, frame.right, frame.bottom, theme.faint);
    if (!label) return;
    context.font = popgrad.font(12);
    context.fillStyle = theme.foreground;
    const room = 2 * Math.min(frame.right - frame.left, (frame.left + frame.right) / 2);
    context.fillText(fitted(context, label, room), (frame.left + frame.right) / 2, frame.bottom + 23);
  }

  /** Draw a vertical axis left of a frame: grid, ticks, and its label above it. */
  function axisY(context, frame, scale, label, more) {
    const { grid = true, weight = "", ticks: given = 0 } = more || {};
    const theme = popgrad.theme();
    const count = given || Math.max(2, Math.floor((frame.bottom - frame.top) / 36));
    context.font = popgrad.font(11);
    context.textAlign = "right";
    context.textBaseline = "middle";
    let free = Infinity;
    for (const [tick, text] of labelled(scale, count)) {
      const y = scale.at(tick);
      if (!(y >= frame.top - 0.5 && y <= frame.bottom + 0.5)) continue;
      if (grid) line(context, frame.left, y, frame.right, y, theme.grid);
      if (y + 6 > free) continue;
      free = y - 6;
      context.fillStyle = theme.muted;
      context.fillText(text, frame.left - 6, y);
    }
    if (!label) return;
    context.font = popgrad.font(12, weight);
    context.fillStyle = theme.foreground;
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    context.fillText(fitted(context, label, frame.right - 4), 4, frame.top - 11);
  }

  /** Draw a line, on whole pixels if it is horizontal or vertical. */
  function line(context, x0, y0, x1, y1, colour, width) {
    const sharp = (a) => Math.round(a) + 0.5;
    context.beginPath();
    context.moveTo(x0 === x1 ? sharp(x0) : x0, y0 === y1 ? sharp(y0) : y0);
    context.lineTo(x0 === x1 ? sharp(x1) : x1, y0 === y1 ? sharp(y1) : y1);
    context.strokeStyle = colour;
    context.lineWidth = width || 1;
    context.stroke();
  }

  /** Return a text that is at most as wide as given, with an ellipsis if it is longer. */
  function fitted(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    const letters = Array.from(text);
    while (letters.length && context.measureText(letters.join("") + "…").width > width) letters.pop();
    return letters.join("") + "…";
  }

  popgrad.chart = {
    numbers, words, ofHparam, tickText, shortNumber, clipped, labelled, tickWidth, axisX, axisY, line,
    fitted,
  };
})();
