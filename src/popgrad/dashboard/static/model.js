"use strict";
// The record of one run as columns that grow, and what is derived from them: lineages, founders,
// the winner's line. A row is the number of a segment; rows keep their numbers as the run grows.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});

  // Columns that are copied from a chunk as they are: name here, name in the JSON.
  const PLAIN = [
    ["member", "member"],
    ["interval", "interval"],
    ["parent", "parent"],
    ["copied", "copied"],
    ["firstStep", "first_step"],
    ["steps", "steps"],
    ["length", "length"],
    ["seconds", "seconds"],
    ["worker", "worker"],
    ["role", "role"],
    ["transform", "transform"],
  ];
  const KEY = 16777216; // more intervals than a run may have

  class Run {
    // Columns, each an array by row:
    //   member, interval, parent (row; -1 = fresh), copied (1 = from a donor's state), firstStep,
    //   steps, length (intervals), score (NaN = failed), seconds, began (seconds since 1970; NaN =
    //   unknown), worker (index into workers), role (index into roles), transform (index into
    //   transforms), hparams[name].
    constructor(header) {
      this.header = header || emptyHeader();
      this.clear();
    }

    // Forget all segments, as at the start of a stream; the object stays the same.
    clear() {
      this.n = 0;
      this.version = (this.version || 0) + 1;
      for (const [name] of PLAIN) this[name] = [];
      this.score = [];
      this.began = [];
      this.hparams = Object.create(null);
      this.workers = [];
      this.roles = [""];
      this.transforms = [""];
      this._rows = new Map();
      this._firstChild = [];
      this._nextChild = [];
      this._founder = [];
      this._cache = new Map();
      this._order = null;
    }

    setHeader(header) {
      this.header = header;
      this.version += 1;
    }

    // Take a chunk of columns. Its first row follows the last one here.
    append(chunk) {
      if (chunk.first !== this.n) {
        throw new Error("a chunk begins at row " + chunk.first + ", expected " + this.n);
      }
      const count = chunk.member.length;
      for (const [name, key] of PLAIN) {
        const given = chunk[key];
        for (let i = 0; i < count; i++) this[name].push(given ? given[i] : 0);
      }
      for (let i = 0; i < count; i++) {
        const score = chunk.score[i];
        const began = chunk.began ? chunk.began[i] : null;
        this.score.push(score === null ? NaN : score);
        this.began.push(began === null ? NaN : began);
      }
      for (const name of Object.keys(chunk.hparams)) {
        const column = this.hparams[name] || (this.hparams[name] = []);
        while (column.length < this.n) column.push(null);
        for (let i = 0; i < count; i++) column.push(chunk.hparams[name][i]);
      }
      this.workers = chunk.workers || this.workers;
      this.roles = chunk.roles || this.roles;
      this.transforms = chunk.transforms || this.transforms;
      this._link(count);
      this.version += 1;
    }

    _link(count) {
      const first = this.n;
      this.n = first + count;
      for (let row = first; row < this.n; row++) {
        this._rows.set(this.member[row] * KEY + this.interval[row], row);
        this._firstChild.push(-1);
        this._nextChild.push(-1);
        this._founder.push(-1);
      }
      for (let row = this.n - 1; row >= first; row--) {
        const parent = this.parent[row];
        if (parent < 0) continue;
        this._nextChild[row] = this._firstChild[parent];
        this._firstChild[parent] = row;
      }
      // A parent of the same chunk may stand behind its child, if a donor was ahead of its heir.
      for (let row = first; row < this.n; row++) this._resolveFounder(row);
    }

    _resolveFounder(row) {
      const way = [];
      while (this._founder[row] < 0 && this.parent[row] >= 0) {
        way.push(row);
        row = this.parent[row];
      }
      const founder = this._founder[row] < 0 ? row : this._founder[row];
      this._founder[row] = founder;
      for (const each of way) this._founder[each] = founder;
    }

    // --- what the run is about ---------------------------------------------------------------

    get metric() {
      return this.header.score.name;
    }

    get lowerIsBetter() {
      return this.header.score.lower_is_better;
    }

    // Length of an interval in words, as it was configured; "" = unknown.
    get intervalWords() {
      const each = popgrad.visible(this.header.interval || "");
      return /^\d+$/.test(each) ? each + (each === "1" ? " step" : " steps") : each;
    }

    // Names of the hyperparameters, in the order of the space.
    get names() {
      return this.header.space.map((each) => each.name);
    }

    // Dimension of a hyperparameter as in the header: kind, scale, low, high, ...; undefined = none.
    dimension(name) {
      return this.header.space.find((each) => each.name === name);
    }

    // Whether score a is better than score b; a failed one (NaN) never is, any other beats it.
    better(a, b) {
      if (Number.isNaN(a)) return false;
      if (Number.isNaN(b)) return true;
      return this.lowerIsBetter ? a < b : a > b;
    }

    failed(row) {
      return Number.isNaN(this.score[row]);
    }

    lastStep(row) {
      return this.firstStep[row] + this.steps[row];
    }

    // Whether a segment starts with new weights although the run had begun.
    reseeded(row) {
      return this.parent[row] < 0 && this.interval[row] > 0;
    }

    // --- ancestry ----------------------------------------------------------------------------

    rowOf(member, interval) {
      const row = this._rows.get(member * KEY + interval);
      return row === undefined ? -1 : row;
    }

    // Row of the fresh ancestor of each row.
    get founder() {
      return this._founder;
    }

    // Rows that start from a row's final state.
    children(row) {
      const found = [];
      for (let child = this._firstChild[row]; child >= 0; child = this._nextChild[child]) {
        found.push(child);
      }
      return found.sort((a, b) => this.interval[a] - this.interval[b] || this.member[a] - this.member[b]);
    }

    // Rows behind a row's final state, root first; the last one is the row itself.
    lineage(row) {
      const found = [];
      while (row >= 0 && found.length <= this.n) {
        found.push(row);
        row = this.parent[row];
      }
      return found.reverse();
    }

    // Value of a derivation, kept until the run has grown.
    cached(name, derive) {
      const kept = this._cache.get(name);
      if (kept && kept.version === this.version) return kept.value;
      const value = derive();
      this._cache.set(name, { version: this.version, value });
      return value;
    }

    // Row of the winner; -1 = there is none.
    get winner() {
      const id = this.header.winner;
      return id ? this.rowOf(id[0], id[1]) : -1;
    }

    // Rows of the winner's lineage, root first.
    get winnerLineage() {
      return this.cached("winnerLineage", () => this.lineage(this.winner));
    }

    // The same as a Set.
    get winnerLine() {
      return this.cached("winnerLine", () => new Set(this.winnerLineage));
    }

    // Rows whose states the present members have.
    get present() {
      return this.cached("present", () =>
        this.header.present.map((id) => this.rowOf(id[0], id[1])).filter((row) => row >= 0),
      );
    }

    // Set of rows that are ancestors of a present member's state, these states included.
    get living() {
      return this.cached("living", () => {
        const found = new Set();
        for (let row of this.present) {
          while (row >= 0 && !found.has(row)) {
            found.add(row);
            row = this.parent[row];
          }
        }
        return found;
      });
    }

    // Members that occur, ascending.
    get members() {
      return this.cached("members", () =>
        Array.from(new Set(this.member)).sort((a, b) => a - b),
      );
    }

    // Position (from 0) by member, such that arcs from donors to heirs are short. It is found anew
    // only when the copies have doubled, so that rows stay in their places while a run is watched.
    get slotOrder() {
      const members = this.members;
      const copies = this.cached("copies", () => this.copied.reduce((sum, each) => sum + each, 0));
      const kept = this._order;
      if (!kept || kept.members !== members.length || copies >= 2 * Math.max(4, kept.copies)) {
        this._order = { members: members.length, copies, places: shortArcs(this, members) };
      }
      return this._order.places;
    }

    // Segments, intervals and so on of the whole run.
    get intervals() {
      return this.cached("intervals", () => {
        let most = 0;
        for (const each of this.interval) if (each + 1 > most) most = each + 1;
        return most;
      });
    }

    get maxStep() {
      return this.cached("maxStep", () => {
        let most = 0;
        for (let row = 0; row < this.n; row++) most = Math.max(most, this.lastStep(row));
        return most;
      });
    }
  }

  function emptyHeader() {
    return {
      format: 1, name: "", task: "", strategy: "", members: 0, intervals: 0,
      score: { name: "score", lower_is_better: false }, space: [], sizes: [],
      present: [], winner: null, status: { state: "", text: "" }, config: {},
    };
  }

  // Order members so that the sum of the distances between donors and heirs is small: place each
  // member at the mean of its partners again and again, then let neighbours change places.
  function shortArcs(run, members) {
    const index = new Map(members.map((member, place) => [member, place]));
    const weights = members.map(() => new Map());
    for (let row = 0; row < run.n; row++) {
      if (!run.copied[row] || run.parent[row] < 0) continue;
      const a = index.get(run.member[run.parent[row]]);
      const b = index.get(run.member[row]);
      if (a === b) continue;
      weights[a].set(b, (weights[a].get(b) || 0) + 1);
      weights[b].set(a, (weights[b].get(a) || 0) + 1);
    }

    let order = members.map((_, i) => i);
    let place = order.slice();
    let best = place.slice();
    let least = cost(weights, place);
    for (let round = 0; round < 30; round++) {
      const target = order.map((i) => mean(weights[i], place, place[i]));
      const sorted = order.map((_, i) => i).sort((a, b) => target[a] - target[b] || a - b);
      sorted.forEach((i, position) => (place[i] = position));
      const now = cost(weights, place);
      if (now < least) {
        least = now;
        best = place.slice();
      }
    }
    if (members.length <= 400) best = swapped(weights, best);
    return new Map(members.map((member, i) => [member, best[i]]));
  }

  function mean(partners, place, own) {
    let sum = own;
    let weight = 1;
    for (const [other, count] of partners) {
      sum += place[other] * count;
      weight += count;
    }
    return sum / weight;
  }

  function cost(weights, place) {
    let sum = 0;
    weights.forEach((partners, i) => {
      for (const [other, count] of partners) sum += count * Math.abs(place[i] - place[other]);
    });
    return sum;
  }

  function swapped(weights, place) {
    const at = [];
    place.forEach((position, i) => (at[position] = i));
    const own = (i) => {
      let sum = 0;
      for (const [other, count] of weights[i]) sum += count * Math.abs(place[i] - place[other]);
      return sum;
    };
    for (let round = 0; round < 40; round++) {
      let moved = false;
      for (let gap = 1; gap <= Math.min(8, at.length - 1); gap++) {
        for (let p = 0; p + gap < at.length; p++) {
          const [a, b] = [at[p], at[p + gap]];
          const before = own(a) + own(b);
          [place[a], place[b]] = [p + gap, p];
          if (own(a) + own(b) < before) {
            [at[p], at[p + gap]] = [b, a];
            moved = true;
          } else {
            [place[a], place[b]] = [p, p + gap];
          }
        }
      }
      if (!moved) break;
    }
    return place;
  }

  popgrad.Run = Run;
})();
