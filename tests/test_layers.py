"""Who may import whom, read from the source. A module that LAYERS does not know fails, so it stays whole."""

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"

LAYERS: dict[str, tuple[str, ...]] = {
    # part: what of ours it may import, beside itself. The longest name that fits a module is its part.
    "popgrad.core": (),
    "popgrad.mini": (),
    "popgrad.state": ("popgrad.core",),
    "popgrad.gates": ("popgrad.core",),
    "popgrad.lookup": ("popgrad.core", "popgrad.gates"),
    "popgrad.hardware": ("popgrad.core",),
    "popgrad.nn": ("popgrad.core",),
    "popgrad.metrics": ("popgrad.core", "popgrad.gates", "popgrad.lookup"),
    "popgrad.strategies": ("popgrad.core",),
    "popgrad.statistics": ("popgrad.core",),
    "popgrad.data": ("popgrad.core", "popgrad.gates"),
    "popgrad.record": ("popgrad.core", "popgrad.gates", "popgrad.statistics"),
    "popgrad.store": ("popgrad.core", "popgrad.gates", "popgrad.state", "popgrad.record"),
    "popgrad.tasks": (
        *("popgrad.core", "popgrad.state", "popgrad.data", "popgrad.nn", "popgrad.metrics"),
        *("popgrad.gates", "popgrad.lookup"),
    ),
    "popgrad.loops": ("popgrad.core", "popgrad.state", "popgrad.metrics", "popgrad.tasks"),
    "popgrad.integrations": ("popgrad.core", "popgrad.loops"),
    "popgrad.loops.check": (
        *("popgrad.core", "popgrad.state", "popgrad.tasks", "popgrad.loops"),
        *("popgrad.executors.interpreter", "popgrad.hardware"),
    ),
    "popgrad.executors": (
        *("popgrad.core", "popgrad.state", "popgrad.hardware", "popgrad.metrics"),
        *("popgrad.tasks.base", "popgrad.tasks.copies", "popgrad.tasks.evaluation"),
        *("popgrad.tasks.settings", "popgrad.tasks.transforms"),
    ),
    "popgrad.executors.stacked": (
        *("popgrad.core", "popgrad.state", "popgrad.nn", "popgrad.hardware", "popgrad.metrics"),
        *("popgrad.executors.allocator", "popgrad.executors.base", "popgrad.executors.fingerprint"),
        *("popgrad.executors.writer", "popgrad.tasks.base", "popgrad.tasks.binding"),
        *("popgrad.tasks.construction", "popgrad.tasks.evaluation", "popgrad.tasks.order"),
        *("popgrad.tasks.learner", "popgrad.tasks.tensors", "popgrad.tasks.torch_task"),
        *("popgrad.tasks.multipliers", "popgrad.tasks.optimizer_state"),
    ),
    "popgrad.engine": (
        *("popgrad.core", "popgrad.state", "popgrad.record", "popgrad.store"),
        # The seams, no part of a kind.
        *("popgrad.strategies.base", "popgrad.executors.base", "popgrad.tasks.base"),
        "popgrad.tasks.transforms",
    ),
    "popgrad.trackers": (
        *("popgrad.core", "popgrad.engine.callbacks", "popgrad.gates", "popgrad.reports"),
        *("popgrad.store.atomic", "popgrad.tasks"),
    ),
    "popgrad.reports": (
        *("popgrad.core", "popgrad.record", "popgrad.statistics", "popgrad.store.atomic"),
    ),
    "popgrad.views": ("popgrad.core", "popgrad.record", "popgrad.statistics"),
    "popgrad.config": ("popgrad.core", "popgrad.gates"),
    "popgrad.runs": (
        *("popgrad.core", "popgrad.state", "popgrad.hardware", "popgrad.config", "popgrad.record"),
        *(
            "popgrad.store",
            "popgrad.strategies",
            "popgrad.tasks",
            "popgrad.executors",
            "popgrad.engine",
        ),
        *(
            "popgrad.gates",
            "popgrad.loops",
            "popgrad.metrics",
            "popgrad.nn",
            "popgrad.reports",
            "popgrad.trackers",
            "popgrad.views",
        ),
        "popgrad.views",
    ),
    "popgrad.comparison": (
        *("popgrad.core", "popgrad.config", "popgrad.engine.callbacks", "popgrad.gates"),
        *("popgrad.record", "popgrad.reports", "popgrad.runs", "popgrad.statistics"),
        *("popgrad.store", "popgrad.strategies", "popgrad.tasks.base", "popgrad.tasks.reference"),
    ),
    "popgrad.dashboard": (
        *("popgrad.comparison", "popgrad.config", "popgrad.core", "popgrad.gates"),
        *("popgrad.record", "popgrad.runs.status", "popgrad.runs.verdict", "popgrad.store"),
        "popgrad.views",
    ),
    "popgrad.doctor": (
        *("popgrad.core", "popgrad.data", "popgrad.hardware", "popgrad.record", "popgrad.store"),
        *("popgrad.executors", "popgrad.gates", "popgrad.tasks"),
    ),
    "popgrad.cli": (
        *(
            "popgrad.comparison",
            "popgrad.core",
            "popgrad.config",
            "popgrad.dashboard",
            "popgrad.data",
            "popgrad.doctor",
            "popgrad.gates",
        ),
        *(
            "popgrad.record",
            "popgrad.reports",
            "popgrad.runs",
            "popgrad.statistics",
            "popgrad.store",
            "popgrad.strategies",
        ),
        *("popgrad.tasks", "popgrad.loops.check"),
    ),
    "popgrad": (
        *(
            "popgrad.comparison",
            "popgrad.core",
            "popgrad.data",
            "popgrad.engine",
            "popgrad.loops",
            "popgrad.metrics",
            "popgrad.nn",
            "popgrad.record",
        ),
        *("popgrad.runs", "popgrad.store", "popgrad.strategies", "popgrad.tasks"),
        "popgrad.trackers",
    ),  # the package's own __init__.py alone
    "popgrad.__main__": ("popgrad.cli",),
}

# core is pure: NumPy and what of the standard library touches no files, no clock and no global random state.
CORE_THIRD_PARTY = {"numpy"}
CORE_BANNED = {
    "datetime",
    "io",
    "os",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "tempfile",
    "time",
    "uuid",
}

# What numpy.random has beside its global generator's functions.
NUMPY_EXPLICIT = {
    "Generator",
    "RandomState",
    "BitGenerator",
    "SeedSequence",
    "PCG64",
    "Philox",
    "default_rng",
}


def modules() -> dict[str, Path]:
    """Dotted name -> file, packages by their `__init__.py`."""
    found = {}
    for path in sorted((SRC / "popgrad").rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def within(name: str, part: str) -> bool:
    return name == part or (part != "popgrad" and name.startswith(f"{part}."))


def part_of(module: str) -> str | None:
    return max((part for part in LAYERS if within(module, part)), key=len, default=None)


def imports(
    source: str, module: str, *, package: bool, known: Collection[str]
) -> Iterator[tuple[int, str]]:
    """(line, module imported), inside functions too; relative ones resolved.

    Args:
        source: The module's text.
        module: Its dotted name.
        package: Whether it is an `__init__.py`.
        known: Our modules: tells `from popgrad import run`, a module, from a name in `popgrad`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = node.level - 1 if package else node.level
                here = module.split(".")
                base = ".".join([*here[: len(here) - up], *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if inner in known else base


def broken_layers(source: str, module: str, *, package: bool, known: Collection[str]) -> list[str]:
    """What a module imports and must not, one line each."""
    part = part_of(module)
    if part is None:
        return [f"{module} has no line in LAYERS: say there what it may import"]
    allowed = LAYERS[part]
    broken = []
    for line, target in imports(source, module, package=package, known=known):
        top = target.split(".")[0]
        if top == "popgrad":
            if not (within(target, part) or any(within(target, a) for a in allowed)):
                may = ", ".join(allowed) or "nothing of ours"
                broken.append(f"{module}:{line} imports {target}; {part} may import {may}")
        elif part == "popgrad.core" and (
            top in CORE_BANNED
            or (top not in sys.stdlib_module_names and top not in CORE_THIRD_PARTY)
        ):
            broken.append(
                f"{module}:{line} imports {target}; core is pure: standard library and NumPy"
            )
    return broken


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def global_randomness(source: str, module: str) -> list[str]:
    """Uses of NumPy's global generator, and generators seeded by the operating system."""
    found = []
    for node in ast.walk(ast.parse(source)):
        used = []
        if isinstance(node, ast.Attribute):
            base = dotted(node.value)
            used = [node.attr] if base in ("np.random", "numpy.random") else []
        elif isinstance(node, ast.ImportFrom) and node.module == "numpy.random":
            used = [alias.name for alias in node.names]
        elif (
            isinstance(node, ast.Call)
            and dotted(node.func).endswith("default_rng")
            and not node.args
        ):
            found.append(f"{module}:{node.lineno} default_rng() without a seed")
        found += [
            f"{module}:{node.lineno} np.random.{name}"
            for name in used
            if name not in NUMPY_EXPLICIT
        ]
    return found


def unused_permissions() -> list[str]:
    """Entries of LAYERS that no module makes use of."""
    made: dict[str, set[str]] = {part: set() for part in LAYERS}
    for module, path in modules().items():
        found = imports(
            path.read_text(), module, package=path.name == "__init__.py", known=modules()
        )
        made[part_of(module) or ""] |= {target for _, target in found}
    return [
        f"{part} may import {allowed}, and does not"
        for part, permitted in LAYERS.items()
        for allowed in permitted
        if not any(within(target, allowed) for target in made[part])
    ]


def circles(edges: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Groups of files that import each other in a circle (strongly connected components of two or more)."""
    found: list[list[str]] = []
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        path.append(node)
        for target in edges.get(node, ()):
            if target not in order:
                visit(target)
            if target in path:
                lowest[node] = min(lowest[node], lowest[target])
        if lowest[node] == order[node]:
            members = path[path.index(node) :]
            del path[path.index(node) :]
            found.extend([sorted(members)] if len(members) > 1 else [])

    for node in edges:
        if node not in order:
            visit(node)
    return found


def file_imports(known: Mapping[str, Path]) -> dict[str, set[str]]:
    """Module -> modules of ours that its file imports, imports inside functions included.

    Args:
        known: The file of each module, by the module's name.
    """
    return {
        module: {
            target
            for _, target in imports(
                path.read_text(), module, package=path.name == "__init__.py", known=known
            )
            if target in known and target != module
        }
        for module, path in known.items()
    }


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(file_imports(modules())) == []


def test_the_check_finds_circles() -> None:
    edges = {"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": [], "e": ["d", "e"]}
    assert circles(edges) == [["a", "b", "c"]]


def test_an_import_inside_a_function_closes_a_circle(tmp_path: Path) -> None:
    """A schedule that looks up lineages, as late as it can: lineage imports schedule already."""
    known = modules()
    edited = tmp_path / "schedule.py"
    lazy = "\n\ndef late():\n    from popgrad.record import lineage\n\n    return lineage\n"
    edited.write_text(known["popgrad.record.schedule"].read_text() + lazy)
    (circle,) = circles(file_imports({**known, "popgrad.record.schedule": edited}))
    assert {"popgrad.record.lineage", "popgrad.record.schedule"} <= set(circle)


def test_every_permission_is_used() -> None:
    assert unused_permissions() == []


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    path = modules()[module]
    package = path.name == "__init__.py"
    assert broken_layers(path.read_text(), module, package=package, known=modules()) == []


SEEDS_GENERATORS = ("popgrad.executors", "popgrad.tasks.evaluation")


@pytest.mark.parametrize(
    "module",
    [name for name in modules() if not any(within(name, part) for part in SEEDS_GENERATORS)],
)
def test_only_what_seeds_them_touches_the_global_generators(module: str) -> None:
    assert global_randomness(modules()[module].read_text(), module) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("popgrad.core.space", "import torch"),
        ("popgrad.core.space", "import scipy.stats"),
        ("popgrad.core.space", "def f():\n    import random"),
        ("popgrad.core.space", "from popgrad.state import digest"),
        ("popgrad.core.space", "from ..state import digest"),
        ("popgrad.core.space", "from .. import state"),
        ("popgrad.core.space", "from popgrad import state"),
        ("popgrad.core.space", "import popgrad"),
        ("popgrad.strategies.pbt", "from popgrad.executors.serial import Serial"),
        ("popgrad.strategies", "from ..executors import serial"),
        ("popgrad.store.journal", "if True:\n    from popgrad.tasks.base import Task"),
        ("popgrad.executors.serial", "from popgrad.tasks.torch_task import TorchTask"),
        ("popgrad.executors.serial", "from popgrad.tasks import torch_task"),
        ("popgrad.reports.figures", "from popgrad.runs.api import run"),
        ("popgrad.mini", "from popgrad.core.errors import UsageError"),
        ("popgrad.runs.api", "from popgrad import cli"),
        ("popgrad.unheard_of", "import math"),
    ],
)
def test_the_check_finds_what_is_broken(module: str, source: str) -> None:
    known = {
        "popgrad",
        "popgrad.state",
        "popgrad.cli",
        "popgrad.executors.serial",
        "popgrad.tasks.torch_task",
    }
    assert (
        len(broken_layers(source, module, package=module == "popgrad.strategies", known=known)) == 1
    )


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("popgrad.core.space", "import math, numpy as np\nfrom .errors import UsageError"),
        ("popgrad.strategies", "from .pbt import pbt\nfrom popgrad.core.seeding import Rng"),
        ("popgrad.executors.serial", "from popgrad.tasks.base import Task\nfrom .base import E"),
        ("popgrad.executors.stacked.stack", "from popgrad.tasks import torch_task"),
        (
            "popgrad.runs.api",
            "import torch, popgrad.executors.serial\nfrom popgrad.reports import figures",
        ),
        ("popgrad", "from popgrad.runs.api import run"),
        ("popgrad.__main__", "from popgrad.cli import main"),
    ],
)
def test_the_check_lets_through_what_is_allowed(module: str, source: str) -> None:
    known = {"popgrad", "popgrad.tasks.torch_task", "popgrad.strategies.pbt"}
    package = module in ("popgrad", "popgrad.strategies")
    assert broken_layers(source, module, package=package, known=known) == []


def test_the_check_finds_global_randomness() -> None:
    bad = "np.random.seed(0)\nnumpy.random.rand(3)\nfrom numpy.random import shuffle\nnp.random.default_rng()"
    assert len(global_randomness(bad, "m")) == 4
    good = "np.random.default_rng(1)\nx: np.random.Generator\nnp.random.PCG64(2)\nrng.random()"
    assert global_randomness(good, "m") == []
