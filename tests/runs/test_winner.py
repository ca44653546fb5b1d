"""The winner as two files, which need nothing else: weights, and how to rebuild the network."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import popgrad
from popgrad import UsageError, load_model
from spies import Plain, odd

GIVEN: dict[str, Any] = {
    "population": 2,
    "intervals": 2,
    "interval": 3,
    "executor": "serial",
    "device": "cpu",
}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> popgrad.Result:
    """A run of a task that its name finds again, with options."""
    directory = tmp_path_factory.mktemp("named")
    return popgrad.run("digits", options={"n_hiddens": [9, 5]}, directory=directory, **GIVEN)


@pytest.fixture
def moved(named: popgrad.Result, tmp_path: Path) -> Path:
    """The two files on their own, under another name."""
    assert named.directory is not None
    for suffix in ("safetensors", "json"):
        shutil.copy(named.directory / f"best.{suffix}", tmp_path / f"other.{suffix}")
    return tmp_path / "other.safetensors"


def test_two_files_rebuild_the_network_anywhere(named: popgrad.Result, moved: Path) -> None:
    module, x = load_model(moved), torch.rand(7, 64)
    assert not module.training
    assert torch.equal(module(x), named.winner.module(x))
    assert load_model(str(moved)).state_dict().keys() == module.state_dict().keys()


def test_the_weights_are_plain_safetensors(named: popgrad.Result, moved: Path) -> None:
    weights = load_file(moved)
    assert {name: tuple(w.shape) for name, w in weights.items() if name.endswith("weight")} == {
        "0.weight": (9, 64), "3.weight": (5, 9), "6.weight": (10, 5)
    }  # fmt: skip
    assert all(torch.equal(w, named.winner.state["model"][name]) for name, w in weights.items())


def test_others_may_read_what_the_umask_allows(named: popgrad.Result) -> None:
    assert named.directory is not None
    modes = {
        (named.directory / f"best.{suffix}").stat().st_mode for suffix in ("safetensors", "json")
    }
    (named.directory / "plain").touch()
    assert modes == {(named.directory / "plain").stat().st_mode}


def test_the_json_says_how_to_rebuild_it_and_what_trained_it(
    named: popgrad.Result, moved: Path
) -> None:
    about = json.loads(moved.with_suffix(".json").read_text())
    winner = named.winner
    assert about["task"] == "digits"
    assert about["options"] == {"n_hiddens": [9, 5]}
    assert about["hparams"] == winner.hparams
    assert about["score"] == winner.score
    assert about["schedule"] == json.loads(json.dumps(winner.schedule.merged().rows()))
    assert about["rebuild"] == 'popgrad.load_model("best.safetensors")'
    assert about["made_with"]["torch"] == torch.__version__
    assert "Linear(in_features=64" in about["module"]


def test_loading_leaves_the_callers_generator_alone(named: popgrad.Result, moved: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_model(moved)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_loaded_does_not_hang_on_the_file(moved: Path) -> None:
    module, x = load_model(moved), torch.rand(3, 64)
    before = module(x)
    save_file({name: torch.zeros_like(w) for name, w in load_file(moved).items()}, moved)
    assert torch.equal(module(x), before)


def edit(**changes: Any) -> Callable[[Path], None]:
    """Something that changes the JSON; `...` takes a key out of it."""

    def change(path: Path) -> None:
        file = path.with_suffix(".json")
        about = {**json.loads(file.read_text()), **changes}
        file.write_text(
            json.dumps({name: value for name, value in about.items() if value is not ...})
        )

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "cannot read weights from .*other.safetensors"),
        (lambda path: path.write_bytes(b"no tensors"), "cannot read weights from"),
        (
            lambda path: save_file({"w": torch.ones(1)}, path),
            "the state and the network differ: missing 0.bias",
        ),
        (
            lambda path: path.with_suffix(".json").unlink(),
            "cannot read .*other.json, which describes how to rebuild",
        ),
        (lambda path: path.with_suffix(".json").write_text("{"), "cannot read .*other.json"),
        (
            lambda path: path.with_suffix(".json").write_text("[]"),
            "describes no network",
        ),
        (edit(hparams=3), "describes no network: it has no mapping"),
        (edit(options="many"), "describes no network: its .options. are not"),
        (edit(hparams={}), "other.json lacks the hyperparameter lr, keep_prob"),
        (edit(task=...), "names no task, since the run was given an instance: pass task="),
        (edit(task="cifar"), "there is no task 'cifar'"),
        (edit(task="quadratic", options={}), "lacks the hyperparameter|trains no torch module"),
        (edit(options={"wide": True}), "task digits has no option 'wide'"),
        (edit(options={"n_hiddens": [9, 6]}), "of shape .*, the network's is"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_refused(
    spoil: Callable[[Path], Any], message: str, moved: Path
) -> None:
    spoil(moved)
    with pytest.raises(UsageError, match=message) as caught:
        load_model(moved)
    assert "\n" not in str(caught.value)


def test_a_task_that_was_given_as_an_instance_is_given_again(tmp_path: Path) -> None:
    result = popgrad.run(odd(), directory=tmp_path / "run", **GIVEN)
    path = tmp_path / "run" / "best.safetensors"
    with pytest.raises(UsageError, match="names no task"):
        load_model(path)
    x = torch.rand(2, 33)
    assert torch.equal(load_model(path, task=odd())(x), result.winner.module(x))


def test_a_task_without_a_network_has_its_schedule_and_no_module(tmp_path: Path) -> None:
    result = popgrad.run(Plain(), directory=tmp_path / "run", **GIVEN)
    about = json.loads((tmp_path / "run" / "best.json").read_text())
    assert about["schedule"]
    assert "module" not in about
    assert not (tmp_path / "run" / "best.safetensors").exists()
    with pytest.raises(
        UsageError, match=r"a Plain trains no torch module; its result is `winner.state`"
    ):
        _ = result.winner.module
    with pytest.raises(UsageError, match="a Plain trains no torch module"):
        load_model(tmp_path / "run" / "best.safetensors", task=Plain())


def test_a_network_with_a_hyperparameter_in_a_buffer_loads_into_the_plain_module(
    tmp_path: Path,
) -> None:
    def network(hparams: object = None) -> torch.nn.Module:
        module = torch.nn.Sequential(torch.nn.Linear(3, 2), popgrad.nn.Dropout())
        module.register_buffer("clip", torch.tensor(1.0))
        return module

    part = torch.randn(8, 3), torch.arange(8) % 2
    space = {"clip": popgrad.Constant(2.0), "dropout": popgrad.Constant(0.25)}
    task = popgrad.TorchTask(
        space=popgrad.Space(space),
        model=network,
        optimizer=lambda module, hparams: torch.optim.SGD(module.parameters()),
        data=lambda: popgrad.Splits(part, part, part),
    )
    popgrad.run(task, directory=tmp_path / "run", **GIVEN)

    module = network()
    weights = load_file(tmp_path / "run" / "best.safetensors")
    assert str(module.load_state_dict(weights)) == "<All keys matched successfully>"
    assert module.get_buffer("clip") == 2.0
    assert load_model(tmp_path / "run" / "best.safetensors", task=task).get_buffer("clip") == 2.0
    popgrad.run(task, weights=tmp_path / "run" / "best.safetensors", **GIVEN)
