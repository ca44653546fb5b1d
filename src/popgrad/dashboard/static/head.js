"use strict";
// The top of a run's page: what it was, its winner, the verdict, and its configuration.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});
  const make = popgrad.element;

  popgrad.runHead = function (place, source) {
    const run = source.run;
    const header = run.header;
    const button = place.querySelector(".configuration-button");
    const open = Boolean(button) && button.getAttribute("aria-expanded") === "true";
    const focused = Boolean(button) && document.activeElement === button;
    const folded = configuration(header);
    folded.hidden = !open;
    const toggle = make("button", { type: "button", class: "quiet configuration-button", "aria-expanded": String(open),
      onclick: () => {
        folded.hidden = !folded.hidden;
        toggle.setAttribute("aria-expanded", String(!folded.hidden));
      } }, "Configuration");
    const words = header.status.text || header.status.state || "";
    place.replaceChildren(
      make("div", { class: "page-head" },
        make("h1", {}, popgrad.visible(header.name)),
        make("span", { class: "state", "data-state": header.status.state }, popgrad.visible(words)),
        make("dl", { class: "facts" }, facts(run).map(([name, value]) =>
          make("div", { class: "fact" }, make("dt", {}, name), make("dd", {}, value)))),
        toggle),
      folded,
      make("div", { class: "winner" }, winner(run), verdict(source)),
    );
    if (focused) toggle.focus();
  };

  function facts(run) {
    const header = run.header;
    const each = run.intervalWords ? " × " + run.intervalWords : "";
    return [
      ["Task", popgrad.visible(header.task)],
      ["Strategy", popgrad.visible(header.strategy)],
      ["Members", popgrad.format(header.members)],
      ["Intervals", popgrad.format(header.intervals) + each],
      ["Seed", popgrad.format(header.seed)],
    ];
  }

  function winner(run) {
    const row = run.winner;
    if (row < 0) return make("div", { class: "winner-line" }, make("span", { class: "winner-word" }, "No winner yet"));
    const values = run.names.map((name) =>
      make("span", { class: "value" }, make("span", { class: "value-name" }, popgrad.visible(name)),
        make("span", { class: "value-number" }, popgrad.format(run.hparams[name][row]))));
    const pick = make("button", { type: "button", class: "link", title: "Select the winner's last segment",
      onclick: () => popgrad.selection.select(row) }, "member " + run.member[row]);
    return make("div", { class: "winner-line" },
      make("span", { class: "winner-word" }, run.header.status.state === "finished" ? "Winner" : "Best now"), pick,
      make("span", { class: "value" }, make("span", { class: "value-name" },
        popgrad.visible(run.metric) + (run.lowerIsBetter ? " (lower is better)" : "")),
      make("span", { class: "value-number" }, popgrad.format(run.score[row]))),
      values);
  }

  function verdict(source) {
    const header = source.run.header;
    const words = header.verdict;
    if (words) return make("p", { class: "verdict" }, popgrad.visible(words));
    if (header.status.state !== "finished") return null;
    const path = header.directory || "DIR";
    return make("p", { class: "verdict is-open" }, "Did the schedule help, or would constants do? ",
      make("code", { class: "command" }, popgrad.command("popgrad ablate " + path)), " finds out.");
  }

  function configuration(header) {
    const rows = header.space.map((each) => ["space." + popgrad.visible(each.name), popgrad.visible(each.text)]);
    flatten("", header.config, rows);
    return make("div", { class: "configuration panel" }, make("dl", {}, rows.map(([key, value]) =>
      make("div", {}, make("dt", {}, popgrad.visible(key)), make("dd", {}, value)))));
  }

  // Keys with their values; what is unset is left out.
  function flatten(prefix, value, rows) {
    for (const [key, each] of Object.entries(value || {})) {
      if (each === null || (Array.isArray(each) && !each.length)) continue;
      if (typeof each === "object" && !Array.isArray(each)) flatten(prefix + key + ".", each, rows);
      else rows.push([prefix + key, popgrad.format(each)]);
    }
  }
})();
