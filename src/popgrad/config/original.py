"""The JSON files of the project that popgrad grew out of, read as a configuration.

They have the sections general, train, test and val. Keys that start with PBT_ are searched: two numbers are
a range, more are choices. Every key is checked, also if it has no effect; a note gives the reason.
"""

import sys
from collections.abc import Mapping
from typing import Any

from popgrad.config.original_keys import LAYERS, LOADER, SHAPE, Sections, read
from popgrad.core.errors import UsageError
from popgrad.core.ranges import LogUniform
from popgrad.core.space import Dimension


def is_original(values: Mapping[str, Any]) -> bool:
    """Return whether values are those of an original's file: it has a section general or train."""
    return any(isinstance(values.get(section), Mapping) for section in ("general", "train"))


def convert(
    values: Mapping[str, Any], *, name: str = "", mode: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Convert a file to the keys of `popgrad.config.RunConfig`.

    A file with a PBT_ key or num_worker_tot is PBT. Any other file is one member under a given schedule: the
    learning rate is halved at each of decreasing_lr_epochs.

    Args:
        values: Sections of the file. Numbers and booleans may be strings, lists "16,32" or [16, 32].
        name: Name of the file, for messages.
        mode: Mode of the command. "test" and "val" take load_ckpt from their own section, others from train.

    Returns:
        Values for `popgrad.config.parse`, and a line for each group of keys that has no effect.

    Raises:
        UsageError: One line: a section or key is unknown, or a value is not allowed.
    """
    try:
        sections = read(values)
        return _convert(sections, mode)
    except UsageError as error:
        raise UsageError(f"{name}: {error}" if name else str(error)) from None


def _convert(sections: Sections, mode: str) -> tuple[dict[str, Any], list[str]]:
    general, train = sections["general"], sections["train"]
    if "model" not in general:
        raise UsageError("general.model: expected fc or conv, got none")

    searched = {key.removeprefix("PBT_"): train[key] for key in train if key.startswith("PBT_")}
    own_layers = LAYERS[general["model"]]
    for layers in LAYERS.values():
        if layers in searched and layers != own_layers:
            raise UsageError(
                f"train.PBT_{layers}: general.model is {general['model']}, which has none"
            )

    is_pbt = bool(searched) or "num_worker_tot" in train
    config = _common(sections, mode)
    config |= _pbt(train, searched) if is_pbt else _vanilla(sections)
    config["options"] = _options(general, train, set(config.get("space", {})))
    return config, _notes(sections, searched, is_pbt=is_pbt, mode=mode)


def _common(sections: Sections, mode: str) -> dict[str, Any]:
    """Return the keys that PBT and the training of one network have in common."""
    general, train = sections["general"], sections["train"]
    gpus = train.get("gpus", [])
    config: dict[str, Any] = {
        "task": f"mnist-{general['model']}",
        "device": f"cuda:{','.join(map(str, gpus))}" if gpus else "cpu",
        "log_every": train.get("num_iters_for_ckpt", 100),
        "events": True,
    }
    for original, key in {"data_dir": "data_dir", "train_dir": "runs_dir"}.items():
        if general.get(original):
            config[key] = general[original]
    if "seed" in general:
        config["seed"] = general["seed"]

    section = sections[mode if mode in ("test", "val") else "train"]
    load = general.get("load_ckpt") or section.get("load_ckpt")
    if load:
        config["load"] = load
    return config


def _options(
    general: Mapping[str, Any], train: Mapping[str, Any], space: set[str]
) -> dict[str, Any]:
    """Options of the task: those that the file sets and does not search."""
    # The task would search these two if they were left out.
    fixed = {"lr": train.get("lr", 0.01), "keep_prob": train.get("keep_prob", 0.8)}
    layers = LAYERS[general["model"]]
    # As in the original, general overrides train.
    values = {**train, **general, **fixed}
    names = (layers, "batch_norm", *fixed, "weight_decay", "batch_size", *SHAPE, *LOADER, "metric")
    # A searched width is that of every layer; the list still gives the number of layers.
    return {
        name: values[name]
        for name in names
        if name in values and (name not in space or name == layers)
    }


def _vanilla(sections: Sections) -> dict[str, Any]:
    """Return the keys of one network under a given schedule."""
    train, test = sections["train"], sections["test"]
    lr = train.get("lr", 0.01)
    epochs = sorted(set(train.get("decreasing_lr_epochs", [])))
    rates = [lr * 0.5**halvings for halvings in range(len(epochs) + 1)]
    phases = [{"epoch": epoch, "lr": rate} for epoch, rate in zip(epochs, rates[1:], strict=True)]
    config: dict[str, Any] = {
        "population": 1,
        # One network needs no pool of workers.
        "executor": "serial",
        "interval": f"{train.get('num_iters_for_ckpt', 100)} steps within epochs",
        "epochs": train.get("num_epochs", 30),
        "strategy": {"name": "schedule", "phases": phases},
    }
    if epochs:
        if rates[-1] < sys.float_info.min:
            raise UsageError(
                f"train.decreasing_lr_epochs: {len(epochs)} halvings of lr = {lr} leave nothing"
            )
        config["space"] = {"lr": LogUniform(rates[-1], lr).spec()}
        config["initial"] = [{"lr": lr}]
    if "sleep_time_sec" in test:
        config["sleep"] = test["sleep_time_sec"]
    return config


def _pbt(train: Mapping[str, Any], searched: Mapping[str, Dimension]) -> dict[str, Any]:
    """Return the keys of Population Based Training."""
    members = train.get("num_worker_tot", 10)
    at_once = train.get("num_workers_paral", members)
    if at_once > members:
        raise UsageError(
            f"train.num_workers_paral: expected at most num_worker_tot, {members}, got {at_once}"
        )
    session = train.get("num_epochs", 1)
    total = train.get("num_epochs_tot", 50)
    if session > total:
        raise UsageError(
            f"train.num_epochs: expected at most num_epochs_tot, {total}, got {session}"
        )

    config: dict[str, Any] = {
        "population": members,
        "interval": f"{session} epoch{'s' if session > 1 else ''}",
        "epochs": total,
        # The original replaces its worst fifth; its files all have these two factors.
        "strategy": {"name": "pbt", "fraction": 0.2, "factors": train.get("mutation", [0.8, 1.2])},
        "space": {name: dimension.spec() for name, dimension in searched.items()},
    }
    if at_once < members:
        config["workers"] = at_once
    return config


def _notes(
    sections: Sections, searched: Mapping[str, Dimension], *, is_pbt: bool, mode: str
) -> list[str]:
    """Return a line for each reason, with the keys that have no effect for it."""
    model = sections["general"]["model"]
    train_metric = sections["train"].get("metric")
    overridden = sections["general"].get("metric", train_metric) != train_metric
    tested = ("test", "val")
    reasons = {
        "data is read, and networks are trained and tested, in one way": [
            *("general.data_loader", "train.version", "test.version", "val.version")
        ],
        "popgrad numbers the members": ["general.worker_num"],
        "the result of an evaluation does not depend on the size of its batches": [
            f"{section}.batch_size" for section in tested
        ],
        "a network is evaluated on the device that it is trained on": [
            f"{section}.gpus" for section in tested
        ],
        "the mode val uses the validation split": ["val.val"],
        f"general.model is {model}": [f"general.{k}" for m, k in LAYERS.items() if m != model],
        "general.metric overrides it": ["train.metric"] if overridden else [],
        "each member starts with a value of its own": [
            f"{section}.{key}"
            for section in ("general", "train")
            for key in searched
            if key not in LAYERS.values()
        ],
        **{f"only the mode {s} reads it": [f"{s}.load_ckpt"] for s in tested if s != mode},
    }
    if is_pbt:
        reasons["PBT finds the schedule"] = ["train.decreasing_lr_epochs"]
        reasons["members are tested after they have trained"] = ["test.sleep_time_sec"]
    else:
        unused = ("num_workers_paral", "num_epochs_tot", "mutation")
        reasons["it is for PBT, which needs num_worker_tot or a PBT_ key"] = [
            f"train.{k}" for k in unused
        ]

    notes = []
    for reason, keys in reasons.items():
        present = [key for key in keys if _value(sections, key) not in (None, "", [])]
        if present:
            notes.append(f"{', '.join(present)}: no effect; {reason}")
    return notes


def _value(sections: Sections, path: str) -> Any:
    section, _, key = path.partition(".")
    return sections[section].get(key)
