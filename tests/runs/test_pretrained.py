"""The networks that come with popgrad: the right layers, and what their cards say is so."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from popgrad import UsageError
from popgrad.runs import pretrained
from popgrad.runs.evaluate import evaluate_split
from popgrad.runs.pretrained import NAMES, card, load_pretrained, weights

LAYERS = {
    "fc": ["Flatten", *["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2, "Linear"],
    "conv": [*["Conv2d", "BatchNorm2d", "ReLU", "Dropout"] * 2, "Flatten", "Linear"],
}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_it_has_the_layers_of_its_name_and_is_ready_to_be_used(name: str) -> None:
    module = load_pretrained(name)
    assert isinstance(module, nn.Sequential)
    assert [type(layer).__name__ for layer in module] == LAYERS[name.removesuffix("-pbt")]
    assert not module.training
    with torch.no_grad():
        assert module(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values())


def test_its_card_says_how_it_was_made(name: str) -> None:
    found = card(name)
    for key in ("command", "seed", "schedule", "validation", "test"):
        assert key in found, key
    assert 0.9 < found["test"]["accuracy"] < 1.0
    text = json.dumps(found)
    assert not re.search(r'"/(home|root|tmp|work|Users)/', text), "a path of somebody's machine"


def test_its_test_accuracy_is_what_the_card_says(name: str, mnist_dir: Path) -> None:
    """Sums differ in their last bits between machines; one of 10,000 images may fall to the other side."""
    found = evaluate_split(f"pretrained:{name}", data_dir=mnist_dir, reader="a test")
    assert found.card == card(name)["test"]
    assert found.metrics["accuracy"] == pytest.approx(card(name)["test"]["accuracy"], abs=1.5e-4)


def test_a_name_that_there_is_none_of_is_refused_with_those_that_there_are() -> None:
    for call in (load_pretrained, card, weights):
        with pytest.raises(
            UsageError, match=r"expected one of fc, conv, fc-pbt, conv-pbt, got 'gan'$"
        ):
            call("gan")


def test_its_files_lie_in_the_package(name: str) -> None:
    assert weights(name).parent == Path(pretrained.__file__).parent
