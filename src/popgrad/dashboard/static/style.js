"use strict";
// Colours, formats and small parts that all views share.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});

  // --- themes -----------------------------------------------------------------------------------

  // The colours of Okabe and Ito, which people with any colour vision can tell apart.
  const CATEGORIES = {
    light: ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A900", "#6B7280"],
    dark: ["#4AA3DF", "#F0B429", "#2BC49A", "#E29AC4", "#8FD0F5", "#F07B3F", "#F0E442", "#9AA3AF"],
  };
  const THEMES = {
    light: {
      dark: false,
      background: "#ffffff", // of a view
      page: "#f6f7f9",
      foreground: "#1b1f24",
      muted: "#5c6570", // axis labels
      faint: "#a9b1bb", // other members' lines, ticks
      grid: "#e7eaee",
      border: "#d5dae0",
      winner: "#d1300f",
      selected: "#111418",
      hover: "#59636e",
      failed: "#b3261e",
      accent: "#0b62c4",
      warning: "#8a5a00",
      categories: CATEGORIES.light,
    },
    dark: {
      dark: true,
      background: "#14181d",
      page: "#0c0f13",
      foreground: "#e8ebef",
      muted: "#a0a9b4",
      faint: "#5b6570",
      grid: "#232a32",
      border: "#303943",
      winner: "#ff6a4d",
      selected: "#ffffff",
      hover: "#b6bfc9",
      failed: "#ff8a80",
      accent: "#6cb0ff",
      warning: "#f0b429",
      categories: CATEGORIES.dark,
    },
  };

  // Colours of the present theme; read it in each drawing, since the theme may change.
  popgrad.theme = function () {
    return THEMES[document.documentElement.dataset.theme === "dark" ? "dark" : "light"];
  };

  // Colour of a share from 0 (worst) to 1 (best): viridis, such that the best stands out most from
  // the background of the theme.
  popgrad.ramp = function (share) {
    const t = Math.min(1, Math.max(0, share));
    return popgrad.theme().dark
      ? d3.interpolateViridis(0.1 + 0.9 * t)
      : d3.interpolateViridis(0.95 - 0.95 * t);
  };

  popgrad.category = function (index) {
    const colours = popgrad.theme().categories;
    return colours[((index % colours.length) + colours.length) % colours.length];
  };

  // A scale of values to colours: {colour(value), share(value), low, high, log, clipped, words}.
  // Values are the scores of a run ("") or one of its hyperparameters (its name).
  popgrad.colourScale = function (run, name) {
    return run.cached("colours " + name, () => (name ? hparamScale(run, name) : scoreScale(run)));
  };

  function scoreScale(run) {
    const finite = run.score.filter(Number.isFinite);
    const sorted = Float64Array.from(finite).sort();
    const [low, high] = sorted.length ? [sorted[0], sorted[sorted.length - 1]] : [0, 1];
    let [from, to] = [low, high];
    // A few bad scores of the beginning would take all colours: the worst tenth shares the last one.
    const tenth = sorted[Math.floor((sorted.length - 1) * (run.lowerIsBetter ? 0.9 : 0.1))];
    if (sorted.length > 20 && !run.lowerIsBetter) from = tenth;
    if (sorted.length > 20 && run.lowerIsBetter) to = tenth;
    if (from === to) [from, to] = [low, high];
    const span = to - from || 1;
    const share = (value) =>
      run.lowerIsBetter ? (to - value) / span : (value - from) / span;
    return numberScale({ low: from, high: to, log: false, share, reversed: run.lowerIsBetter,
      clippedLow: from > low, clippedHigh: to < high });
  }

  function hparamScale(run, name) {
    const dimension = run.dimension(name) || {};
    const values = run.hparams[name] || [];
    const numbers = values.filter((each) => typeof each === "number");
    if (numbers.length < values.length || !numbers.length) return wordScale(values);

    let low = d3.min(numbers);
    let high = d3.max(numbers);
    const log = dimension.scale === "log" && low > 0;
    const at = log ? Math.log : (x) => x;
    const span = at(high) - at(low) || 1;
    return numberScale({ low, high, log, share: (value) => (at(value) - at(low)) / span });
  }

  function numberScale(scale) {
    scale.colour = (value) =>
      typeof value === "number" && Number.isFinite(value) ? popgrad.ramp(scale.share(value)) : null;
    return scale;
  }

  function wordScale(values) {
    const words = Array.from(new Set(values.map(popgrad.format))).sort();
    const index = new Map(words.map((word, i) => [word, i]));
    return { words, colour: (value) => popgrad.category(index.get(popgrad.format(value))) };
  }

  // --- formats ----------------------------------------------------------------------------------

  // A value for people: four digits at most, words as they are, null as a dash.
  popgrad.format = function (value) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (typeof value === "number") return number(value, 4);
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value === "object") return JSON.stringify(value);
    return visible(String(value));
  };

  function number(value, digits) {
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
    if (Number.isInteger(value) && Math.abs(value) < 1e6) return value.toLocaleString("en-US").replace("-", "−");
    const size = Math.abs(value);
    if (size >= 1e6 || size < 1e-3) {
      const [mantissa, exponent] = value.toExponential(digits - 2).split("e");
      return (mantissa.replace(/\.?0+$/, "") + "e" + exponent.replace("+", "")).replace(/-/g, "−");
    }
    return String(Number(value.toPrecision(digits))).replace("-", "−");
  }

  popgrad.integer = (value) => Math.round(value).toLocaleString("en-US");

  // Names and words of a record with control and direction characters made visible.
  function visible(text) {
    return text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
      (each) => "\\u" + each.charCodeAt(0).toString(16).padStart(4, "0"));
  }
  popgrad.visible = (text) => visible(String(text));

  // Seconds as "0.42 s", "12 s", "3 min 5 s", "2 h 10 min", "3 d 4 h".
  popgrad.duration = function (seconds) {
    if (!Number.isFinite(seconds)) return "–";
    if (seconds < 10) return Number(seconds.toPrecision(2)) + " s";
    const s = Math.round(seconds);
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min" + (s % 60 ? " " + (s % 60) + " s" : "");
    if (s < 86400) {
      const minutes = Math.round((s % 3600) / 60);
      return Math.floor(s / 3600) + " h" + (minutes ? " " + minutes + " min" : "");
    }
    return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
  };

  // A point in time (seconds since 1970) as the reader's local date and time.
  popgrad.clock = function (seconds) {
    if (!Number.isFinite(seconds)) return "–";
    const date = new Date(seconds * 1000);
    const two = (x) => String(x).padStart(2, "0");
    return date.getFullYear() + "-" + two(date.getMonth() + 1) + "-" + two(date.getDate()) + " " +
      two(date.getHours()) + ":" + two(date.getMinutes()) + ":" + two(date.getSeconds());
  };

  // "member 3, interval 7" of a row.
  popgrad.nameOf = (run, row) => "member " + run.member[row] + ", interval " + run.interval[row];

  // --- elements ---------------------------------------------------------------------------------

  // An element with attributes and children (elements or texts). Text is never read as markup.
  popgrad.element = function (tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "class") made.className = value;
      else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined) continue;
      made.append(child);
    }
    return made;
  };

  // A canvas that is sharp on the screen's pixels: {canvas, context, width, height, fit(w, h)}.
  popgrad.canvas = function (parent, name) {
    const canvas = popgrad.element("canvas", { class: name || "" });
    parent.append(canvas);
    const sheet = { canvas, context: canvas.getContext("2d"), width: 0, height: 0 };
    sheet.fit = function (width, height) {
      const ratio = window.devicePixelRatio || 1;
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
      canvas.style.width = width + "px";
      canvas.style.height = height + "px";
      sheet.context.setTransform(ratio, 0, 0, ratio, 0, 0);
      sheet.width = width;
      sheet.height = height;
    };
    return sheet;
  };

  // The tooltip of the page: show(lines, event), hide(). A line is a text or [name, value].
  const tooltip = { box: null };
  popgrad.tooltip = {
    show(lines, event) {
      if (!tooltip.box) {
        tooltip.box = popgrad.element("div", { class: "tooltip", role: "presentation" });
        document.body.append(tooltip.box);
      }
      const box = tooltip.box;
      box.replaceChildren(
        ...lines.map((line) =>
          Array.isArray(line)
            ? popgrad.element("div", { class: "tooltip-line" },
                popgrad.element("span", { class: "tooltip-name" }, line[0]),
                popgrad.element("span", { class: "tooltip-value" }, line[1]))
            : popgrad.element("div", { class: "tooltip-title" }, line),
        ),
      );
      box.hidden = false;
      const size = box.getBoundingClientRect();
      const right = event.clientX + 16 + size.width > window.innerWidth;
      const below = event.clientY + 16 + size.height > window.innerHeight;
      box.style.left = Math.max(4, right ? event.clientX - size.width - 12 : event.clientX + 16) + "px";
      box.style.top = Math.max(4, below ? event.clientY - size.height - 12 : event.clientY + 16) + "px";
    },
    hide() {
      if (tooltip.box) tooltip.box.hidden = true;
    },
  };

  // Lines of the tooltip of a segment, the same in every view.
  popgrad.segmentLines = function (run, row) {
    const lines = [
      "Member " + run.member[row] + " · interval " + run.interval[row],
      [popgrad.visible(run.metric), run.failed(row) ? "failed" : popgrad.format(run.score[row])],
    ];
    for (const name of run.names.slice(0, 8)) {
      lines.push([popgrad.visible(name), popgrad.format(run.hparams[name][row])]);
    }
    lines.push(["steps", popgrad.integer(run.firstStep[row]) + "–" + popgrad.integer(run.lastStep(row))]);
    lines.push(["from", origin(run, row)]);
    return lines;
  };

  function origin(run, row) {
    const parent = run.parent[row];
    if (parent < 0) return "fresh weights";
    const word = run.copied[row] ? "copy of member " + run.member[parent] : "its own state";
    return run.transform[row] ? word + ", " + popgrad.visible(run.transforms[run.transform[row]]) : word;
  }

  // --- axes of uPlot ----------------------------------------------------------------------------

  // An axis of uPlot in the colours of the theme. `label` names what is measured, with its unit.
  popgrad.axis = function (label, more) {
    const theme = popgrad.theme();
    return Object.assign(
      {
        label,
        labelSize: 18,
        labelFont: popgrad.font(12),
        font: popgrad.font(11),
        stroke: theme.muted,
        grid: { stroke: theme.grid, width: 1 },
        ticks: { stroke: theme.grid, width: 1, size: 4 },
        gap: 4,
        values: (plot, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick, 6))),
      },
      more || {},
    );
  };

  popgrad.font = (size, weight) =>
    (weight ? weight + " " : "") + size + 'px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
})();
