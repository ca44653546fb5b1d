"""Writes what is derived from the keys of the configuration: a page, tables in two others, and a module.

python docs/generate.py
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from configuration_page import page
from key_tables import with_tables
from keywords_module import module

ROOT = Path(__file__).parents[1]

FILES: Mapping[str, Callable[[str], str]] = {
    "docs/configuration.md": lambda _: page(),
    "docs/python.md": with_tables,
    "docs/command-line.md": with_tables,
    "src/popgrad/runs/keywords.py": lambda _: module(),
}
"""Generated files below the root, each with the function from its present text to what it should be."""


def main() -> None:
    """Write the files that are out of date, and print their names."""
    for name, generate in FILES.items():
        path = ROOT / name
        present = path.read_text(encoding="utf-8") if path.exists() else ""
        wanted = generate(present)
        if wanted != present:
            path.write_text(wanted, encoding="utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    main()
