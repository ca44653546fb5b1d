"use strict";

// Statistics of a run: pure functions, and the same rules as in popgrad.record (copies, timeline),
// which a test holds against each other. A run is an object with the columns of model.js.
(function () {
  /** Seconds without training, and multiples of the longest segment, up to which a run waits. */
  const LONGEST_WAIT = 10;
  const LONGEST_SEGMENTS = 3;

  /** Seconds by which times may seem to overlap, since those of a record are rounded to milliseconds. */
  const CLOCK = 0.002;

  /** Share of the scores, from the worst, that a scale may leave out. */
  const LOWEST_SHOWN = 0.05;

  const alive = (run, row) => Number.isFinite(run.score[row]);

  /** Return the p-quantile, p in [0, 1], of ascending numbers, with linear interpolation. */
  function quantile(ascending, p) {
    if (!ascending.length) return NaN;
    const at = p * (ascending.length - 1);
    const below = Math.floor(at);
    const above = Math.min(below + 1, ascending.length - 1);
    return ascending[below] + (at - below) * (ascending[above] - ascending[below]);
  }

  const ascending = (numbers) => Float64Array.from(numbers).sort();

  // --- positions of hyperparameters ---------------------------------------------------------------

  /** Return a number on the scale of a dimension, where equal distances count the same. */
  function transformed(dimension, value) {
    if (dimension.scale === "log") return Math.log(value);
    if (dimension.scale === "one-minus") return -Math.log1p(-value);
    return value;
  }

  /** Return the position of a value in [0, 1] of the range of its dimension; NaN = it has none. */
  function encode(dimension, value) {
    if (dimension.options) {
      const last = dimension.options.length - 1;
      const at = dimension.options.indexOf(value);
      if (at < 0) return NaN;
      return last ? at / last : 0;
    }
    if (dimension.kind === "constant") return 0;
    if (typeof value !== "number") return NaN;
    const low = transformed(dimension, dimension.low);
    const high = transformed(dimension, dimension.high);
    if (!(high > low)) return 0;
    const at = (transformed(dimension, value) - low) / (high - low);
    return Math.min(1, Math.max(0, at));
  }

  /** Return the dimensions of a run that are searched: all but constants. */
  const searched = (run) => run.header.space.filter((each) => each.kind !== "constant");

  // --- intervals ----------------------------------------------------------------------------------

  /** Return the rows of every interval: {intervals: ascending numbers, rows: a list for each}. */
  function byInterval(run) {
    const groups = new Map();
    for (let row = 0; row < run.n; row++) {
      const group = groups.get(run.interval[row]);
      if (group) group.push(row);
      else groups.set(run.interval[row], [row]);
    }
    const intervals = [...groups.keys()].sort((a, b) => a - b);
    return { intervals, rows: intervals.map((each) => groups.get(each)) };
  }

  // --- copies -------------------------------------------------------------------------------------

  /** Return the copies: a list of {donor, heir (members), rows (of the heirs' segments)}. */
  function copies(run) {
    const found = new Map();
    for (let row = 0; row < run.n; row++) {
      if (!run.copied[row] || run.parent[row] < 0) continue;
      const donor = run.member[run.parent[row]];
      const heir = run.member[row];
      const key = `${donor} ${heir}`;
      if (!found.has(key)) found.set(key, { donor, heir, rows: [] });
      found.get(key).rows.push(row);
    }
    return [...found.values()].sort((a, b) => a.donor - b.donor || a.heir - b.heir);
  }

  // --- workers and the clock ----------------------------------------------------------------------

  /** Return the times in which any of the spans lasts: [begin, end], ascending, without overlaps. */
  function union(spans) {
    const times = [];
    for (const { begin, end } of spans) {
      const last = times[times.length - 1];
      if (last && begin <= last[1]) last[1] = Math.max(last[1], end);
      else times.push([begin, end]);
    }
    return times;
  }

  /** Return [begin, end] of each pause: no worker trained, longer than any wait. */
  function pausesOf(spans) {
    let longest = 0;
    for (const span of spans) longest = Math.max(longest, span.end - span.begin);
    const limit = Math.max(LONGEST_WAIT, LONGEST_SEGMENTS * longest);
    const times = union(spans);
    const pauses = [];
    for (let i = 1; i < times.length; i++) {
      if (times[i][0] - times[i - 1][1] > limit) pauses.push([times[i - 1][1], times[i][0]]);
    }
    return pauses;
  }

  /** Shift spans to a clock that starts at 0 and stands still in the pauses. */
  function shift(spans, pauses) {
    let lost = spans.length ? spans[0].begin : 0;
    let passed = 0;
    for (const span of spans) {
      for (; passed < pauses.length && pauses[passed][1] <= span.begin; passed++) {
        lost += pauses[passed][1] - pauses[passed][0];
      }
      span.begin -= lost;
      span.end -= lost;
    }
  }

  /** Give each span of a worker the lowest lane that is free; return the number of lanes. */
  function setLanes(spans) {
    const free = [];
    for (const span of spans) {
      let lane = free.findIndex((end) => end <= span.begin + CLOCK);
      if (lane < 0) lane = free.length;
      free[lane] = span.end;
      span.lane = lane;
    }
    return Math.max(1, free.length);
  }

  /**
   * Return the training of a run by worker, on a clock without pauses.
   *
   * workers (a list of {name, spans: [{row, begin, end, lane}], lanes, busy: share of the time in
   * [0, 1]}), seconds, pauses (a list of {at, length} in seconds), unknown (segments without a
   * clock time), waiting (share of the time of all workers).
   */
  function timeline(run) {
    const spans = [];
    let unknown = 0;
    for (let row = 0; row < run.n; row++) {
      const begin = run.began[row];
      if (begin === null || !Number.isFinite(begin)) unknown++;
      else spans.push({ row, begin, end: begin + Math.max(0, run.seconds[row] || 0), lane: 0 });
    }
    spans.sort((a, b) => a.begin - b.begin || a.row - b.row);
    const first = spans.length ? spans[0].begin : 0;
    const found = pausesOf(spans);
    shift(spans, found);

    let lost = first;
    const pauses = found.map(([begin, end]) => {
      const pause = { at: begin - lost, length: end - begin };
      lost += end - begin;
      return pause;
    });
    let seconds = 0;
    for (const span of spans) seconds = Math.max(seconds, span.end);
    const workers = byWorker(run, spans, seconds);
    const busy = workers.reduce((sum, worker) => sum + worker.busy, 0);
    const waiting = workers.length ? 1 - busy / workers.length : 0;
    return { workers, seconds, pauses, unknown, waiting };
  }

  function byWorker(run, spans, seconds) {
    const groups = new Map();
    for (const span of spans) {
      const worker = run.worker[span.row];
      if (!groups.has(worker)) groups.set(worker, []);
      groups.get(worker).push(span);
    }
    const inOrder = new Intl.Collator("en", { numeric: true });
    const workers = [...groups].map(([worker, own]) => {
      const trained = union(own).reduce((sum, [begin, end]) => sum + end - begin, 0);
      const name = (run.workers && run.workers[worker]) || "";
      const busy = seconds > 0 ? Math.min(1, trained / seconds) : 0;
      return { name, spans: own, lanes: setLanes(own), busy };
    });
    return workers.sort((a, b) => inOrder.compare(a.name, b.name));
  }

  // --- scores -------------------------------------------------------------------------------------

  /**
   * Return the best and the median score of groups of segments, each {at, best, median}: its place on
   * the axis, the row of the best score (-1 = all failed), and the median score. A group is an interval.
   * `by` is "interval" or "steps": the median of its training steps.
   */
  function scoreLines(run, by) {
    const { intervals, rows } = byInterval(run);
    const groups = by === "steps" ? overSteps(run, rows) : rows;
    return groups.map((group, i) => {
      const living = group.filter((row) => alive(run, row));
      return {
        at: by === "steps" ? stepsOf(run, group) : intervals[i],
        best: living.reduce((a, b) => (a < 0 || run.better(run.score[b], run.score[a]) ? b : a), -1),
        median: quantile(ascending(living.map((row) => run.score[row])), 0.5),
      };
    });
  }

  const stepsOf = (run, group) => quantile(ascending(group.map((row) => run.lastStep(row))), 0.5);

  /**
   * Return groups of the segments that have not failed, in order of their training steps: the intervals.
   * If members have started fresh, later intervals may have fewer steps behind them; then the groups are
   * at most as many, none smaller than if they were equal in size, and segments with equal steps are in
   * one group.
   */
  function overSteps(run, rows) {
    const groups = rows.map((group) => group.filter((row) => alive(run, row))).filter((group) => group.length);
    const ends = groups.map((group) => stepsOf(run, group));
    if (ends.every((end, i) => !i || ends[i - 1] < end)) return groups;

    const least = groups.flat().length / groups.length;
    const bySteps = d3.group(groups.flat().sort((a, b) => run.lastStep(a) - run.lastStep(b)), (row) => run.lastStep(row));
    const joined = [[]];
    for (const equal of bySteps.values()) {
      if (joined[joined.length - 1].length >= least) joined.push([]);
      joined.push(joined.pop().concat(equal));
    }
    if (joined.length > 1 && joined[joined.length - 1].length < least) {
      const rest = joined.pop();
      joined.push(joined.pop().concat(rest));
    }
    return joined;
  }

  /**
   * Return the range of scores to draw: {low, high, cut}. Where a few bad ones would flatten all
   * others the worst 5 % are left out, and `cut` is true.
   */
  function scoreRange(scores, lowerIsBetter) {
    const found = ascending(Array.from(scores).filter(Number.isFinite));
    if (!found.length) return { low: 0, high: 1, cut: false };
    const least = found[0];
    const most = found[found.length - 1];
    const best = lowerIsBetter ? least : most;
    const worst = lowerIsBetter ? most : least;
    const limit = quantile(found, lowerIsBetter ? 1 - LOWEST_SHOWN : LOWEST_SHOWN);
    const shown = Math.abs(best - limit);
    const cut = shown > 0 && 3 * shown < Math.abs(best - worst);
    if (!cut) return { low: least, high: most, cut };
    return { low: Math.min(best, limit), high: Math.max(best, limit), cut };
  }

  popgrad.statistics = {
    quantile, encode, searched, byInterval, copies, timeline, scoreLines, scoreRange,
  };
})();
