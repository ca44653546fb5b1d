"""The recipes of the documentation, each as the file that stands there: exact, and nothing of it is lost."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad.loops.member import Member
from popgrad.tasks.comparison import differences
from popgrad.tasks.evaluation import seed_generators
from test_docs import blocks

DOCS = Path(__file__).parents[2] / "docs"
FILES = {
    mark.removeprefix("file="): block.text
    for page in ("own-loop.md", "recipes.md")
    for block in blocks((DOCS / page).read_text())
    for mark in block.marks
    if mark.startswith("file=")
}
SHARED = {"before.py", "digits_data.py"}
WORKERS = "num_workers=1"
assert WORKERS in FILES["train.py"]
FILES["persistent.py"] = FILES["train.py"].replace(WORKERS, f"{WORKERS}, persistent_workers=True")
SHORT = {"progress": False, "outputs": False, "executor": "serial"}


@dataclass(frozen=True)
class Recipe:
    """A file of the page.

    Attributes:
        needs: Library that it is about.
        interval: Length of an interval.
        whole: Length of four of them.
        is_continuous: Whether a boundary changes nothing; an environment or a worker starts again there.
    """

    needs: str = "torch"
    interval: str = "1 report"
    whole: str = "4 reports"
    is_continuous: bool = True


RECIPES = {
    "train.py": Recipe(),
    # Its workers draw from streams of their own, which start with them.
    "persistent.py": Recipe(is_continuous=False),
    "onecycle.py": Recipe(),
    "plateau.py": Recipe(),
    "groups.py": Recipe(),
    "scaled.py": Recipe(),
    "gan.py": Recipe(),
    "midepoch.py": Recipe("torchdata", "7", "28"),
    "accelerated.py": Recipe("accelerate"),
    "skorched.py": Recipe("skorch"),
    "linear.py": Recipe("sklearn"),
    "ppo.py": Recipe("torchrl", is_continuous=False),
}

pytestmark = [
    # torchdata calls what torch deprecates, and TorchRL what it deprecates itself.
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:Creating .* which inherits from:DeprecationWarning"),
    pytest.mark.slow,
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Write the files of the page into the working folder."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    import sys

    for name in FILES:
        sys.modules.pop(Path(name).stem, None)


def test_every_recipe_is_tested() -> None:
    assert FILES.keys() == {*SHARED, *RECIPES}


RARE = {"plateau.py", "groups.py", "scaled.py", "skorched.py"}
"""Recipes whose records are left to the long tests; their boundaries are compared at every change."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in RARE else ()) for name in RECIPES]
)
def test_a_recipe_is_exact(name: str) -> None:
    recipe = RECIPES[name]
    pytest.importorskip(recipe.needs)
    given: Any = {"population": 3, "fraction": 0.34, "interval": recipe.interval, **SHORT}

    whole = popgrad.run(name, intervals=3, directory="whole", **given)
    assert all(segment.status == "done" for segment in whole.segments)
    assert any(s.source is not None and s.source[0] != s.member for s in whole.segments)

    with_processes = given | {"executor": "processes", "workers": 2}
    assert popgrad.run(name, intervals=3, **with_processes).segments == whole.segments

    popgrad.run(name, intervals=1, directory="stopped", **given)
    assert popgrad.resume("stopped", intervals=3, progress=False).segments == whole.segments

    assert popgrad.replay("whole").identical


@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name].is_continuous])
def test_a_boundary_loses_nothing_of_a_recipe(name: str, seeded_by_position: None) -> None:
    recipe = RECIPES[name]
    pytest.importorskip(recipe.needs)
    assert not lost(name, recipe.interval, recipe.whole)


def test_what_a_recipe_does_not_track_is_lost(seeded_by_position: None) -> None:
    tracked = "optimizer=optimizer, scheduler=scheduler)"
    assert tracked in FILES["onecycle.py"]
    text = FILES["onecycle.py"].replace(tracked, "optimizer=optimizer)")
    Path("forgotten.py").write_text(text)
    assert lost("forgotten.py", "1 report", "4 reports")


@pytest.fixture
def seeded_by_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed each round, and each batch, by its position alone: a boundary would draw other numbers."""
    next_round = Member.__next__
    batches = Member.batches

    def seeded_round(member: Member) -> int:
        rounds = next_round(member)
        if member.live.turn.unit == "reports":
            seed_generators(rounds)
        return rounds

    def seeded_batches(member: Member, loader: Any) -> Iterator[Any]:
        if member.first_step == 0:
            seed_generators(0)
        for position, batch in enumerate(batches(member, loader), start=member.first_step):
            seed_generators(position)
            yield batch

    monkeypatch.setattr(Member, "__next__", seeded_round)
    monkeypatch.setattr(Member, "batches", seeded_batches)


def lost(name: str, interval: str, whole: str) -> list[Any]:
    """Return what differs between a member that passes three boundaries and one that passes none."""
    given: Any = {"population": 1, "strategy": "random-search", "check": False, **SHORT}
    cut = popgrad.run(name, interval=interval, intervals=4, **given).winner.state
    straight = popgrad.run(name, interval=whole, intervals=1, **given).winner.state
    # An interval of 28 batches is one round, four of 7 are four.
    return list(differences({**cut, "rounds": 0}, {**straight, "rounds": 0}))
