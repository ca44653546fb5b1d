"use strict";
// The lineage of a population: members down, time across, a bar a segment, an arc a copy.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});
  const make = popgrad.element;

  popgrad.views.lineage = {
    title: "Lineage",
    help: "Each bar is a segment: one member trained for one interval. An arc leads from a donor's end to its " +
      "heir's start. The winner's ancestry is outlined; what has no living descendant is faint. " +
      "Ctrl and the wheel zooms, arrow keys move along the selected lineage.",

    create(container, run, options) {
      const state = { axis: "interval", order: "arcs", colouring: "", zoom: 1, geometry: null, frame: null,
        colours: "", wanted: false, all: false };
      const scroll = make("div", { class: "lineage-scroll", tabindex: -1 });
      const space = make("div", { class: "lineage-space" });
      const stage = make("div", { class: "lineage-stage" });
      const base = popgrad.canvas(stage, "");
      const overlay = popgrad.canvas(stage, "overlay");
      const legend = make("div", { class: "legend" });
      overlay.canvas.setAttribute("role", "img");
      space.append(stage);
      scroll.append(space);
      container.append(scroll, legend);
      const tools = options.tools || container;
      const colours = select("Colour", [["", "score"]], (value) => set({ colouring: value }));
      tools.append(
        colours.label,
        select("Across", [["interval", "intervals"], ["steps", "steps"], ["time", "time"]], (value) => set({ axis: value, zoom: 1 })).label,
        select("Order", [["arcs", "short arcs"], ["number", "number"], ["score", "last score"]], (value) => set({ order: value })).label,
        make("span", { class: "buttons" },
          tool("−", "Zoom out", () => zoomBy(1 / 1.5)), tool("+", "Zoom in", () => zoomBy(1.5)), tool("fit", "Show all", () => zoomBy(0))),
      );

      function set(change) {
        Object.assign(state, change);
        update();
      }

      // --- sizes and drawing ----------------------------------------------------------------------

      function update() {
        fillColours();
        state.geometry = popgrad.lineageGeometry(run, state.axis, state.order, state.colouring);
        resize();
        overlay.canvas.setAttribute("aria-label", "Lineage of " + state.geometry.slots + " members over " +
          run.intervals + " intervals, " + popgrad.integer(state.geometry.arcs) + " copies");
        popgrad.lineageLegend(legend, run, state.geometry, state.colouring);
      }

      function resize() {
        if (!state.geometry) return;
        const whole = container.closest(".is-whole");
        const slots = state.geometry.slots;
        const most = whole ? container.clientHeight - 60 : Math.min(560, Math.max(240, window.innerHeight * 0.55));
        const fitting = (most - 46) / slots;
        const rowHeight = Math.min(whole ? 60 : 34, Math.max(2, fitting, Math.min(14, fitting * state.zoom)));
        state.height = Math.round(Math.min(most, slots * rowHeight + 46));
        state.rowHeight = rowHeight;
        scroll.style.height = state.height + (state.zoom > 1 ? 14 : 0) + "px";
        layOut();
      }

      function layOut() {
        const frame = frameNow();
        space.style.width = Math.max(1, Math.floor(state.zoom > 1 ? frame.contentWidth : 1)) + "px";
        space.style.height = Math.floor(frame.contentHeight) + "px";
        // The bars of the window take their place from it: measured once they are there.
        const [width, height] = [scroll.clientWidth, scroll.clientHeight];
        stage.style.width = width + "px";
        stage.style.height = height + "px";
        base.fit(width, height);
        overlay.fit(width, height);
        paint();
      }

      function frameNow() {
        return popgrad.lineageFrame(state.geometry, {
          width: scroll.clientWidth, height: scroll.clientHeight, zoom: state.zoom, rowHeight: state.rowHeight,
          left: scroll.scrollLeft, top: scroll.scrollTop,
        });
      }

      function paint() {
        state.frame = frameNow();
        popgrad.paintLineage(base.context, run, state.geometry, state.frame);
        popgrad.paintLineageOverlay(overlay.context, run, state.geometry, state.frame);
      }

      // Draw once in the next frame: all, or the overlay alone.
      function soon(all) {
        state.all = state.all || all;
        if (state.wanted) return;
        state.wanted = true;
        requestAnimationFrame(() => {
          const whole = state.all;
          state.wanted = state.all = false;
          if (!state.geometry || !container.isConnected) return;
          if (whole) paint();
          else popgrad.paintLineageOverlay(overlay.context, run, state.geometry, state.frame);
        });
      }

      // Zoom around a point of the canvas; 0 shows all.
      function zoomBy(factor, x) {
        const middle = x === undefined ? scroll.clientWidth / 2 : x;
        const at = state.frame.unitAt(middle);
        const most = Math.max(1, (state.geometry.n / state.geometry.slots) * 60 / Math.max(200, scroll.clientWidth));
        state.zoom = factor ? Math.min(Math.max(1, most), Math.max(1, state.zoom * factor)) : 1;
        resize();
        scroll.scrollLeft = state.frame.innerLeft + at * state.frame.unit - middle;
        paint();
      }

      // --- pointer and selection ------------------------------------------------------------------

      function rowAt(event) {
        const box = overlay.canvas.getBoundingClientRect();
        return popgrad.lineageHit(state.geometry, state.frame, event.clientX - box.left, event.clientY - box.top);
      }

      overlay.canvas.addEventListener("pointermove", (event) => {
        const row = rowAt(event);
        popgrad.selection.setHover(row);
        overlay.canvas.classList.toggle("over-segment", row >= 0);
        if (row >= 0) popgrad.tooltip.show(popgrad.segmentLines(run, row), event);
        else popgrad.tooltip.hide();
      });
      overlay.canvas.addEventListener("pointerleave", () => {
        popgrad.selection.setHover(-1);
        popgrad.tooltip.hide();
      });
      overlay.canvas.addEventListener("click", (event) => popgrad.selection.select(rowAt(event)));
      scroll.addEventListener("scroll", () => soon(true));
      scroll.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        const box = overlay.canvas.getBoundingClientRect();
        zoomBy(Math.exp(-event.deltaY / 300), event.clientX - box.left);
      }, { passive: false });

      function reveal(row) {
        const { frame } = state;
        const [x0, x1, y] = [frame.x0(row), frame.x1(row), frame.y(row)];
        if (x0 < frame.innerLeft) scroll.scrollLeft += x0 - frame.innerLeft - 20;
        if (x1 > frame.innerRight) scroll.scrollLeft += x1 - frame.innerRight + 20;
        if (y < 10) scroll.scrollTop += y - 20;
        if (y > frame.innerBottom - 10) scroll.scrollTop += y - frame.innerBottom + 20;
      }

      let shown = -1;
      const unsubscribe = popgrad.selection.subscribe((selection) => {
        if (!state.frame) return;
        if (selection.row !== shown && selection.row >= 0 && selection.row < state.geometry.n) reveal(selection.row);
        shown = selection.row;
        soon(false);
      });

      // --- controls -------------------------------------------------------------------------------

      function fillColours() {
        const key = JSON.stringify([run.metric, run.names]);
        if (key === state.colours) return;
        state.colours = key;
        const entries = [["", popgrad.visible(run.metric)], ...run.names.map((name) => [name, popgrad.visible(name)])];
        colours.box.replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
        if (!run.names.includes(state.colouring)) state.colouring = "";
        colours.box.value = state.colouring;
      }

      update();
      return {
        update,
        resize,
        destroy: unsubscribe,
      };
    },
  };

  function select(name, entries, change) {
    const box = make("select", { onchange: () => change(box.value) },
      entries.map(([value, text]) => make("option", { value }, text)));
    return { box, label: make("label", {}, name + " ", box) };
  }

  function tool(text, title, click) {
    return make("button", { type: "button", title, "aria-label": title, onclick: click }, text);
  }

  // --- legend -----------------------------------------------------------------------------------

  popgrad.lineageLegend = function (place, run, geometry, colouring) {
    const theme = popgrad.theme();
    const parts = [geometry.scale.words ? words(geometry.scale, colouring) : gradient(run, geometry.scale, colouring)];
    parts.push(entry(swatch("line", theme.winner), "winner’s ancestry"));
    parts.push(entry(swatch("faint", popgrad.ramp(0.6)), "no living descendant"));
    if (run.score.some(Number.isNaN)) parts.push(entry(make("span", { class: "mark-failed" }, "×"), "failed"));
    if (run.parent.some((parent, row) => parent < 0 && run.interval[row] > 0)) {
      parts.push(entry(make("span", { class: "mark-text" }, "○"), "new weights"));
    }
    if (run.transform.some(Boolean)) parts.push(entry(make("span", { class: "mark-text" }, "◇"), "weights transformed"));
    run.roles.forEach((role, i) => {
      if (role) parts.push(entry(swatch("line", popgrad.category(i - 1)), popgrad.visible(role)));
    });
    place.replaceChildren(...parts);
  };

  function entry(sign, text) {
    return make("span", { class: "legend-entry" }, sign, text);
  }

  function swatch(kind, colour) {
    const made = make("span", { class: "swatch is-" + kind });
    made.style.background = colour;
    return made;
  }

  function gradient(run, scale, colouring) {
    const bar = make("span", { class: "gradient" });
    const stops = d3.range(0, 1.001, 0.1).map((t) => popgrad.ramp(scale.reversed ? 1 - t : t));
    bar.style.background = "linear-gradient(to right, " + stops.join(", ") + ")";
    return make("span", { class: "legend-entry" }, popgrad.visible(colouring || run.metric) + (scale.log ? " (log)" : ""),
      make("span", { class: "legend-number" }, (scale.clippedLow ? "≤ " : "") + popgrad.format(scale.low)), bar,
      make("span", { class: "legend-number" }, (scale.clippedHigh ? "≥ " : "") + popgrad.format(scale.high)));
  }

  function words(scale, colouring) {
    return make("span", { class: "legend-entry" }, popgrad.visible(colouring),
      scale.words.slice(0, 12).map((word, i) => entry(swatch("box", popgrad.category(i)), word)));
  }
})();
