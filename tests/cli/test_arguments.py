"""What a command line asks for: a file or a task, the options over it, the settings over these."""

import json
from pathlib import Path
from typing import Any

import pytest

from popgrad import UsageError
from popgrad.cli.arguments import new_directory, read_config, read_initial
from popgrad.config.model import RunConfig, parse

ORIGINAL = {
    "general": {"model": "fc", "n_hiddens": "8,8", "seed": 117},
    "train": {"lr": 0.01, "num_epochs": 3, "decreasing_lr_epochs": "1,2", "version": "train_MPL",
              "load_ckpt": "runs/one"},
    "test": {"sleep_time_sec": 5, "load_ckpt": "runs/two"},
    "val": {"load_ckpt": "runs/three"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(what: str, *settings: str, **more: Any) -> RunConfig:
    config, notes = read_config(
        what, more.pop("given", {}), more.pop("strategy", {}), settings, **more
    )
    assert notes == []
    return config


def file(
    text: str = 'task = "quadratic"\nepochs = 3\nseed = 1\n[strategy]\nfraction = 0.3\n',
) -> str:
    Path("run.toml").write_text(text)
    return "run.toml"


def test_a_task_is_asked_for_by_its_name_and_the_rest_is_as_by_default() -> None:
    assert read("digits") == parse({"task": "digits"})
    assert read("tasks.py:Mine").task == "tasks.py:Mine"


def test_each_goes_over_the_one_before() -> None:
    defaults = {"seed": 5, "population": 5, "interval": 5, "workers": 5}
    given = {"population": 2, "workers": 2, "epochs": None}
    config = read(file(), "workers=1", "strategy.burn_in=1", defaults=defaults, given=given,
                  strategy={"fraction": 0.4, "name": None})  # fmt: skip
    assert (config.interval, config.seed, config.population, config.workers) == ("5", 1, 2, 1)
    assert config.epochs == 3
    assert config.strategy.name == "pbt"
    assert config.strategy.options() == {"fraction": 0.4, "burn_in": 1}


def test_intervals_that_are_asked_for_take_the_place_of_a_files_epochs() -> None:
    config = read(file(), given={"intervals": 7})
    assert (config.intervals, config.epochs) == (7, None)
    assert read(file()).epochs == 3


def test_a_default_strategy_gives_way_to_that_of_a_file() -> None:
    defaults = {"strategy": {"name": "schedule"}, "population": 1}
    assert read("digits", defaults=defaults).strategy.name == "schedule"
    assert read(file(), defaults=defaults).strategy.options() == {"fraction": 0.3}


def test_an_originals_file_is_read_with_notes() -> None:
    Path("fc.json").write_text(json.dumps(ORIGINAL))
    config, notes = read_config("fc.json", {"epochs": 1}, {}, [])
    assert (config.task, config.seed, config.epochs, config.sleep) == ("mnist-fc", 117, 1, 5.0)
    assert config.load == "runs/one"
    assert len(notes) == 3
    assert all("\n" not in note and ": no effect; " in note for note in notes)


@pytest.mark.parametrize(("mode", "place"), [("train", "one"), ("test", "two"), ("val", "three")])
def test_each_mode_reads_the_section_of_its_name(mode: str, place: str) -> None:
    Path("fc.json").write_text(json.dumps(ORIGINAL))
    config, _ = read_config("fc.json", {}, {}, [], mode=mode)
    assert config.load == f"runs/{place}"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("gone.toml", "cannot read gone.toml"),
        ("gone.json", "cannot read gone.json"),
        ("run.toml", "unknown key 'popluation'; did you mean 'population'"),
    ],
)
def test_what_cannot_be_read_is_said(what: str, said: str) -> None:
    file('task = "digits"\npopluation = 3\n')
    with pytest.raises(UsageError, match=said):
        read(what)


def test_a_strategy_may_be_its_name_alone_and_is_nothing_else() -> None:
    config = read(
        file('task = "digits"\nstrategy = "random-search"\n'),
        strategy={"name": None, "fraction": 0.4},
    )
    assert (config.strategy.name, config.strategy.options()) == ("random-search", {"fraction": 0.4})
    with pytest.raises(UsageError, match=r"strategy: expected a name or a table, got \[3\]"):
        read(file('task = "digits"\nstrategy = [3]\n'), strategy={"fraction": 0.4})


# --- initial ---


@pytest.mark.parametrize("values", [[{"lr": 0.1}], {"initial": [{"lr": 0.1}], "task": "digits"}])
def test_what_members_begin_with_is_a_list_or_has_the_key_initial(values: Any) -> None:
    Path("best.json").write_text(json.dumps(values))
    assert read_initial(Path("best.json")) == [{"lr": 0.1}]


@pytest.mark.parametrize("content", [b"[{]", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused_in_one_line(content: bytes) -> None:
    Path("best.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"--initial: cannot read best.json: ") as caught:
        read_initial(Path("best.json"))
    assert "\n" not in str(caught.value)


# --- the directory ---


@pytest.mark.parametrize(
    ("task", "stem"),
    [("digits", "digits"), ("pkg.mine:Task", "pkg.mine.Task"), ("some/where/mine.py:Task", "mine")],
)
def test_a_directory_is_called_after_the_task_and_the_time(task: str, stem: str) -> None:
    place = new_directory(parse({"task": task, "runs_dir": "there/runs"}))
    assert place.parent == Path("there/runs")
    assert place.is_dir()
    assert place.name.startswith(f"{stem}-20")


def test_nobody_gets_a_directory_that_somebody_has() -> None:
    places = [new_directory(parse({"task": "digits"})) for _ in range(20)]
    assert len(set(places)) == 20


def test_where_none_can_be_made_another_is_asked_for() -> None:
    Path("runs").touch()
    with pytest.raises(
        UsageError,
        match=r"the directory runs/digits-.* cannot be created: .*choose another with --dir",
    ):
        new_directory(parse({"task": "digits"}))
