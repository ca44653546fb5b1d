"use strict";
// What the charts on canvas share: a surface of two sheets, marks and legends.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});
  const make = popgrad.element;

  /** Milliseconds of a drawing from which on the next one waits a multiple of it. */
  const SLOW = 30;
  const REST = 4;

  /** Pixels from the pointer within which a segment is found. */
  const NEAR = 24;

  // --- surfaces -----------------------------------------------------------------------------------

  /**
   * Return a surface: a sheet for the data and one above it for the selection.
   *
   * `spec` has label (for screen readers), height(width) in pixels, draw(context, width, height),
   * words(), which sets the legend and what is said around the chart, mark(context, selection), which
   * is called as the selection changes, and pick(x, y): {row, lines of the tooltip} or null. All that
   * costs time belongs into draw: one that is slow waits until the page has had time for others.
   */
  function surface(container, run, spec) {
    const root = make("div", { class: "chart" });
    container.append(root);
    const base = popgrad.canvas(root, "chart-base");
    const top = popgrad.canvas(root, "chart-top");
    base.canvas.setAttribute("role", "img");
    base.canvas.setAttribute("aria-label", spec.label);
    const state = { cost: 0, ended: 0, timer: 0, marking: 0 };

    function fit() {
      const width = Math.max(200, root.clientWidth);
      const height = Math.max(spec.height(width), room(container, root));
      if (width === base.width && height === base.height && ratio === window.devicePixelRatio) return;
      ratio = window.devicePixelRatio;
      root.style.height = height + "px";
      base.fit(width, height);
      top.fit(width, height);
    }
    let ratio = 0;

    function draw() {
      clearTimeout(state.timer);
      state.timer = 0;
      const began = performance.now();
      fit();
      base.context.clearRect(0, 0, base.width, base.height);
      spec.draw(base.context, base.width, base.height);
      spec.words();
      state.ended = performance.now();
      state.cost = state.ended - began;
      mark();
    }

    function redraw() {
      if (state.timer) return;
      const due = state.cost < SLOW ? 0 : state.ended + REST * state.cost - performance.now();
      if (due > 0) state.timer = setTimeout(draw, due);
      else draw();
    }

    function mark() {
      if (state.marking) return;
      state.marking = requestAnimationFrame(() => {
        state.marking = 0;
        top.context.clearRect(0, 0, top.width, top.height);
        if (run.n) spec.mark(top.context, popgrad.selection);
      });
    }

    function hit(event) {
      const box = root.getBoundingClientRect();
      return run.n ? spec.pick(event.clientX - box.left, event.clientY - box.top) : null;
    }

    root.addEventListener("pointermove", (event) => {
      const found = hit(event);
      root.classList.toggle("is-over", Boolean(found));
      popgrad.selection.setHover(found ? found.row : -1);
      if (found) popgrad.tooltip.show(found.lines || popgrad.segmentLines(run, found.row), event);
      else popgrad.tooltip.hide();
    });
    root.addEventListener("pointerleave", () => {
      popgrad.selection.setHover(-1);
      popgrad.tooltip.hide();
    });
    root.addEventListener("click", (event) => {
      const found = hit(event);
      popgrad.selection.select(found ? found.row : -1);
    });

    const unsubscribe = popgrad.selection.subscribe(mark);
    return {
      root,
      redraw,
      resize: draw,
      mark,
      destroy() {
        clearTimeout(state.timer);
        cancelAnimationFrame(state.marking);
        unsubscribe();
        root.remove();
      },
    };
  }

  /** Return the height that a view has in the whole window; 0 = it has the height it asks for. */
  function room(container, root) {
    if (!container.closest(".is-whole")) return 0;
    let others = 0;
    for (const child of container.children) if (child !== root) others += child.offsetHeight + 8;
    const style = getComputedStyle(container);
    const padding = parseFloat(style.paddingTop) + parseFloat(style.paddingBottom);
    return Math.floor(container.clientHeight - padding - others);
  }

  /** Return the number of the point that is nearest to a place, within `near` pixels; -1 = none. */
  function nearest(xs, ys, x, y, near) {
    let found = -1;
    let least = (near || NEAR) ** 2;
    for (let i = 0; i < xs.length; i++) {
      const away = (xs[i] - x) ** 2 + (ys[i] - y) ** 2;
      // Of points in one place the last is on top. NaN is never near.
      if (away <= least) {
        least = away;
        found = i;
      }
    }
    return found;
  }

  /** Write a sentence in the middle of a surface, where there is nothing to draw. */
  function sentence(context, width, height, text) {
    context.font = popgrad.font(13);
    context.fillStyle = popgrad.theme().muted;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(popgrad.chart.fitted(context, text, width - 16), width / 2, height / 2);
  }

  // --- marks --------------------------------------------------------------------------------------

  /** Draw a cross: a failure. */
  function cross(context, x, y, size, colour) {
    context.beginPath();
    context.moveTo(x - size, y - size);
    context.lineTo(x + size, y + size);
    context.moveTo(x - size, y + size);
    context.lineTo(x + size, y - size);
    context.strokeStyle = colour;
    context.lineWidth = 1.6;
    context.stroke();
  }

  /** Draw a ring around a place: the selected segment (thick), or that under the pointer. */
  function ring(context, x, y, size, selected) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) return;
    const theme = popgrad.theme();
    context.beginPath();
    context.arc(x, y, size, 0, 2 * Math.PI);
    context.strokeStyle = theme.background;
    context.lineWidth = selected ? 5 : 4;
    context.stroke();
    context.strokeStyle = selected ? theme.selected : theme.hover;
    context.lineWidth = selected ? 2.5 : 1.8;
    context.stroke();
  }

  /** Draw a star: the winner. */
  function star(context, x, y, size) {
    const theme = popgrad.theme();
    context.beginPath();
    for (let i = 0; i < 10; i++) {
      const angle = (i * Math.PI) / 5 - Math.PI / 2;
      const far = i % 2 ? size * 0.45 : size;
      context[i ? "lineTo" : "moveTo"](x + far * Math.cos(angle), y + far * Math.sin(angle));
    }
    context.closePath();
    context.fillStyle = theme.winner;
    context.strokeStyle = theme.background;
    context.lineWidth = 1.5;
    context.fill();
    context.stroke();
  }

  /** Keep a drawing within a frame. */
  function inside(context, frame, draw) {
    context.save();
    context.beginPath();
    context.rect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
    context.clip();
    draw();
    context.restore();
  }

  /** Return the colour of a founder (a row), the same in all views; null = one of the many others. */
  function founderColour(run, founder) {
    const place = popgrad.statistics.largestFounders(run).indexOf(founder);
    return place < 0 ? null : popgrad.category(place);
  }

  /**
   * Join places [x, y], ascending in x, to the path of a context; null is a gap. Of many places in one
   * column of pixels the first, the lowest, the highest and the last are enough.
   */
  function join(context, places) {
    let pen = false;
    let column = NaN;
    let held = [];
    const flush = () => {
      const lowest = held.reduce((a, b) => (b[1] > a[1] ? b : a), held[0]);
      const highest = held.reduce((a, b) => (b[1] < a[1] ? b : a), held[0]);
      const kept = held.length < 5 ? held : [held[0], lowest, highest, held[held.length - 1]];
      for (const [x, y] of kept) {
        context[pen ? "lineTo" : "moveTo"](x, y);
        pen = true;
      }
      held = [];
    };
    for (const place of places) {
      if (held.length && (!place || Math.floor(place[0]) !== column)) flush();
      if (place) {
        column = Math.floor(place[0]);
        held.push(place);
      } else pen = false;
    }
    if (held.length) flush();
  }

  /** Return black or white, whichever can be read on a colour. */
  function inkOn(colour) {
    const { r, g, b } = d3.rgb(colour);
    return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000000" : "#ffffff";
  }

  // --- words around a chart -----------------------------------------------------------------------

  /**
   * Return a legend below a chart: {set(items)}. An item is [kind, colour, words]; kinds are line,
   * thick, dash, dot, ring, cross, star and area.
   */
  function legend(container) {
    const root = make("div", { class: "chart-legend" });
    container.append(root);
    return {
      root,
      set(items) {
        root.replaceChildren(...items.map(([kind, colour, text]) => entry(kind, colour, text)));
      },
    };
  }

  function entry(kind, colour, text) {
    const made = make("span", { class: "chart-entry" });
    const sheet = popgrad.canvas(made, "chart-swatch");
    sheet.fit(18, 12);
    swatch(sheet.context, kind, colour);
    made.append(text);
    return made;
  }

  function swatch(context, kind, colour) {
    if (kind === "cross") return cross(context, 9, 6, 3.5, colour);
    if (kind === "star") return star(context, 9, 6.5, 6.5);
    context.fillStyle = context.strokeStyle = colour;
    context.beginPath();
    if (kind === "area") return context.fillRect(1, 1, 16, 10);
    if (kind === "dot" || kind === "ring") {
      context.arc(9, 6, 4, 0, 2 * Math.PI);
      context.lineWidth = 1.8;
      return kind === "dot" ? context.fill() : context.stroke();
    }
    context.setLineDash(kind === "dash" ? [4, 3] : []);
    context.lineWidth = kind === "thick" ? 3 : 1.5;
    context.moveTo(0, 6);
    context.lineTo(18, 6);
    return context.stroke();
  }

  /** Return a labelled choice among [value, words]: {value, set(options, value), element}. */
  function choice(parent, label, options, changed) {
    const select = make("select", { "aria-label": label, onchange: () => changed(select.value) });
    const element = make("label", { class: "chart-choice" }, make("span", {}, label), select);
    parent.append(element);
    function set(given, value) {
      select.replaceChildren(...given.map(([key, text]) => make("option", { value: key }, text)));
      select.value = value;
    }
    set(options, options.length ? options[0][0] : "");
    return { select, set, element };
  }

  Object.assign(popgrad.chart, {
    surface, nearest, sentence, cross, ring, star, inside, founderColour, join, inkOn, legend, choice,
  });
})();
