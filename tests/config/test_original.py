"""The original project's files: each key, the four that are shipped, edited ones, and what is refused."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from popgrad import config as configuration
from popgrad.config.original import convert, is_original
from popgrad.core.errors import DataError, UsageError
from popgrad.runs.api import start
from popgrad.runs.build import build
from popgrad.runs.components import make_task
from popgrad.tasks import mnist_conv, mnist_fc

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = ["fc", "conv", "fc_PBT", "conv_PBT"]


def file(name="fc"):
    return configuration.read(CONFIGS / f"{name}.json")


def edited(name="fc", /, **sections):
    """A shipped file with keys changed, section by section; None takes a key out."""
    values = copy.deepcopy(file(name))
    for section, table in sections.items():
        values[section] = {k: v for k, v in {**values[section], **table}.items() if v is not None}
    return values


def converted(values, **kwargs):
    config = convert(values, **kwargs)[0]
    configuration.parse(config)
    return config


def refusal(values):
    with pytest.raises(UsageError) as caught:
        convert(values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


SHAPE = {"height": 28, "width": 28, "num_channels": 1, "num_classes": 10}
FIXED = {"weight_decay": 1e-5, "batch_size": 200, "batch_norm": True, "metric": "accuracy", **SHAPE}
LAYERS = {"fc": {"n_hiddens": [256, 256]}, "conv": {"n_filters": [16, 32]}}
SHARED = {"seed": 117, "device": "cpu", "runs_dir": "runs", "events": True}
VANILLA = {
    "population": 1,
    "executor": "serial",
    "interval": "100 steps within epochs",
    "epochs": 30,
    "space": {"lr": {"kind": "log_uniform", "low": 0.0025, "high": 0.01}},
    "initial": [{"lr": 0.01}],
    "strategy": {
        "name": "schedule",
        "phases": [{"epoch": 10, "lr": 0.005}, {"epoch": 20, "lr": 0.0025}],
    },
    "log_every": 100,
    "sleep": 20.0,
}
PBT = {
    "population": 10,
    "interval": "1 epoch",
    "epochs": 50,
    "space": {
        "lr": {"kind": "log_uniform", "low": 0.0001, "high": 0.1},
        "keep_prob": {"kind": "uniform", "low": 0.5, "high": 0.99},
    },
    "strategy": {"name": "pbt", "fraction": 0.2, "factors": [0.8, 1.2]},
}


@pytest.mark.parametrize("model", ["fc", "conv"])
def test_a_vanilla_file_is_one_member_under_a_given_schedule(model):
    options = {**LAYERS[model], **FIXED, "keep_prob": 0.8}
    expected = {**SHARED, **VANILLA, "task": f"mnist-{model}", "options": options}
    assert convert(file(model))[0] == expected


@pytest.mark.parametrize(("model", "log_every"), [("fc", 10), ("conv", 100)])
def test_a_pbt_file_is_a_population(model, log_every):
    options = {**LAYERS[model], **FIXED}
    expected = {
        **SHARED,
        **PBT,
        "task": f"mnist-{model}",
        "options": options,
        "log_every": log_every,
    }
    assert convert(file(f"{model}_PBT"))[0] == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_is_a_configuration_whose_parts_can_be_made(name, mnist_dir):
    values, notes = convert({**file(name)})
    components = build(configuration.parse({**values, "data_dir": str(mnist_dir)}))
    assert components.config.intervals == (
        50 if "PBT" in name else 90
    )  # 275 steps an epoch = 100, 100, 75
    assert all(note.count("\n") == 0 and "no effect" in note for note in notes)


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_file_is_the_same_after_it_is_written_and_read(name, tmp_path):
    config = configuration.parse(convert(file(name))[0])
    (tmp_path / "run.toml").write_text(configuration.write(config))
    assert configuration.parse(configuration.read(tmp_path / "run.toml")) == config


@pytest.mark.parametrize(
    ("values", "is_one"),
    [
        ({"general": {}}, True),
        ({"train": {}, "test": {}}, True),
        ({"task": "digits"}, False),
        ({"general": "digits"}, False),
        ({}, False),
    ],
)
def test_an_original_is_told_by_its_sections(values, is_one):
    assert is_original(values) is is_one


@pytest.mark.parametrize(
    ("section", "key", "value", "place", "expected"),
    [
        ("general", "data_dir", "/data", "data_dir", "/data"),
        ("general", "data_dir", "", "data_dir", None),
        ("general", "train_dir", "/models", "runs_dir", "/models"),
        ("general", "seed", "5", "seed", 5),
        ("general", "load_ckpt", "runs/one", "load", "runs/one"),
        ("train", "load_ckpt", "runs/one", "load", "runs/one"),
        ("general", "n_hiddens", "64", "options.n_hiddens", [64]),
        ("general", "n_hiddens", 64, "options.n_hiddens", [64]),
        ("general", "n_hiddens", [64, "32"], "options.n_hiddens", [64, 32]),
        ("general", "n_hiddens", " 64, 32 ", "options.n_hiddens", [64, 32]),
        ("general", "batch_norm", 0, "options.batch_norm", False),
        ("general", "batch_norm", "1", "options.batch_norm", True),
        ("general", "batch_norm", False, "options.batch_norm", False),
        ("general", "height", 32, "options.height", 32),
        ("general", "width", "16", "options.width", 16),
        ("general", "num_channels", 3, "options.num_channels", 3),
        ("general", "num_classes", 2, "options.num_classes", 2),
        ("general", "metric", "accuracy_categ", "options.metric", "accuracy"),
        ("general", "metric", "accuracy_onehot", "options.metric", "accuracy_onehot"),
        ("general", "metric", "own:score", "options.metric", "own:score"),
        ("general", "crop", 1, "options.crop", True),
        ("train", "crop_shift", 2, "options.crop_shift", 2),
        ("train", "hflip", 1, "options.hflip", True),
        ("general", "vflip", "true", "options.vflip", True),
        ("general", "shuffle", 0, "options.shuffle", False),
        ("train", "batch_size", "64", "options.batch_size", 64),
        ("train", "keep_prob", "0.5", "options.keep_prob", 0.5),
        ("train", "keep_prob", None, "options.keep_prob", 0.8),
        ("train", "weight_decay", "1e-4", "options.weight_decay", 1e-4),
        ("train", "lr", 0.1, "initial", [{"lr": 0.1}]),
        ("train", "gpus", "", "device", "cpu"),
        ("train", "gpus", None, "device", "cpu"),
        ("train", "gpus", "0", "device", "cuda:0"),
        ("train", "gpus", 0, "device", "cuda:0"),
        ("train", "gpus", "0,1", "device", "cuda:0,1"),
        ("train", "gpus", [1, 0], "device", "cuda:1,0"),
        ("train", "num_epochs", 3, "epochs", 3),
        ("train", "num_iters_for_ckpt", 50, "interval", "50 steps within epochs"),
        ("train", "num_iters_for_ckpt", 50, "log_every", 50),
        ("train", "decreasing_lr_epochs", [1], "strategy.phases", [{"epoch": 1, "lr": 0.005}]),
        ("train", "decreasing_lr_epochs", 1, "strategy.phases", [{"epoch": 1, "lr": 0.005}]),
        ("train", "decreasing_lr_epochs", "", "strategy.phases", []),
        ("test", "sleep_time_sec", "0.5", "sleep", 0.5),
    ],
)
def test_a_key_of_a_vanilla_file(section, key, value, place, expected):
    found = converted(edited("fc", **{section: {key: value}}))
    for part in place.split("."):
        found = found.get(part)
    assert found == expected


@pytest.mark.parametrize(
    ("key", "value", "place", "expected"),
    [
        ("num_worker_tot", "20", "population", 20),
        ("num_workers_paral", 4, "workers", 4),
        ("num_workers_paral", 10, "workers", None),
        ("num_workers_paral", None, "workers", None),
        ("num_epochs", 2, "interval", "2 epochs"),
        ("num_epochs_tot", 7, "epochs", 7),
        ("mutation", "0.5, 0.8,1.25 ,2", "strategy.factors", [0.5, 0.8, 1.25, 2.0]),
        ("mutation", [2], "strategy.factors", [2.0]),
        ("PBT_lr", None, "options.lr", 0.01),
        ("PBT_keep_prob", None, "options.keep_prob", 0.8),
        ("PBT_lr", "0.0001,0.1", "space.lr", {"kind": "log_uniform", "low": 0.0001, "high": 0.1}),
        ("PBT_lr", [0.1, 0.0001], "space.lr", {"kind": "log_uniform", "low": 0.0001, "high": 0.1}),
        ("PBT_lr", "0.1,0.01,1", "space.lr", {"kind": "ordinal", "options": [0.01, 0.1, 1.0]}),
        (
            "PBT_weight_decay",
            "1,0",
            "space.weight_decay",
            {"kind": "uniform", "low": 0.0, "high": 1.0},
        ),
        (
            "PBT_batch_size",
            "200,50",
            "space.batch_size",
            {"kind": "integer", "low": 50, "high": 200},
        ),
        ("PBT_batch_size", "8,4,2", "space.batch_size", {"kind": "ordinal", "options": [2, 4, 8]}),
        ("PBT_beta1", "0.9,0.5", "space.beta1", {"kind": "uniform", "low": 0.5, "high": 0.9}),
        ("PBT_beta2", "0.9,0.5", "space.beta2", {"kind": "uniform", "low": 0.5, "high": 0.9}),
        ("PBT_eps", "1e-8,1e-6", "space.eps", {"kind": "uniform", "low": 1e-8, "high": 1e-6}),
        (
            *("PBT_n_hiddens", "16,64", "space.n_hiddens"),
            {"kind": "integer", "low": 16, "high": 64, "init_only": True},
        ),
        (
            *("PBT_batch_norm", "0,1", "space.batch_norm"),
            {"kind": "choice", "options": [False, True], "init_only": True},
        ),
    ],
)
def test_a_key_of_a_pbt_file(key, value, place, expected):
    found = converted(edited("fc_PBT", train={key: value}))
    for part in place.split("."):
        found = found.get(part)
    assert found == expected


def test_filters_are_searched_in_the_network_that_has_them():
    values = edited("conv_PBT", train={"PBT_n_filters": "4,8,16"})
    expected = {"kind": "ordinal", "options": [4, 8, 16], "init_only": True}
    assert converted(values)["space"]["n_filters"] == expected
    assert "n_filters" in converted(values)["options"], "the number of layers"
    assert "train.PBT_n_hiddens: general.model is conv" in refusal(
        edited("conv_PBT", train={"PBT_n_hiddens": "4,8"})
    )


def test_a_searched_key_is_no_option_of_the_task():
    values = edited("fc_PBT", train={"PBT_weight_decay": "0,0.1", "PBT_batch_size": "50,200"})
    assert not {"lr", "keep_prob", "weight_decay", "batch_size"} & set(converted(values)["options"])


@pytest.mark.parametrize("train", [{"PBT_lr": "0.1,0.2"}, {"num_worker_tot": 10}])
def test_a_pbt_key_or_a_number_of_workers_makes_a_population(train):
    config = converted(edited("fc", train=train))
    assert config["population"] == 10
    assert config["strategy"]["name"] == "pbt"


def test_without_decay_the_learning_rate_is_one():
    config = converted(edited("fc", train={"decreasing_lr_epochs": None}))
    assert config["options"]["lr"] == 0.01
    assert "space" not in config
    assert "initial" not in config


def test_the_order_of_the_decay_does_not_matter():
    given = [
        converted(edited("fc", train={"decreasing_lr_epochs": x})) for x in ("20,10", "10,20,10")
    ]
    assert given == [converted(file("fc"))] * 2


def test_a_section_of_a_mode_says_what_to_load():
    values = edited("fc", train={"load_ckpt": "a"}, test={"load_ckpt": "b"}, val={"load_ckpt": "c"})
    loads = {mode: converted(values, mode=mode)["load"] for mode in ("", "train", "test", "val")}
    assert loads == {"": "a", "train": "a", "test": "b", "val": "c"}
    everywhere = edited("fc", general={"load_ckpt": "all"}, test={"load_ckpt": "b"})
    assert converted(everywhere, mode="test")["load"] == "all"


def test_general_goes_over_train_as_it_does_in_the_original():
    values = edited(
        "fc", general={"metric": "accuracy", "hflip": 1}, train={"metric": "loss", "hflip": 0}
    )
    assert converted(values)["options"]["metric"] == "accuracy"
    assert converted(values)["options"]["hflip"] is True


@pytest.mark.parametrize(
    ("name", "sections", "note"),
    [
        (
            "fc",
            {},
            "general.data_loader, train.version, test.version, val.version: no effect; data is read",
        ),
        ("fc", {}, "test.batch_size, val.batch_size: no effect; the result of an evaluation"),
        ("fc", {}, "val.val: no effect; the mode val"),
        (
            "fc",
            {"test": {"gpus": "1"}},
            "test.gpus: no effect; a network is evaluated on the device",
        ),
        ("fc", {"test": {"load_ckpt": "a"}}, "test.load_ckpt: no effect; only the mode test"),
        (
            "fc",
            {"general": {"n_filters": "4"}},
            "general.n_filters: no effect; general.model is fc",
        ),
        (
            "fc",
            {"train": {"metric": "loss"}},
            "train.metric: no effect; general.metric overrides it",
        ),
        (
            "fc",
            {"train": {"mutation": "2", "num_epochs_tot": 9, "num_workers_paral": 1}},
            "train.num_workers_paral, train.num_epochs_tot, train.mutation: no effect; it is for PBT",
        ),
        ("fc_PBT", {}, "general.worker_num: no effect; popgrad numbers the members"),
        (
            "fc_PBT",
            {},
            "train.lr, train.keep_prob: no effect; each member starts with a value of its own",
        ),
        ("fc_PBT", {}, "test.sleep_time_sec: no effect; members are tested after"),
        (
            "fc_PBT",
            {"train": {"decreasing_lr_epochs": "1"}},
            "train.decreasing_lr_epochs: no effect; PBT",
        ),
    ],
)
def test_a_key_without_effect_is_noted(name, sections, note):
    notes = convert(edited(name, **sections))[1]
    assert any(each.startswith(note) for each in notes), notes


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {"general": {"colour": 1}},
            "unknown key 'colour' in general; known are data_dir, train_dir",
        ),
        (
            {"train": {"learning_rate": 1}},
            "unknown key 'learning_rate' in train; known are version",
        ),
        ({"test": {"lr": 1}}, "unknown key 'lr' in test; known are version"),
        ({"val": {"x": 1}}, "unknown key 'x' in val; known are version"),
        (
            {"train": {"PBT_momentum": "0,1"}},
            "'PBT_momentum' in train cannot be searched; known are lr",
        ),
        ({"general": {"model": "lstm"}}, "general.model: expected fc or conv, got 'lstm'"),
        ({"general": {"model": None}}, "general.model: expected fc or conv, got none"),
        ({"general": {"model": ["fc"]}}, "general.model: expected fc or conv, got ['fc']"),
        (
            {"general": {"n_hiddens": "256,x"}},
            "general.n_hiddens: expected a list such as \"1,2\", each an integer, at least 1, got '256,x'",
        ),
        (
            {"general": {"n_hiddens": "256,"}},
            "general.n_hiddens: expected a list such as \"1,2\", each an integer, at least 1, got '256,'",
        ),
        (
            {"general": {"n_hiddens": "256;256"}},
            "general.n_hiddens: expected a list such as \"1,2\", each an integer, at least 1, got '256;256'",
        ),
        ({"general": {"n_hiddens": ""}}, "general.n_hiddens: expected at least one layer, got ''"),
        (
            {"general": {"n_hiddens": {"a": 1}}},
            "general.n_hiddens: expected a list such as \"1,2\", each an integer, at least 1, got {'a': 1}",
        ),
        (
            {"general": {"n_hiddens": [[1]]}},
            'general.n_hiddens: expected a list such as "1,2", each an integer, at least 1, got [[1]]',
        ),
        ({"general": {"batch_norm": 2}}, "general.batch_norm: expected 1 or 0, got 2"),
        ({"general": {"batch_norm": "yes"}}, "general.batch_norm: expected 1 or 0, got 'yes'"),
        ({"general": {"seed": -1}}, "general.seed: expected an integer, at least 0, got -1"),
        ({"general": {"seed": True}}, "general.seed: expected an integer, at least 0, got True"),
        ({"general": {"seed": 1.5}}, "general.seed: expected an integer, at least 0, got 1.5"),
        (
            {"general": {"seed": 10**5000}},
            "general.seed: expected an integer, at least 0, got a huge number",
        ),
        ({"general": {"height": 0}}, "general.height: expected an integer, at least 1, got 0"),
        ({"general": {"data_dir": 5}}, "general.data_dir: expected a string, got 5"),
        (
            {"general": {"crop_shift": "a"}},
            "general.crop_shift: expected an integer, at least 0, got 'a'",
        ),
        ({"train": {"lr": 0}}, "train.lr: expected a number above 0, got 0"),
        ({"train": {"lr": "fast"}}, "train.lr: expected a number above 0, got 'fast'"),
        ({"train": {"lr": "1e999"}}, "train.lr: expected a number above 0, got '1e999'"),
        ({"train": {"lr": float("nan")}}, "train.lr: expected a number above 0, got nan"),
        ({"train": {"lr": "nan"}}, "train.lr: expected a number above 0, got 'nan'"),
        ({"train": {"lr": [0.1]}}, "train.lr: expected a number above 0, got [0.1]"),
        (
            {"train": {"keep_prob": 1.5}},
            "train.keep_prob: expected a number from 0 to 1, got 1.5",
        ),
        (
            {"train": {"weight_decay": -1}},
            "train.weight_decay: expected a number, at least 0, got -1",
        ),
        (
            {"train": {"batch_size": "2.5"}},
            "train.batch_size: expected an integer, at least 1, got '2.5'",
        ),
        (
            {"train": {"gpus": "0,a"}},
            "train.gpus: expected a list such as \"1,2\", each an integer, at least 0, got '0,a'",
        ),
        (
            {"train": {"gpus": "-1"}},
            "train.gpus: expected a list such as \"1,2\", each an integer, at least 0, got '-1'",
        ),
        (
            {"train": {"decreasing_lr_epochs": "0"}},
            "train.decreasing_lr_epochs: expected a list such as",
        ),
        (
            {"train": {"decreasing_lr_epochs": list(range(1, 2000))}},
            "halvings of lr = 0.01 leave nothing",
        ),
        (
            {"train": {"num_worker_tot": 1}},
            "train.num_worker_tot: expected an integer, at least 2, got 1",
        ),
        (
            {"train": {"num_worker_tot": 4, "num_workers_paral": 5}},
            "expected at most num_worker_tot, 4, got 5",
        ),
        (
            {"train": {"num_worker_tot": 4, "num_epochs_tot": 5}},
            "expected at most num_epochs_tot, 5, got 30",
        ),
        (
            {"train": {"mutation": "1,2"}},
            "train.mutation: factors: expected numbers above 0 and other than 1, for example [0.8, 1.25], go",
        ),
        (
            {"train": {"mutation": "0,2"}},
            "train.mutation: expected a list such as \"1,2\", each a number above 0, got '0,2'",
        ),
        (
            {"train": {"mutation": ""}},
            "train.mutation: factors: expected at least one number, for example [0.8, 1.25], got []",
        ),
        (
            {"train": {"PBT_lr": "0.1"}},
            "train.PBT_lr: expected two values (a range) or more (choices), got '0.1'",
        ),
        (
            {"train": {"PBT_lr": ""}},
            "train.PBT_lr: expected two values (a range) or more (choices), got ''",
        ),
        (
            {"train": {"PBT_lr": "0,0.1"}},
            "train.PBT_lr: expected a list such as \"1,2\", each a number above 0, got '0,0.1'",
        ),
        (
            {"train": {"PBT_lr": "0.1,0.1"}},
            "train.PBT_lr: low: expected a number below high = 0.1, got 0.1; for a single value use a consta",
        ),
        (
            {"train": {"PBT_lr": "0.1,0.2,0.1"}},
            "train.PBT_lr: options: expected each option once, got [0.1, 0.1, 0.2]",
        ),
        (
            {"train": {"PBT_beta1": "0.9,1"}},
            "train.PBT_beta1: expected a list such as \"1,2\", each a number from 0 to below 1, got '0.9,1'",
        ),
        (
            {"train": {"PBT_batch_size": "50,99.5"}},
            "train.PBT_batch_size: expected a list such as",
        ),
        (
            {"test": {"batch_size": "all"}},
            "test.batch_size: expected an integer, at least 1, got 'all'",
        ),
        (
            {"test": {"sleep_time_sec": -1}},
            "test.sleep_time_sec: expected a number, at least 0, got -1",
        ),
        ({"val": {"val": 1}}, "val.val: expected a string, got 1"),
    ],
)
def test_a_mistake_is_refused_in_one_line(sections, words):
    assert words in refusal(edited("fc", **sections))


def test_unknown_sections_and_sections_that_are_none_are_refused():
    assert refusal({**file(), "valid": {}}) == "unknown section 'valid'; did you mean 'val'?"
    assert refusal({**file(), "test": [1]}) == "test: expected a table of keys, got [1]"


def test_the_message_names_the_file():
    with pytest.raises(
        UsageError, match=r"^mine.json: general.seed: expected an integer, at least 0, got 'x'"
    ):
        convert(edited("fc", general={"seed": "x"}), name="mine.json")


def test_a_file_of_a_few_keys_has_the_values_of_the_shipped_ones():
    config = converted({"general": {"model": "fc"}})
    assert config["options"] == {"lr": 0.01, "keep_prob": 0.8}
    assert (config["epochs"], config["population"], config["device"]) == (30, 1, "cpu")
    assert converted({"general": {"model": "conv"}, "train": {"PBT_lr": "1,2"}})["epochs"] == 50


def test_a_file_that_somebody_edited_is_understood(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(
        json.dumps(
            {
                "general": {
                    "model": "fc",
                    "n_hiddens": "32",
                    "height": "14",
                    "width": 14,
                    "num_classes": 3,
                },
                "train": {
                    "PBT_lr": "0.1,0.001,0.01",
                    "num_worker_tot": "6",
                    "num_workers_paral": 2,
                },
            }
        )
    )
    config = configuration.parse(convert(configuration.read(path))[0])
    task = make_task(config)
    assert task.model({"lr": 0.1})[1].in_features == 14 * 14
    assert task.space["lr"].spec() == {"kind": "ordinal", "options": [0.001, 0.01, 0.1]}
    assert (config.population, config.workers) == (6, 2)


def test_searched_shapes_reach_the_networks():
    layers = mnist_fc().model({"n_hiddens": 5})
    widths = [layer.out_features for layer in layers if isinstance(layer, nn.Linear)]
    assert widths == [5, 5, 10]
    kinds = [
        type(layer).__name__ for layer in mnist_conv().model({"n_filters": 3, "batch_norm": False})
    ]
    assert kinds == ["Conv2d", "ReLU", "Dropout"] * 2 + ["Flatten", "Linear"]


@pytest.fixture
def colours(tmp_path):
    """Folders of PNG files, 8 x 6 pixels in colour, of 3 classes."""
    rng = np.random.default_rng(0)
    for part in ("train", "val", "test"):
        (tmp_path / part).mkdir()
        for i in range(12):
            pixels = rng.integers(0, 256, (8, 6, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / f"{i}_{i % 3}.png")
    return tmp_path


def own(model, colours, **train):
    """An edited file for these images, trained in this process."""
    general = {
        "data_dir": str(colours),
        "height": 8,
        "width": 6,
        "num_channels": 3,
        "num_classes": 3,
    }
    values = edited(f"{model}_PBT", general=general, train={"batch_size": 4, **train})
    small = {"population": 4, "epochs": 2, "executor": "serial"}
    return configuration.parse({**converted(values), **small})


def test_a_population_searches_everything_on_images_of_ones_own(colours):
    train = {
        "PBT_n_hiddens": "3,9",
        "PBT_batch_norm": "0,1",
        "PBT_batch_size": "3,4,6",
        "PBT_weight_decay": "0,0.1",
        "PBT_beta1": "0.8,0.95",
        "PBT_beta2": "0.99,0.9999",
        "PBT_eps": "1e-9,1e-7",
        **{"crop": 1, "crop_shift": 2, "hflip": 1, "vflip": 1},
    }
    result = start(own("fc", colours, **train), directory=None)
    assert [segment.status for segment in result.segments] == ["done"] * 8
    assert len({segment.hparams["n_hiddens"] for segment in result.segments}) > 1
    assert result.task.epoch_steps({"batch_size": 6}) == 2


def test_a_network_of_filters_is_ranked_by_a_one_hot_metric(colours):
    values = edited("conv_PBT", general={"metric": "accuracy_onehot"})
    assert converted(values)["options"]["metric"] == "accuracy_onehot"
    config = own("conv", colours, shuffle=0, PBT_n_filters="2,3")
    onehot = config.model_copy(update={"options": {**config.options, "metric": "accuracy_onehot"}})
    plain, ranked = (start(each, directory=None) for each in (config, onehot))
    assert [each.score for each in plain.segments] == [each.score for each in ranked.segments]
    assert ranked.score_name == "accuracy_onehot"


@pytest.mark.parametrize(
    ("metric", "score"),
    [("loss", "loss"), ("-loss", "-loss"), ("accuracy_categ", "accuracy_categ")],
)
def test_a_metric_ranks(metric, score):
    assert mnist_fc(metric=metric).score == score


def test_what_does_not_fit_the_images_is_an_error_of_the_data(colours):
    config = own("fc", colours)
    wrong = config.model_copy(update={"options": {**config.options, "height": 7}})
    with pytest.raises(
        DataError,
        match=r"expected images of torch.uint8 \[3, 7, 6\] .*, got torch.uint8 \[3, 8, 6\]",
    ):
        build(wrong)
    fewer = config.model_copy(update={"options": {**config.options, "num_classes": 2}})
    with pytest.raises(DataError, match="expected labels from 0 to 1, got 0 to 2"):
        build(fewer)


KEYS = ["model", "seed", "lr", "PBT_lr", "PBT_batch_norm", "n_hiddens", "gpus", "mutation", "num_epochs",
        "num_worker_tot", "decreasing_lr_epochs", "load_ckpt", "hflip", "PBT_\n", "x\ny"]  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["fc", "conv", "1,2", "0.1,0.01,0.001", "1,x", "0,1", "\n"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)
TABLES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5)
FILES = st.dictionaries(
    st.sampled_from(["general", "train", "test", "val", "other"]), TABLES | VALUES
)


@given(FILES | st.builds(lambda table: {"general": {"model": "fc"}, "train": table}, TABLES))
def test_any_sections_are_converted_or_refused_in_one_line(values):
    lines = []
    try:
        config, lines = convert(values)
        configuration.parse(config)
    except UsageError as error:
        lines = [str(error)]
    assert all(len(line.splitlines()) == 1 for line in lines)
