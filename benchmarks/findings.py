"""Write docs/science.md and its figures from what science.py has collected; science.py runs it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from performance import notes

from popgrad.comparison.comparison import compare_trials
from popgrad.comparison.figure import COLOURS, draw_ranks
from popgrad.comparison.summary import Ranking
from popgrad.comparison.trial import Trial
from popgrad.core.score import Score
from popgrad.statistics.bootstrap import Interval, interquartile_mean, iqm
from popgrad.statistics.difference import paired_difference
from popgrad.tasks import Context, ToyPlain, ToyTimeLinked

NOTES = Path(__file__).resolve().parent / "science-notes.md"
MAIN = ("random-search", "pbt", "pb2", "mf-pbt", "fire", "gap")
"""Strategies with a colour in the figure; the others are grey."""

Line = Mapping[str, Any]


# --- the toys -------------------------------------------------------------------------------------


def scores(lines: Sequence[Line], toy: str) -> dict[str, dict[int, np.ndarray]]:
    """Return scores over seeds of a toy, by strategy and number of decisions."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for line in lines:
        if line["part"] == "decisions" and line["toy"] == toy:
            found.setdefault(line["strategy"], {})[line["decisions"]] = np.array(line["scores"])
    return found


def text(interval: Interval) -> str:
    """Return a mean with its interval, to the digits that the interval supports."""
    places = min(4, interval.decimals)
    value, low, high = (f"{number:.{places}f}" for number in interval)
    return f"{value} [{low}, {high}]"


def toy_table(lines: Sequence[Line], toy: str) -> list[str]:
    """Return the table of a toy: a row for each strategy, a column for each number of decisions."""
    found = scores(lines, toy)
    columns = sorted({count for own in found.values() for count in own})
    best = {count: max(found, key=lambda name: _mean(found[name].get(count))) for count in columns}
    rows = [
        f"| strategy | {' | '.join(f'{count} decisions' for count in columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
    ]
    for name, own in found.items():
        cells = []
        for count in columns:
            cell = text(iqm(own[count])) if count in own else "not run"
            cells.append(f"**{cell}**" if best[count] == name else cell)
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return rows


def beside_baseline(lines: Sequence[Line], toy: str) -> list[str]:
    """Return PBT beside random search by the number of decisions, as a list; shared seeds are paired."""
    found = scores(lines, toy)
    pbt, baseline = (found.get(name, {}) for name in ("pbt", "random-search"))
    items = []
    for count in sorted(pbt.keys() & baseline.keys()):
        gain = paired_difference(pbt[count], baseline[count])
        words = "does not differ from"
        if gain.excludes_zero:
            words = "is better than" if gain.value > 0 else "is worse than"
        items.append(f"* At {count} decisions PBT {words} random search: {text(gain)}.")
    return items


def _mean(values: np.ndarray | None) -> float:
    return -np.inf if values is None else float(interquartile_mean(values))


def bounds(toy: str, steps: int) -> str:
    """Return what is known of the best scores of a toy, as a sentence."""
    if toy == "toy-plain":
        return f"The lowest h throughout reaches {_constant(ToyPlain(), 1e-4, steps):.5f}."
    if toy == "toy-time-linked":
        constant = max(_constant(ToyTimeLinked(), h, steps) for h in np.linspace(0.01, 1.1, 110))
        return (
            f"The schedule h = 1 - block / 50 reaches {ideal(steps):.4f}, the best constant "
            f"{constant:.4f}, the lowest h throughout {_constant(ToyTimeLinked(), 1e-4, steps):.4f}."
        )
    if toy == "toy-drifting":
        return f"At most {steps}: a reward of 1 for each step."
    return "There is no known bound."


def ideal(steps: int) -> float:
    """Return the score of the time-linked toy if h falls as its penalty wants it."""
    task = ToyTimeLinked()
    ctx = Context()
    state = task.init({"h": 1.0}, ctx)
    for block in range(steps // 20):
        state = task.train(state, {"h": 1.0 - block / 50}, 20, ctx)
    return float(task.evaluate(state, {}, "validation", ctx)["q"])


def _constant(task: Any, h: float, steps: int) -> float:
    ctx = Context()
    state = task.train(task.init({"h": h}, ctx), {"h": h}, steps, ctx)
    return float(task.evaluate(state, {}, "validation", ctx)["q"])


def rank(lines: Sequence[Line]) -> tuple[Ranking | None, str]:
    """Return ranks of the strategies over toys and decisions, and a note if there are none.

    Scores of a case are put on one scale, 0 = the lowest mean of a strategy and 1 = the highest,
    since signed ranks compare differences between cases.
    """
    cases: dict[tuple[str, int], list[Line]] = {}
    for line in lines:
        if line["part"] == "decisions":
            cases.setdefault((line["toy"], line["decisions"]), []).append(line)
    most = max(map(len, cases.values()), default=0)

    trials = []
    for (toy, decisions), own in cases.items():
        means = [_mean(np.array(line["scores"])) for line in own]
        width = max(means) - min(means)
        if len(own) < most or width == 0:
            continue
        for line in own:
            for seed, score in enumerate(line["scores"]):
                value = (score - min(means)) / width
                trials.append(_trial(f"{toy}, {decisions}", line["strategy"], seed, value))
    if not trials:
        return None, MISSING
    comparison = compare_trials(trials)
    return comparison.ranking, comparison.note


def _trial(task: str, strategy: str, seed: int, score: float) -> Trial:
    return Trial(
        directory=Path(task, strategy, str(seed)),
        seed=seed,
        problem={"task": task},
        setting={"strategy": {"name": strategy}},
        ranking=Score("score"),
        finished=True,
        winner=score,
        median=score,
        test=float("nan"),
        steps=0,
        seconds=0.0,
        curve=np.empty((0, 3)),
    )


# --- claims ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A claim that one strategy does better than another on a toy at the published size.

    Attributes:
        words: The claim.
        toy: Name of the task.
        better: Strategy that is claimed to be better.
        worse: The other one.
        key: Values that are compared, "scores" or "regrets".
    """

    words: str
    toy: str
    better: str
    worse: str
    key: str = "scores"


CLAIMS = (
    Claim("PBT solves the toy in which greed is right", "toy-plain", "pbt", "random-search"),
    Claim("PBT is too greedy: random search is better", "toy-time-linked", "random-search", "pbt"),
    Claim("MF-PBT is better than random search", "toy-time-linked", "mf-pbt", "random-search"),
    Claim("FIRE is better than PBT", "toy-time-linked", "fire", "pbt"),
    Claim("FIRE is better than random search", "toy-time-linked", "fire", "random-search"),
    Claim("PB2 is at least as greedy: PBT is better", "toy-time-linked", "pbt", "pb2"),
    Claim("where greed is right, PB2 is better than PBT", "toy-plain", "pb2", "pbt"),
    Claim("PB2 tracks the optimum: less regret than PBT", "toy-drifting", "pb2", "pbt", "regrets"),
    Claim("PBT beats the constant rate", "toy-triangle", "pbt", "random-search"),
)


def claim_rows(lines: Sequence[Line]) -> list[str]:
    """Return the table of the claims: what was found for each, and whether it is reproduced."""
    published = {
        (line["toy"], line["strategy"]): line for line in lines if line["part"] == "published"
    }
    rows = [
        "| toy | claim | the better | the other | mean difference, 95 % | reproduced |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for claim in CLAIMS:
        pair = [published.get((claim.toy, name)) for name in (claim.better, claim.worse)]
        if pair[0] is None or pair[1] is None:
            rows.append(f"| {claim.toy} | {claim.words} | | | | not run |")
            continue
        better, worse = (np.array(line[claim.key]) for line in pair if line is not None)
        sign = -1.0 if claim.key == "regrets" else 1.0
        gain = paired_difference(sign * better, sign * worse)
        means = " | ".join(
            f"`{name}` {text(iqm(values))}"
            for name, values in ((claim.better, better), (claim.worse, worse))
        )
        rows.append(f"| {claim.toy} | {claim.words} | {means} | {text(gain)} | {outcome(gain)} |")
    return rows


def outcome(gain: Interval) -> str:
    """Return whether a claim is reproduced, by the interval of the difference that it claims."""
    if not gain.excludes_zero:
        return "not shown: the interval includes zero"
    return "yes" if gain.value > 0 else "**no: the opposite**"


# --- figures --------------------------------------------------------------------------------------


def toys_figure(lines: Sequence[Line]) -> Figure:
    """Draw each toy: interquartile means with their intervals, by the number of decisions."""
    toys = list(dict.fromkeys(line["toy"] for line in lines if line["part"] == "decisions"))
    drawn = Figure(figsize=(10.0, 7.4), dpi=150, layout="constrained")
    grid = drawn.subplots(2, 2, squeeze=False).ravel()
    for axes, toy in zip(grid, toys, strict=False):
        _panel(axes, scores(lines, toy))
        axes.set_title(toy, size=13, loc="left")
    handles = {
        label: handle
        for axes in grid
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(
        handles.values(), handles, loc="outside lower center", ncols=7, frameon=False, fontsize=10
    )
    return drawn


def _panel(axes: Axes, found: Mapping[str, Mapping[int, np.ndarray]]) -> None:
    for name, own in found.items():
        counts = sorted(own)
        means = [iqm(own[count]) for count in counts]
        values = [mean.value for mean in means]
        if name not in MAIN:
            label = "the others"
            axes.plot(counts, values, color="#BBBBBB", linewidth=1.2, label=label, zorder=1)
            continue
        colour = COLOURS[(MAIN.index(name) - 1) % len(COLOURS)] if name != MAIN[0] else "#555555"
        axes.plot(counts, values, color=colour, marker="o", linewidth=2, label=name, zorder=3)
        low, high = ([getattr(mean, end) for mean in means] for end in ("low", "high"))
        axes.fill_between(counts, low, high, color=colour, alpha=0.18, linewidth=0)

    ticks = sorted({count for own in found.values() for count in own})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("decisions in a run of the same length", size=11)
    axes.set_ylabel("score of the winner", size=11)
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)


def ranks_figure(ranking: Ranking) -> Figure:
    """Draw the critical-difference diagram."""
    drawn = Figure(figsize=(10.0, 3.8), dpi=150, layout="constrained")
    draw_ranks(drawn.subplots(), ranking)
    return drawn


# --- real tasks -----------------------------------------------------------------------------------


def compact(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Return a comparison of a single task without paths and settings."""
    task = comparison["tasks"][0]
    groups = []
    for group in task["groups"]:
        runs = [{key: run[key] for key in run if key != "directory"} for run in group["runs"]]
        groups.append({**{key: group[key] for key in group if key != "settings"}, "runs": runs})
    return {**task, "groups": groups, "sentences": comparison["sentences"]}


def benchmark_part(found: Mapping[str, Any]) -> list[str]:
    """Return the table of a benchmark and its verdicts."""
    rows = [
        f"| strategy | seeds | validation {found['metric']} | test {found['metric']} | median member | "
        "P(better) |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for group in found["groups"]:
        keys = ("validation", "test", "median_member", "probability_of_improvement")
        cells = [_shown(group[key]) for key in keys]
        seeds = sum(run["counted"] for run in group["runs"])
        star = " (baseline)" if group["label"] == found["baseline"] else ""
        rows.append(f"| `{group['label']}`{star} | {seeds} | {' | '.join(cells)} |")
    return [*rows, "", *(f"* {sentence}" for sentence in found["sentences"])]


def _shown(interval: Mapping[str, float | None] | None) -> str:
    if interval is None or interval["value"] is None:
        return ""
    if interval["low"] is None or interval["high"] is None:
        return f"{interval['value']:.4g}"
    return text(Interval(interval["value"], interval["low"], interval["high"]))


def _number(value: float | None) -> str:
    """Return a number for a cell; JSON has None for one that is not finite."""
    return "" if value is None else f"{value:.4g}"


def ablation_part(found: Mapping[str, Any]) -> list[str]:
    """Return the table of an ablation and its verdict."""
    rows = [f"| arm | {found['metric']} | schedule better by |", "| --- | ---: | ---: |"]
    for arm in found["arms"]:
        gain = _shown(arm.get("schedule_better_by"))
        rows.append(f"| {arm['name']} | {_shown(arm['interquartile_mean'])} | {gain} |")
    return [*rows, "", f"* {found['sentence']}"]


def soup_part(found: Mapping[str, Any]) -> list[str]:
    """Return the table of a soup and its verdict."""
    names = list(found["winner"]["metrics"])
    rows = [f"| model | members | {' | '.join(names)} |", f"| --- | ---: |{' ---: |' * len(names)}"]
    for kind in ("winner", "uniform", "greedy", "ensemble"):
        model = found[kind]
        if model is None:
            continue
        cells = []
        for name in names:
            test = _number((model["test"] or {}).get(name))
            cells.append(_number(model["metrics"].get(name)) + (f" ({test})" if test else ""))
        rows.append(f"| {kind} | {len(model['members'])} | {' | '.join(cells)} |")
    return [*rows, "", f"* {found['verdict']}"]


# --- the page -------------------------------------------------------------------------------------

PARTS = {
    "digits": benchmark_part,
    "mnist-fc": benchmark_part,
    "ablation": ablation_part,
    "soup": soup_part,
    "soup-conv": soup_part,
}
"""Parts beside the toys, in the order of the page."""

MISSING = "Not run yet: the commands above make it."


def write_page(folder: Path, page: Path, steps: Mapping[str, int]) -> None:
    """Write the page and its figures.

    Args:
        folder: Folder of the results.
        page: Path of the page; figures go to `figures` beside it.
        steps: Steps of a member by toy.
    """
    file = folder / "toys.jsonl"
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    said = notes(NOTES.read_text(encoding="utf-8"))
    figures = page.parent / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    ranking, note = rank(lines)

    out = ["# Do they do what the papers claim?", "", said[""], ""]
    out += _section("In short", said, [])
    out += _section("Claims at the published sizes", said, claim_rows(lines))
    body = [MISSING]
    if any(line["part"] == "decisions" for line in lines):
        toys_figure(lines).savefig(figures / "science-toys.png")
        body = ["![Score of the winner by decisions, for each toy](figures/science-toys.png)"]
    out += _section("The number of decisions", said, body)
    for toy, count in steps.items():
        out += _section(toy, said, _toy_part(lines, toy, count))
    if ranking is not None:
        ranks_figure(ranking).savefig(figures / "science-ranks.png")
        picture = "![Critical-difference diagram of the strategies](figures/science-ranks.png)"
        out += _section("All of them in one order", said, [picture, "", ranking.sentence])
    else:
        out += _section("All of them in one order", said, [note])
    for name, part in PARTS.items():
        own = folder / f"{name}.json"
        body = [MISSING]
        if own.exists():
            body = part(json.loads(own.read_text(encoding="utf-8")))
        out += _section(name, said, body)
    out += _section("Sources", said, [])
    page.write_text("\n".join(out).rstrip() + "\n", encoding="utf-8")


def _toy_part(lines: Sequence[Line], toy: str, steps: int) -> list[str]:
    if not scores(lines, toy):
        return [bounds(toy, steps), "", MISSING]
    return [bounds(toy, steps), "", *toy_table(lines, toy), "", *beside_baseline(lines, toy)]


def _section(title: str, said: Mapping[str, str], body: Sequence[str]) -> list[str]:
    prose = said.get(title, "")
    return [f"## {title}", "", *([prose, ""] if prose else []), *body, *([""] if body else [])]
