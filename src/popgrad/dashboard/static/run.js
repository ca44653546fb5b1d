"use strict";
// The page of one run: what it was, its views in a grid, and the card of the chosen segment.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});
  const make = popgrad.element;
  // Views in the order of the page; others that are there follow.
  const ORDER = ["lineage", "schedule", "scores", "founders", "copies", "results", "timeline"];

  popgrad.runPage = function (place, source) {
    const run = source.run;
    const page = { panels: [], wanted: false, gone: false, announced: -1, drewAt: 0, took: 0 };
    const head = make("div", { class: "run-head" });
    const grid = make("div", { class: "grid" });
    const side = make("aside", { class: "side", "aria-label": "Segment" });
    place.append(head, make("div", { class: "columns" }, grid, side));
    if (!source.live) place.append(footer(source));

    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const panel = page.panels.find((each) => each.section === entry.target);
        panel.visible = entry.isIntersecting;
        if (panel.visible) draw(panel);
      }
    }, { rootMargin: "200px" });

    function build() {
      const names = ORDER.filter((name) => popgrad.views[name]);
      for (const name of Object.keys(popgrad.views)) {
        if (!names.includes(name) && name !== "card") names.push(name);
      }
      page.panels = names.map((name) => panelOf(name, popgrad.views[name]));
      for (const panel of page.panels) {
        grid.append(panel.section);
        seen.observe(panel.section);
      }
      page.card = popgrad.views.card.create(side, run, { source });
    }

    function panelOf(name, view) {
      const tools = make("div", { class: "tools" });
      const body = make("div", { class: "view", tabindex: 0, role: "group",
        "aria-label": view.title + ". Arrow keys move along lineages and between members; Escape ends the selection." });
      const wide = make("button", { type: "button", class: "quiet", title: "Whole window", "aria-label": "Whole window: " + view.title,
        onclick: () => {
          const on = section.classList.toggle("is-whole");
          document.body.classList.toggle("has-whole", on);
          wide.textContent = on ? "×" : "⤢";
          if (panel.view) panel.view.resize();
        } }, "⤢");
      const section = make("section", { class: "panel", "data-view": name, "aria-label": view.title },
        make("div", { class: "panel-head" }, make("h2", {}, view.title),
          make("span", { class: "help", tabindex: 0, role: "note", "aria-label": view.help, "data-help": view.help }, "?"),
          tools, wide),
        body);
      const panel = { name, section, body, tools, kind: view, view: null, visible: false, version: -1 };
      return panel;
    }

    function draw(panel) {
      if (!run.n || panel.version === run.version) return;
      panel.version = run.version;
      if (panel.view) panel.view.update();
      else panel.view = panel.kind.create(panel.body, run, { source, tools: panel.tools });
    }

    // Draw once for all that has arrived until the next frame. A large run takes longer: then drawing
    // has a quarter of the time at most, so that the page answers.
    function changed() {
      if (page.wanted) return;
      page.wanted = true;
      const pause = page.drewAt + 3 * page.took - performance.now();
      if (pause > 16) setTimeout(() => requestAnimationFrame(drawNow), pause);
      else requestAnimationFrame(drawNow);
    }

    function drawNow() {
      page.wanted = false;
      if (page.gone) return;
      const begin = performance.now();
      popgrad.runHead(head, source);
      if (source.live) {
        const training = run.header.status.state === "in progress";
        popgrad.connection(training ? "live" : "done");
        popgrad.crumbs(["runs", "#"], [popgrad.visible(run.header.name)]);
      }
      document.title = popgrad.visible(run.header.name) + " · popgrad";
      for (const panel of page.panels) if (panel.visible) draw(panel);
      page.card.update();
      page.drewAt = performance.now();
      page.took = page.drewAt - begin;
    }

    const unsubscribe = popgrad.selection.subscribe((selection) => {
      const row = selection.row;
      if (row < 0 || row >= run.n || row === page.announced) return;
      page.announced = row;
      popgrad.announce("Member " + run.member[row] + ", interval " + run.interval[row] + ", " +
        popgrad.visible(run.metric) + " " + (run.failed(row) ? "failed" : popgrad.format(run.score[row])));
    });

    function keys(event) {
      if (event.target.closest("input, select, textarea, summary") || event.altKey || event.ctrlKey || event.metaKey) return;
      const inside = event.target.closest(".view, .side");
      if (!inside && event.key !== "Escape") return;
      if (event.target.closest("button, a") && event.key === "Enter") return;
      const row = popgrad.move(run, popgrad.selection.row, event.key, event.shiftKey);
      if (row === null) return;
      event.preventDefault();
      if (event.key === "Escape" && document.body.classList.contains("has-whole")) {
        grid.querySelector(".is-whole button.quiet:last-child").click();
        return;
      }
      popgrad.selection.select(row);
    }
    document.addEventListener("keydown", keys);

    // A printed page has every view, also those that were never in the window.
    const drawAll = () => page.panels.forEach(draw);
    window.addEventListener("beforeprint", drawAll);

    build();
    source.start(changed);
    return {
      run,
      redraw() {
        popgrad.runHead(head, source);
        for (const panel of page.panels) {
          panel.version = -1;
          if (panel.visible) draw(panel);
        }
        page.card.update();
      },
      resize() {
        for (const panel of page.panels) if (panel.view) panel.view.resize();
      },
      destroy() {
        page.gone = true;
        source.stop();
        seen.disconnect();
        unsubscribe();
        document.removeEventListener("keydown", keys);
        window.removeEventListener("beforeprint", drawAll);
        document.body.classList.remove("has-whole");
        for (const panel of page.panels) if (panel.view) panel.view.destroy();
        page.card.destroy();
      },
    };
  };

  // What a report says of itself.
  function footer(source) {
    const left = source.cardsLeftOut;
    return make("footer", { class: "foot" }, "Report of " + popgrad.integer(source.run.n) + " segments by popgrad",
      left ? ". To keep the file small, " + popgrad.integer(left) + " of their cards are short; popgrad dashboard shows all." : ".");
  }

  // Row that a key moves to from a row: left to its parent, right to what continues it (with shift
  // along the member's own slot), up and down to the slots beside it, Enter to the winner, Escape
  // to none (-1); null = the key moves nothing.
  popgrad.move = function (run, row, key, shift) {
    if (key === "Escape") return -1;
    if (key === "Enter" && row < 0) return run.winner;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[key];
    if (key === "Home" && row >= 0) return run.lineage(row)[0];
    if (key === "End" && row >= 0) return run.winner < 0 ? row : run.winner;
    if (!step) return null;
    if (row < 0) return run.winner >= 0 ? run.winner : run.n - 1;

    if (key === "ArrowUp" || key === "ArrowDown") return beside(run, row, step);
    const own = run.rowOf(run.member[row], run.interval[row] + step);
    if (shift) return own >= 0 ? own : row;
    if (step < 0) return run.parent[row] >= 0 ? run.parent[row] : row;
    const children = run.children(row);
    const line = children.find((child) => run.winnerLine.has(child));
    const next = line !== undefined ? line : children.find((child) => run.member[child] === run.member[row]);
    if (next !== undefined) return next;
    return children.length ? children[0] : own >= 0 ? own : row;
  };

  function beside(run, row, step) {
    const order = run.slotOrder;
    const members = run.members.slice().sort((a, b) => order.get(a) - order.get(b));
    const interval = run.interval[row];
    for (let place = order.get(run.member[row]) + step; place >= 0 && place < members.length; place += step) {
      const found = run.rowOf(members[place], interval);
      if (found >= 0) return found;
    }
    return row;
  }
})();
