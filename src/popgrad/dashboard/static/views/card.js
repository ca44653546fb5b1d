"use strict";
// The card of the chosen segment: everything that is recorded of it, and the line that replays it.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});
  const make = popgrad.element;
  const SHOWN = 12; // children and samples that are listed

  popgrad.views.card = {
    title: "Segment",
    help: "Everything that is recorded of the chosen segment; without a choice, of the winner's last one.",

    create(container, run, options) {
      const state = { key: "", wanted: 0 };

      // The card is asked for anew only if it is of another segment, or its children have changed.
      async function update() {
        const chosen = popgrad.selection.row;
        const row = chosen >= 0 && chosen < run.n ? chosen : run.winner;
        const key = [row, chosen === row, row < 0 ? 0 : run.children(row).length, row === run.winner].join();
        if (key === state.key) return;
        state.key = key;
        if (row < 0) {
          container.replaceChildren(make("p", { class: "empty" }, "Select a segment to see its card."));
          return;
        }
        const wanted = (state.wanted += 1);
        let [card, problem] = [null, ""];
        try {
          card = await options.source.card(row);
        } catch (error) {
          problem = error.message;
        }
        if (wanted === state.wanted) draw(container, run, row, card, problem, options);
      }

      const unsubscribe = popgrad.selection.subscribe(update);
      update();
      return { update, resize() {}, destroy: unsubscribe };
    },
  };

  function draw(container, run, row, found, problem, options) {
    const card = found || fromColumns(run, row);
    const focus = container.contains(document.activeElement) ? document.activeElement.dataset.part : null;
    container.replaceChildren(
      ...[
        title(run, row),
        score(run, row, card),
        hparams(run, card),
        facts(run, row, card, options),
        card.error ? error(card) : null,
        family(run, row),
        card.replay ? replay(card) : null,
        found ? null : make("p", { class: "card-note" }, problem ? "The card cannot be had: " + popgrad.visible(problem)
          : "To keep this file small, what else is recorded of this segment was left out."),
      ].filter(Boolean),
    );
    container.dataset.row = row;
    const again = focus && container.querySelector('[data-part="' + focus + '"]');
    if (again) again.focus();
  }

  // What the columns know, where the card itself is not at hand.
  function fromColumns(run, row) {
    const parent = run.parent[row];
    const values = (of) => Object.fromEntries(run.names.map((name) => [name, run.hparams[name][of]]));
    return {
      hparams: values(row), changes: {}, parent_hparams: parent < 0 ? null : values(parent),
      first_step: run.firstStep[row], last_step: run.lastStep(row), metrics: {}, metric_samples: {}, evaluations: [],
      length: run.length[row], seconds: run.seconds[row], worker: run.workers[run.worker[row]] || "",
      began: Number.isFinite(run.began[row]) ? run.began[row] : null,
      role: run.roles[run.role[row]] || "", transform: run.transforms[run.transform[row]] || null, transform_settings: {},
    };
  }

  // "shrink-perturb (keep 0.2, noise 0.1)".
  function transformOf(card) {
    const settings = Object.entries(card.transform_settings).map(([name, value]) => popgrad.visible(name) + " " + popgrad.format(value));
    return popgrad.visible(card.transform) + (settings.length ? " (" + settings.join(", ") + ")" : "");
  }

  function title(run, row) {
    const badges = [];
    if (row === run.winner) badges.push(["winner", "is-winner"]);
    else if (run.winnerLine.has(row)) badges.push(["winner’s ancestor", "is-winner"]);
    if (run.failed(row)) badges.push(["failed", "is-failed"]);
    if (run.reseeded(row)) badges.push(["new weights", ""]);
    if (run.copied[row]) badges.push(["copy", ""]);
    if (run.n && !run.living.has(row)) badges.push(["no living descendant", ""]);
    return make("div", { class: "card-title" },
      make("h2", {}, "Member " + run.member[row] + " · interval " + run.interval[row]),
      badges.map(([text, kind]) => make("span", { class: "badge " + kind }, text)));
  }

  function score(run, row, card) {
    const others = Object.entries(card.metrics || {}).filter(([name]) => name !== run.metric);
    const parent = run.parent[row];
    const step = parent < 0 || run.failed(row) || run.failed(parent) ? null : run.score[row] - run.score[parent];
    return make("div", { class: "card-score" },
      make("div", { class: "card-metric" }, popgrad.visible(run.metric),
        step === null ? null : make("span", { class: "card-step", title: "Against the segment that it started from" },
          (step > 0 ? "+" : step < 0 ? "−" : "±") + popgrad.format(Math.abs(step))),
        make("span", { class: "card-number" }, run.failed(row) ? "failed" : popgrad.format(run.score[row]))),
      others.map(([name, value]) => make("div", { class: "card-metric is-small" }, popgrad.visible(name),
        make("span", { class: "card-number" }, popgrad.format(value)))));
  }

  // --- hyperparameters --------------------------------------------------------------------------

  function hparams(run, card) {
    const names = Object.keys(card.hparams).sort((a, b) => place(run, a) - place(run, b));
    return make("table", { class: "card-table" },
      make("caption", { class: "unseen" }, "Hyperparameters and what changed them"),
      make("tbody", {}, names.map((name) => {
        const value = card.hparams[name];
        const before = card.parent_hparams ? card.parent_hparams[name] : undefined;
        return make("tr", {}, make("th", { scope: "row" }, popgrad.visible(name)),
          make("td", { class: "card-value" }, popgrad.format(value)),
          make("td", { class: "card-change" }, change((card.changes || {})[name], before, value)));
      })));
  }

  function place(run, name) {
    const at = run.names.indexOf(name);
    return at < 0 ? 1e6 : at;
  }

  // "× 0.8, was 0.0242", "kept", "resampled, was relu".
  function change(origin, before, value) {
    const changed = before !== undefined && JSON.stringify(before) !== JSON.stringify(value);
    const was = changed ? "was " + popgrad.format(before) : "";
    let how = "";
    if (typeof origin === "number") how = "× " + popgrad.format(origin);
    else if (origin !== undefined) how = origin === "inherited" ? "kept" : popgrad.visible(String(origin));
    return [how, was].filter(Boolean).join(", ");
  }

  // --- facts ------------------------------------------------------------------------------------

  function facts(run, row, card, options) {
    const rows = [
      ["Steps", popgrad.integer(card.first_step) + " – " + popgrad.integer(card.last_step)],
      card.samples ? ["Samples", popgrad.integer(card.samples) + " along the lineage"] : null,
      card.length > 1 ? ["Length", card.length + " intervals"] : null,
      card.role ? ["Role", popgrad.visible(card.role)] : null,
      card.transform ? ["Transform", transformOf(card)] : null,
      ["Duration", popgrad.duration(card.seconds)],
      card.began ? ["Began", popgrad.clock(card.began)] : null,
      card.worker ? ["Worker", popgrad.visible(card.worker)] : null,
      card.checkpoint === undefined || card.checkpoint === null ? null
        : ["Checkpoint", card.checkpoint ? "kept" : card.digest ? "not kept; it can be trained again" : "none"],
      card.digest ? ["State", make("code", { title: card.digest }, card.digest.slice(0, 12))] : null,
    ];
    for (const [name, samples] of Object.entries(card.metric_samples || {})) {
      const shown = samples.slice(0, SHOWN).map(popgrad.format).join(", ");
      rows.push([popgrad.visible(name) + " samples", shown + (samples.length > SHOWN ? ", … (" + samples.length + ")" : "")]);
    }
    if ((card.evaluations || []).length > 1) {
      rows.push(["Evaluations", card.evaluations.slice(-SHOWN).map(([step, metrics]) =>
        popgrad.integer(card.first_step + step) + ": " + popgrad.format(metrics[run.metric])).join(" · ")]);
    }
    return make("dl", { class: "card-facts" }, rows.filter(Boolean).map(([name, value]) =>
      [make("dt", {}, name), make("dd", {}, value)]));
  }

  function error(card) {
    const lines = String(card.error).trim().split("\n");
    return make("details", { class: "card-error" },
      make("summary", {}, popgrad.visible(lines[lines.length - 1])),
      make("pre", {}, lines.map(popgrad.visible).join("\n")));
  }

  // --- family -----------------------------------------------------------------------------------

  function family(run, row) {
    const parent = run.parent[row];
    const children = run.children(row);
    const links = children.slice(0, SHOWN).flatMap((child, i) => [i ? ", " : null, link(run, child, "child-" + i)]);
    if (children.length > SHOWN) links.push(" and " + (children.length - SHOWN) + " more");
    return make("dl", { class: "card-facts" },
      make("dt", {}, "Started from"),
      make("dd", {}, parent < 0 ? "new weights" : link(run, parent, "parent")),
      make("dt", {}, "Continued by"),
      make("dd", {}, children.length ? links : run.present.includes(row) ? "in the population" : "none"));
  }

  function link(run, row, part) {
    return make("button", { type: "button", class: "link", "data-part": part,
      onclick: () => popgrad.selection.select(row),
      onpointerenter: () => popgrad.selection.setHover(row),
      onpointerleave: () => popgrad.selection.setHover(-1) },
    "member " + run.member[row] + " · " + run.interval[row]);
  }

  // --- the line that replays it -----------------------------------------------------------------

  function replay(card) {
    const button = make("button", { type: "button", "data-part": "copy", onclick: async () => {
      button.textContent = (await popgrad.copy(card.replay)) ? "Copied" : "Select it";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    } }, "Copy");
    return make("div", { class: "card-replay" },
      make("div", { class: "card-replay-head" }, make("span", {}, "Train it again, bit for bit"), button),
      make("code", { class: "command" }, popgrad.command(card.replay)));
  }

  // A command whose lines break between its words only.
  popgrad.command = (text) =>
    popgrad.visible(text).split(" ").flatMap((word, i) => [i ? " " : null, make("span", {}, word)]);

  // Copy a text; false = the browser does not permit it.
  popgrad.copy = async function (text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const box = make("textarea", { class: "unseen", readonly: true });
      box.value = text;
      document.body.append(box);
      box.select();
      const done = document.execCommand("copy");
      box.remove();
      return done;
    }
  };
})();
