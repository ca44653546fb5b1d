"use strict";

// Diversity of a population: shares of its founders, and how far apart its hyperparameters are. The
// rules are those of popgrad.record.diversity.
(function () {
  const { statistics } = popgrad;
  const { quantile, encode, searched, byInterval } = statistics;

  /** Percentiles of the members between which the spread of a hyperparameter is measured. */
  const LOW = 0.1;
  const HIGH = 0.9;

  /** Members without a failure that an interval needs for a statement on its diversity. */
  const FEWEST = 4;

  /** Effective founders below which one founder has nearly all members. */
  const ONE_FOUNDER = 1.5;

  /** Share of a run before whose end more than one founder should be left. */
  const EARLY = 0.5;

  /** Share of its range below which the spread of a hyperparameter is a collapse. */
  const NARROW = 0.05;

  /** Founders that have a colour of their own. */
  const COLOURED = 7;

  const alive = (run, row) => Number.isFinite(run.score[row]);

  /** Return the effective number of kinds of some counts: the exponential of their entropy. */
  function effectiveNumber(counts) {
    let total = 0;
    for (const count of counts) total += count;
    if (!total) return 0;
    let entropy = 0;
    for (const count of counts) {
      if (count > 0) entropy -= (count / total) * Math.log(count / total);
    }
    return Math.exp(entropy);
  }

  /** Return the spread of a hyperparameter among some rows, in [0, 1]; NaN = there are none. */
  function spreadOf(run, dimension, rows) {
    if (!rows.length) return NaN;
    const values = run.hparams[dimension.name];
    const positions = rows.map((row) => encode(dimension, values[row]));
    if (dimension.scale === "category") {
      const counts = new Map();
      for (const at of positions) counts.set(at, (counts.get(at) || 0) + 1);
      return 1 - Math.max(...counts.values()) / rows.length;
    }
    const found = Float64Array.from(positions.filter(Number.isFinite)).sort();
    return quantile(found, HIGH) - quantile(found, LOW);
  }

  /**
   * Return the diversity of a population, interval by interval. Failed segments do not count.
   *
   * intervals, members (without a failure), founders (rows of fresh segments, by interval and
   * member), counts (for each interval a map: founder -> members that descend from it), effective
   * (number of founders), spread (a list for each searched hyperparameter, by name).
   */
  function diversity(run) {
    const { intervals, rows } = byInterval(run);
    const groups = rows.map((group) => group.filter((row) => alive(run, row)));
    const counts = groups.map((group) => {
      const found = new Map();
      for (const row of group) {
        const founder = run.founder[row];
        found.set(founder, (found.get(founder) || 0) + 1);
      }
      return found;
    });

    const founders = [...new Set(counts.flatMap((each) => [...each.keys()]))];
    founders.sort((a, b) => run.interval[a] - run.interval[b] || run.member[a] - run.member[b]);
    const spread = {};
    for (const dimension of searched(run)) {
      spread[dimension.name] = groups.map((group) => spreadOf(run, dimension, group));
    }
    return {
      intervals,
      members: groups.map((group) => group.length),
      founders,
      counts,
      effective: counts.map((each) => effectiveNumber([...each.values()])),
      spread,
    };
  }

  /** Return the place from which on each interval that counts has collapsed; -1 = the last has not. */
  function since(found, collapsed) {
    const enough = Math.max(FEWEST, (d3.max(found.members) || 0) / 2);
    let place = -1;
    found.members.forEach((members, at) => {
      if (members < enough) return;
      if (!collapsed(at)) place = -1;
      else if (place < 0) place = at;
    });
    return place;
  }

  function founderWarning(run, found) {
    const at = since(found, (place) => found.effective[place] < ONE_FOUNDER);
    if (at < 0 || found.intervals[at] >= EARLY * run.header.intervals) return "";
    const count = (founder) => found.counts[at].get(founder) || 0;
    const largest = found.founders.reduce((a, b) => (count(b) > count(a) ? b : a));
    const interval = run.interval[largest];
    const start = interval === 0 ? "" : `, fresh in interval ${interval}`;
    return (
      `From interval ${found.intervals[at]} on nearly all members descend from one founder, ` +
      `member ${run.member[largest]}${start}: ${found.effective[at].toFixed(1)} effective founders ` +
      "before the half of the run. Copy less or later (a lower fraction, longer intervals), or take " +
      "more members."
    );
  }

  function spreadWarning(run, found) {
    const explored = searched(run).filter((each) => !each.init_only);
    if (!explored.length) return "";
    const narrow = (place) => explored.every((each) => found.spread[each.name][place] < NARROW);
    const at = since(found, narrow);
    if (at < 0) return "";
    return (
      `From interval ${found.intervals[at]} on the members train with nearly the same ` +
      `hyperparameters: each spreads over less than ${100 * NARROW}% of its range. Larger factors, ` +
      "or resampling, explore more."
    );
  }

  /** Return a warning in words if the diversity has collapsed; "" = it has not. */
  function warning(run, found) {
    return [founderWarning(run, found), spreadWarning(run, found)].filter(Boolean).join(" ");
  }

  /** Return the diversity of a run, kept until it has grown. */
  const diversityOf = (run) => run.cached("diversity", () => diversity(run));

  /** Return the founders with the largest shares over all intervals, as many as have a colour. */
  function largestFounders(run) {
    return run.cached("largest founders", () => {
      const found = diversityOf(run);
      const total = new Map(found.founders.map((each) => [each, 0]));
      found.counts.forEach((counts, i) => {
        for (const [founder, count] of counts) total.set(founder, total.get(founder) + count / found.members[i]);
      });
      return found.founders.slice().sort((a, b) => total.get(b) - total.get(a)).slice(0, COLOURED);
    });
  }

  Object.assign(statistics, {
    ONE_FOUNDER, effectiveNumber, diversity, diversityOf, largestFounders, warning,
  });
})();
