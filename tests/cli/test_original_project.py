"""The original project's commands end to end: train in its modes, test, convert, its files as they are."""

import csv
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from popgrad.config.files import read
from popgrad.config.model import parse
from popgrad.runs.api import load
from popgrad.store.journal import Journal
from program import Done, popgrad, refused, start_program
from spies import record

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of PNG files as the original's, of 8 x 8 pixels: 60 to train on, 20 and 20 to test on."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(1)
    for split, count in (("train", 60), ("val", 20), ("test", 20)):
        (folder / split).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 100, (8, 8), np.uint8)
            pixels[i % 10 % 8] += np.uint8(150)  # a bright row tells most of the classes
            Image.fromarray(pixels).save(folder / split / f"{i:05d}_{i % 10}.png")
    return folder


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])


def write(images: Path, name: str = "mine.json", **sections: dict[str, Any]) -> str:
    """A small file in the original's keys: 6 steps an epoch, a checkpoint after the 4th and the 6th."""
    small = {
        "data_dir": str(images),
        "model": "fc",
        "height": 8,
        "width": 8,
        "n_hiddens": "6",
        "seed": 117,
    }
    train = {
        "batch_size": 10,
        "num_epochs": 2,
        "num_iters_for_ckpt": 4,
        "decreasing_lr_epochs": "1",
    }
    given = {"general": small, "train": train, "test": {"sleep_time_sec": 0.01}}
    merged = {key: {**given.get(key, {}), **sections.get(key, {})} for key in (*given, *sections)}
    Path(name).write_text(json.dumps(merged))
    return name


POPULATION = {"PBT_lr": "0.1,0.0001", "PBT_keep_prob": "0.5,0.99", "num_worker_tot": 3, "num_epochs": 1,
              "num_epochs_tot": 2, "decreasing_lr_epochs": ""}  # fmt: skip


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as stream:
        return list(csv.DictReader(stream))


def readings(directory: str) -> list[tuple[str, str]]:
    journal = Journal(Path(directory) / "journal.db", readonly=True)
    try:
        return [(each["reader"], each["split"]) for each in journal.readings()]
    finally:
        journal.close()


# --- train ---


def test_train_tests_beside_the_training_and_all_modes_give_one_record(images: Path) -> None:
    file = write(images)
    done = popgrad("train", file, "--dir", "parallel")
    assert done.code == 0
    assert "parallel (finished): " in done.out
    assert "results.csv" in done.out
    tested = rows("parallel/results.csv")
    assert (tested[-1]["epoch"], tested[-1]["iter"]) == ("2", "12")
    last = popgrad("test", "parallel", "--json").json["metrics"]
    assert (float(tested[-1]["test_loss"]), float(tested[-1]["test_acc"])) == (
        last["loss"],
        last["accuracy"],
    )
    assert popgrad("train", file, "--dir", "train", "--mode", "train").code == 0
    assert popgrad("train", file, "--dir", "turns", "--mode", "traintest").code == 0
    assert record("parallel") == record("train") == record("turns")
    assert not Path("train/results.csv").exists()
    assert [row["iter"] for row in rows("turns/results.csv")] == ["4", "6", "10", "12"]
    assert readings("train") == []
    assert readings("turns") == [("monitor", "test")] * 4


@pytest.mark.parametrize("kind", ["folders", "idx"])
def test_small_data_without_a_validation_part_trains_by_default(
    kind: str, images: Path, tmp_path: Path
) -> None:
    """The original's users have thousands of images, not tens of thousands, and no folder val/."""
    place = tmp_path / "small"
    for split, name in (("train", "train"), ("test", "t10k")):
        files = sorted((images / split).iterdir())
        (place / split).mkdir(parents=True)
        if kind == "folders":
            for file in files:
                (place / split / file.name).write_bytes(file.read_bytes())
            continue
        pixels = np.stack([np.asarray(Image.open(file)) for file in files])
        labels = np.array([int(file.stem[-1]) for file in files], np.uint8)
        (place / split).rmdir()
        for array, what in ((pixels, "images-idx3"), (labels, "labels-idx1")):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (place / f"{name}-{what}-ubyte").write_bytes(head + array.tobytes())

    assert popgrad("train", write(place), "--dir", "here", "--mode", "train").code == 0
    assert load("here").segments[-1].last_step == 10  # two epochs of 50 images, ten a step


def test_the_rate_is_halved_where_the_file_says(images: Path) -> None:
    popgrad("train", write(images, train={"lr": 0.02}), "--mode", "train", "--dir", "here")
    rates = {s.first_step: s.hparams["lr"] for s in load("here").segments}
    assert rates == {0: 0.02, 4: 0.02, 6: 0.01, 10: 0.01}
    curve = {int(row["step"]): float(row["lr"]) for row in rows("here/loss_summary.csv")}
    assert curve == {4: 0.02, 6: 0.02, 8: 0.01, 10: 0.01, 12: 0.01}


def test_debug_leaves_the_record_and_the_winner_alone(images: Path) -> None:
    file = write(images)
    assert popgrad("train", file, "--dir", "debug", "--debug").code == 0
    assert popgrad("train", file, "--dir", "usual", "--mode", "train").code == 0
    assert record("debug") == record("usual")
    assert {path.suffix for path in Path("debug").iterdir()} == {
        "",
        ".toml",
        ".db",
        ".json",
        ".safetensors",
    }
    wanted = {"events", "history.csv", "loss_summary.csv", "results.png", "schedule.png", "lr.png"}
    assert wanted == {p.name for p in Path("usual").iterdir()} - {
        p.name for p in Path("debug").iterdir()
    }
    assert {path.name for path in Path("usual/events").iterdir()} == {"images", "member-00"}


def test_load_ckpt_goes_on_in_its_directory(images: Path) -> None:
    whole = popgrad("train", write(images), "--dir", "whole", "--mode", "train", "--json")
    popgrad(
        "train", write(images), "--dir", "here", "--mode", "train", "--set", "epochs=1", "--debug"
    )
    again = write(images, "again.json", general={"load_ckpt": "here", "seed": 3}, train={"lr": 0.5})
    saved = Path("here/run.toml").read_text()
    done = popgrad(
        "train", again, "--mode", "train", "--json"
    )  # as configured: nothing is left to train
    assert (done.code, done.json["segments"]) == (0, 2)
    assert Path("here/run.toml").read_text() == saved
    assert popgrad("resume", "here", "--intervals", "4", "--no-test").code == 0
    assert record("here") == record("whole")
    assert Path(whole.json["directory"]).name == "whole"
    assert not Path("runs").exists()
    assert Path(popgrad("run", again, "--no-test", "--json").json["directory"]).name == "here"


def test_the_modes_test_and_val_read_what_is_there(images: Path) -> None:
    file = write(images)
    popgrad("train", file, "--dir", "here", "--mode", "train")
    expected = popgrad("test", "here", "--json").json["metrics"]
    checkpoint = next(Path("here/checkpoints").iterdir())
    assert (
        popgrad("train", file, "--dir", "here", "--mode", "test", "--json").json["metrics"]
        == expected
    )
    loading = write(
        images, "loading.json", test={"load_ckpt": "here"}, val={"load_ckpt": str(checkpoint)}
    )
    tested = popgrad("train", loading, "--mode", "test", "--json")
    assert (tested.json["split"], tested.json["metrics"]) == ("test", expected)
    validated = popgrad("train", loading, "--mode", "val", "--json")
    assert validated.json["split"] == "validation"
    assert validated.json["of"].startswith("checkpoint of member 0, interval ")
    readers = [reader for reader, _ in readings("here")]
    assert readers == [
        "popgrad test",
        *["popgrad train --mode test"] * 2,
        "popgrad train --mode val",
    ]
    assert record("here")[0].count("Segment(") == 4


def test_mistakes_are_one_line_and_leave_nothing(images: Path) -> None:
    file = write(images)
    before = sorted(Path().rglob("*"))
    assert "mode: expected parallel, train, " in refused("train", file, "--mode", "both")
    assert "--mode test: choose a run, by --dir or by load_ckpt in mine.json" in refused(
        "train", file, "--mode", "test"
    )
    assert "nowhere holds no run" in refused("train", file, "--mode", "val", "--dir", "nowhere")
    assert "population: expected 1, got 2; train trains one network" in refused(
        "train", file, "--set", "population=2"
    )
    assert "load: nowhere holds no run" in refused("train", file, "--set", "load=nowhere")
    missing = refused("train", file, "--set", "device=cuda:98,99")
    assert "device 'cuda:98,99' does not exist here; there is cpu" in missing
    assert sorted(Path().rglob("*")) == before
    popgrad("train", file, "--dir", "here", "--mode", "train", "--debug")
    loaded = ("train", file, "--set", "load=here")
    assert "--dir: given there, but load continues here" in refused(*loaded, "--dir", "there")


HOLDING = """
import os, signal
from popgrad import Space, Uniform

class Toy:
    space = Space({"h": Uniform(0.0, 1.0)})
    score = "q"

    def init(self, hparams, ctx):
        return {"x": 0.0}

    def train(self, state, hparams, steps, ctx):
        print("the task says hello")
        while "HOLD" in os.environ and ctx.interval == 2:
            signal.pause()
        return {"x": state["x"] + steps * hparams["h"]}

    def evaluate(self, state, hparams, split, ctx):
        return {"q": state["x"]}
"""

GIVEN = ("--set", "initial=[{h = 0.5}]", "--set", "interval=5")


def test_what_would_be_drawn_at_random_has_to_be_given() -> None:
    Path("toy.py").write_text(HOLDING)
    assert "initial: expected a value for each searched hyperparameter, got none for h;" in refused(
        "train", "toy.py:Toy", "--set", "interval=5"
    )
    assert [path.name for path in Path().iterdir()] == ["toy.py"]


def children(process: int) -> list[int]:
    return [
        int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_stopped_leaves_no_monitor_and_goes_on(number: signal.Signals) -> None:
    Path("toy.py").write_text(HOLDING)
    argv = ("train", "toy.py:Toy", *GIVEN, "--set", "intervals=4", "--dir")
    program = start_program(*argv, "here", HOLD="yes")
    assert program.stderr is not None
    while not (line := program.stderr.readline()).startswith("2/4 intervals"):
        assert line, "it ended before it could be stopped"
    (child,) = children(program.pid)
    monitor = os.pidfd_open(child)
    program.send_signal(number)
    out, err = program.communicate(timeout=100)
    assert (program.returncode, out) == (130, "")
    assert err.endswith("popgrad: interrupted; continue with: popgrad resume here\n")
    assert select.select([monitor], [], [], 0)[0], "the monitor is still there"
    os.close(monitor)
    assert popgrad("train", "toy.py:Toy", "--set", "load=here", "--mode", "traintest").code == 0
    assert popgrad(*argv, "there", "--mode", "train").code == 0
    assert record("here") == record("there")


def test_results_alone_are_on_standard_output() -> None:
    Path("toy.py").write_text(HOLDING)
    program = start_program("train", "toy.py:Toy", *GIVEN, "--set", "intervals=2", "--json")
    out, err = program.communicate(timeout=100)
    assert program.returncode == 0
    assert json.loads(out)["segments"] == 2
    assert "test after epoch 2, step 10 (it decides nothing): q " in err


# --- test ---


def test_any_member_and_its_best_is_tested(images: Path) -> None:
    file = write(images, train=POPULATION)
    assert popgrad("run", file, "--dir", "here", "--no-test", "--executor", "serial").code == 0
    result = load("here")
    for member in range(3):
        for argv, segment in (((), result.lineage(member)[-1]), (("--best",), result.best(member))):
            done = popgrad("test", "here", "--member", str(member), "--validation", "--json", *argv)
            assert done.json["metrics"] == dict(segment.metrics)
            assert done.json["split"] == "validation"
    assert popgrad("test", "here").out.startswith(
        f"winner, member {result.winner.member}, on the test split: "
    )
    assert readings("here") == [("popgrad test", "validation")] * 6 + [("popgrad test", "test")]
    assert "member 3 has no finished segment; members that have: [0, 1, 2]" in refused(
        "test", "here", "--member", "3"
    )
    assert "images holds no run" in refused("test", "images")


# --- convert, and the files as they are ---


@pytest.mark.parametrize(("command", "train"), [("train", {}), ("run", POPULATION)])
def test_what_convert_prints_is_the_same_run(
    command: str, train: dict[str, Any], images: Path
) -> None:
    file = write(images, train=train)
    printed = popgrad("convert", file)
    assert printed.code == 0
    Path("mine.toml").write_text(printed.out)
    more = ("--mode", "train") if command == "train" else ("--no-test", "--executor", "serial")
    for what, place in ((file, "one"), ("mine.toml", "two")):
        assert popgrad(command, what, *more, "--dir", place).code == 0
    assert record("one") == record("two")
    assert Path("one/run.toml").read_text() == Path("two/run.toml").read_text()


@pytest.mark.parametrize("name", ["fc", "conv", "fc_PBT", "conv_PBT"])
def test_a_file_of_the_originals_is_converted_with_a_line_for_each_note(name: str) -> None:
    done = popgrad("convert", str(CONFIGS / f"{name}.json"))
    assert done.code == 0
    assert all(line.startswith("popgrad: ") for line in done.err.splitlines())
    assert "general.data_loader, train.version, test.version, val.version: no effect" in done.err
    Path("it.toml").write_text(done.out)
    config = parse(read(Path("it.toml")))
    assert config.task == ("mnist-conv" if name.startswith("conv") else "mnist-fc")
    assert config.population == (10 if name.endswith("PBT") else 1)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ("convert", "digits"),
            "FILE: expected a .json file of the original project, got 'digits'",
        ),
        (("convert", "gone.json"), "cannot read gone.json"),
        (("convert", "odd.json"), "odd.json: "),
        (("train", "odd.json"), "odd.json: "),
    ],
)
def test_what_cannot_be_converted_is_refused(argv: tuple[str, ...], said: str) -> None:
    Path("odd.json").write_text('{"general": {"model": "fc", "modle": 3}}')
    assert said in refused(*argv)


def shortened(name: str, folder: Path, *argv: str) -> Done:
    file = str(CONFIGS / f"{name}.json")
    return popgrad(
        "run", file, "--population", "2", *argv, "--data-dir", str(folder), "--dir", name, "--json"
    )


@pytest.mark.parametrize("name", ["fc_PBT", "conv_PBT"])
def test_the_originals_populations_run_on_the_real_images(name: str, mnist_dir: Path) -> None:
    done = shortened(name, mnist_dir, "--interval", "3", "--intervals", "2", "--workers", "2")
    assert done.code == 0
    assert (done.json["members"], done.json["intervals"], done.json["segments"]) == (2, 2, 4)
    assert 0.2 < done.json["test"]["accuracy"] < 1.0
    lines = [line for line in done.err.splitlines() if not line.startswith("popgrad: ")]
    assert lines[0].startswith("mnist-")
    assert all(line.startswith(("1/2 ", "2/2 ")) for line in lines[3:])
    kept = {path.name for path in Path(name).iterdir()}
    assert {
        "history.csv",
        "loss_summary.csv",
        "results.png",
        "lr.png",
        "events",
        "run.toml",
    } <= kept


def test_the_originals_network_trains_on_the_real_images(mnist_dir: Path) -> None:
    """`--epochs` goes over the file, whose rate is halved in epochs that do not come any more."""
    settings = ("--set", "interval=100", "--data-dir", str(mnist_dir), "--dir", "fc")
    done = popgrad(
        "train", str(CONFIGS / "fc.json"), *settings, "--set", "epochs=1", "--mode", "train"
    )
    assert done.code == 0
    assert load("fc").segments[-1].metrics["accuracy"] > 0.9
