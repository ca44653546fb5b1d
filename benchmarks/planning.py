"""Make docs/scaling.md and its figure from what scaling.py, cluster.py and peers_fc.py have written.

python benchmarks/planning.py
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measure import ROOT, RUNS
from performance import machine, notes, section
from scaling import ASYNC, BEFORE, LATE, SYNC

PAGE = ROOT / "docs" / "scaling.md"
NOTES = ROOT / "benchmarks" / "scaling-notes.md"
FIGURE = "scaling-utilisation.png"
SCRIPTS = {"ray": "cluster.py", "peers-fc": "peers_fc.py"}
"""What is measured on this machine, and by which script beside this one, in the order of the page."""
GOES_WRONG = "stragglers and faults"
STYLE = {
    SYNC: ("#D55E00", "o"),
    LATE: ("#9A9A9A", "s"),
    ASYNC: ("#0072B2", "^"),
    BEFORE: ("#009E73", "v"),
}
"""Colours of Okabe and Ito's palette, which every eye can tell apart, with a marker of its own each."""


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """What was measured under a name; None = nothing was, or only a smoke size."""
    file = folder / f"{name}.json"
    found: dict[str, Any] = (
        json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"smoke": True}
    )
    return None if found["smoke"] else found


def pivot(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows of one unit as a table: a line for each, a column for each subject."""
    subjects = list(max((row["medians"] for row in rows), key=len))  # the others lack some of these
    lines = [("", *subjects), ("---", *("---:" for _ in subjects))]
    lines += [
        (row["what"], *(_number(row["medians"].get(name)) for name in subjects)) for row in rows
    ]
    return [f"| {' | '.join(line)} |" for line in lines]


def _number(value: float | None) -> str:
    """Three digits, and all of those before the point; "" = there is none."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def planned(found: Mapping[str, Any], said: Mapping[str, str]) -> list[str]:
    """The part of the page about the cluster that is only imagined."""
    lines = [
        "## In short (simulated)",
        "",
        said["in short"],
        "",
        "## Assumptions",
        "",
        said["scaling"],
        "",
    ]
    units = {row["unit"] for row in found["rows"]}
    for unit in [name for name in said if name in units]:
        title, _, note = said[unit].partition("\n")
        lines += [f"## {title}", "", note.strip(), ""]
        if unit == "utilisation":
            lines += [
                f"![Utilisation by population under each policy, simulated](figures/{FIGURE})",
                "",
            ]
        lines += [*pivot([row for row in found["rows"] if row["unit"] == unit]), ""]
    how = f"Seed {found['seed']}, {found['sizes']['intervals']} intervals; runs of each: {found['repeat']}."
    return [*lines, f"{how} {machine(found['machine'])}", ""]


def page(
    found: Mapping[str, Any], here: Mapping[str, Mapping[str, Any] | None], said: Mapping[str, str]
) -> str:
    """The whole page.

    Args:
        found: What was simulated.
        here: What was measured with a real Ray, by name; None = nothing.
        said: As `notes` gives it.
    """
    lines = ["# Planning for a cluster", "", said[""], "", *planned(found, said)]
    for name, each in here.items():
        if each is None:
            missing = f"Not measured: run `python benchmarks/{SCRIPTS[name]}`."
            lines += [f"## {name}", "", said[name], "", missing, ""]
        else:
            lines += section(each, said[name])
    return "\n".join(lines)


def figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Utilisation by population; a panel for each number of slots beside the members."""
    cases = [
        row for row in rows if row["unit"] == "utilisation" and row["what"].endswith(GOES_WRONG)
    ]
    panels: dict[int, list[tuple[int, Mapping[str, float]]]] = {}
    for row in cases:
        members, slots = (
            int(word.replace(",", "")) for word in row["what"].split() if word[0].isdigit()
        )
        panels.setdefault(members // slots, []).append((members, row["medians"]))
    drawn = Figure(figsize=(9.0, 4.2), dpi=150, layout="constrained")
    both = drawn.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (share, points) in zip(both, panels.items(), strict=True):
        _panel(axes, points)
        axes.set_title(
            "a slot for each member" if share == 1 else f"a slot for {share} members", size=13
        )
    both[0].set_ylabel("utilisation of the slots (simulated)", size=12)
    handles, labels = both[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    return drawn


def _panel(axes: Axes, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    members = [size for size, _ in points]
    for name, (colour, marker) in STYLE.items():
        values = [medians[name] for _, medians in points]
        axes.plot(members, values, color=colour, marker=marker, linewidth=2, label=name)
    axes.set(xscale="log", ylim=(0, 1.05))
    axes.set_xticks(members, [f"{size:,}" for size in members])
    axes.set_xlabel("members", size=12)
    axes.minorticks_off()
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page and its figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="where (default: docs/scaling.md)")
    parser.add_argument("--results", type=Path, default=RUNS, help="folder of the JSON files")
    given = parser.parse_args(argv)
    found = read(given.results, "scaling")
    if found is None:
        raise SystemExit(
            f"nothing was simulated: {given.results} has no scaling.json of full size; run benchmarks/scaling.py"
        )
    here = {name: read(given.results, name) for name in SCRIPTS}
    given.page.write_text(
        page(found, here, notes(NOTES.read_text(encoding="utf-8"))), encoding="utf-8"
    )
    picture = given.page.parent / "figures" / FIGURE
    picture.parent.mkdir(exist_ok=True)
    figure(found["rows"]).savefig(picture)
    print(f"wrote {given.page} and {picture}")


if __name__ == "__main__":
    main()
