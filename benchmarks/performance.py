"""Make docs/performance.md from what the other benchmarks have written to runs/benchmarks/.

python benchmarks/performance.py --page
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import HEADER, ROOT, RUNS, cells

PAGE = ROOT / "docs" / "performance.md"
NOTES = ROOT / "benchmarks" / "performance-notes.md"
NAMES = ("overhead", "own-loop", "peers-fc", "peers-toy", "vectorised", "step", "exploit", "scale")
"""In the order of the page."""


def notes(text: str) -> dict[str, str]:
    """What is said of each benchmark, by name; "" = of all of them."""
    start, *sections = ("\n" + text).split("\n## ")
    parts = (section.partition("\n") for section in sections)
    return {"": start.strip(), **{title.strip(): body.strip() for title, _, body in parts}}


def read(folder: Path) -> list[dict[str, Any]]:
    """What was measured, in order.

    Raises:
        SystemExit: Nothing was, or only a smoke size.
    """
    files = [folder / f"{name}.json" for name in NAMES]
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    if not found:
        raise SystemExit(
            f"nothing was measured: {folder} has none of {', '.join(f.name for f in files)}"
        )
    if smoke := [each["name"] for each in found if each["smoke"]]:
        raise SystemExit(
            f"{', '.join(smoke)}: of a smoke size, whose numbers mean nothing; run it without --smoke"
        )
    return found


def machine(facts: Mapping[str, Any]) -> str:
    """The machine in one line."""
    versions = ", ".join(
        f"{n} {facts[n]}" for n in ("popgrad", "torch", "numpy", "ray") if n in facts
    )
    load = ", ".join(map(str, facts["load_before"]))
    return (
        f"{facts['cpu']}, {facts['cores']} cores; Python {facts['python']}, {versions}; {facts['date']}, "
        f"load average before: {load}."
    )


def section(found: Mapping[str, Any], note: str) -> list[str]:
    """A benchmark's part of the page."""
    table = [HEADER, ("---",) * len(HEADER), *map(cells, found["rows"])]
    return [
        f"## {found['name']}",
        "",
        note,
        "",
        *(f"| {' | '.join(line)} |" for line in table),
        "",
        f"Each measured {found['repeat']} times, seed {found['seed']}. {machine(found['machine'])}",
        "",
    ]


def page(results: Sequence[Mapping[str, Any]], said: Mapping[str, str]) -> str:
    """The whole page."""
    lines = ["# Performance", "", said[""], ""]
    for found in results:
        lines += section(found, said[found["name"]])
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--page",
        type=Path,
        nargs="?",
        default=PAGE,
        const=PAGE,
        help="where (default: docs/performance.md)",
    )
    parser.add_argument("--results", type=Path, default=RUNS, help="folder of the JSON files")
    given = parser.parse_args(argv)
    text = page(read(given.results), notes(NOTES.read_text(encoding="utf-8")))
    given.page.write_text(text, encoding="utf-8")
    print(f"wrote {given.page}")


if __name__ == "__main__":
    main()
