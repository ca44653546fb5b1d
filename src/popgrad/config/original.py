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
    """Whether these are the values of an original's file: it has a section general or train."""
    return any(isinstance(values.get(section), Mapping) for section in ("general", "train"))


def convert(
    values: Mapping[str, Any], *, name: str = "", mode: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """The same run in the keys of `popgrad.config.RunConfig`.

    With a PBT_ key or num_worker_tot it is PBT; else it is one member under a given schedule, in which the
    learning rate is halved at each of decreasing_lr_epochs.

    Args:
        values: The file's sections. Numbers and flags may be texts, lists "16,32" or [16, 32].
        name: Of the file, for messages.
        mode: "test" or "val" takes load_ckpt from that section, anything else from train.

    Returns:
        Values for `popgrad.config.parse`, and a line for each group of keys that has no effect.

    Raises:
        UsageError: One line: an unknown section or key, or a value that is not allowed.
    """
    try:
        sections = read(values)
        general, train = sections["general"], sections["train"]
        if "model" not in general:
            raise UsageError("general.model is missing; fc or conv is allowed")
        searched = {key.removeprefix("PBT_"): train[key] for key in train if key.startswith("PBT_")}
        if other := [
            key for key in LAYERS.values() if key in searched and key != LAYERS[general["model"]]
        ]:
            raise UsageError(
                f"train.PBT_{other[0]}: general.model is {general['model']}, which has none"
            )
        is_pbt = bool(searched) or "num_worker_tot" in train
        config = _shared(sections, mode) | (_pbt(train, searched) if is_pbt else _vanilla(sections))
        config["options"] = _options(general, train, set(config.get("space", {})))
        return config, _notes(sections, searched, is_pbt=is_pbt, mode=mode)
    except UsageError as error:
        raise UsageError(f"{name}: {error}" if name else str(error)) from None


def _shared(sections: Sections, mode: str) -> dict[str, Any]:
    """What does not depend on how it is trained."""
    general, train = sections["general"], sections["train"]
    gpus = train.get("gpus", [])
    config: dict[str, Any] = {
        "task": f"mnist-{general['model']}",
        "device": f"cuda:{','.join(map(str, gpus))}" if gpus else "cpu",
        "log_every": train.get("num_iters_for_ckpt", 100),
        "events": True,
    }
    places = {"data_dir": "data_dir", "train_dir": "runs_dir"}
    config |= {new: general[old] for old, new in places.items() if general.get(old)}
    if "seed" in general:
        config["seed"] = general["seed"]
    section = sections[mode if mode in ("test", "val") else "train"]
    if load := general.get("load_ckpt") or section.get("load_ckpt"):
        config["load"] = load
    return config


def _options(
    general: Mapping[str, Any], train: Mapping[str, Any], space: set[str]
) -> dict[str, Any]:
    """Arguments of the task: what the file gives and does not search."""
    # The task would search these two, where they are not given.
    fixed = {"lr": train.get("lr", 0.01), "keep_prob": train.get("keep_prob", 0.8)}
    layers = LAYERS[general["model"]]
    given = {**train, **general, **fixed}  # general goes over train, as it does in the original
    names = (layers, "batch_norm", *fixed, "weight_decay", "batch_size", *SHAPE, *LOADER, "metric")
    # A searched width is that of each layer; the list still says how many there are.
    return {n: given[n] for n in names if n in given and (n not in space or n == layers)}


def _vanilla(sections: Sections) -> dict[str, Any]:
    train, test = sections["train"], sections["test"]
    lr, epochs = train.get("lr", 0.01), sorted(set(train.get("decreasing_lr_epochs", [])))
    rates = [lr * 0.5**i for i in range(len(epochs) + 1)]
    config: dict[str, Any] = {
        "population": 1,
        "executor": "serial",  # one network needs no pool
        "interval": f"{train.get('num_iters_for_ckpt', 100)} steps within epochs",
        "epochs": train.get("num_epochs", 30),
        "strategy": {
            "name": "schedule",
            "phases": [{"epoch": e, "lr": rate} for e, rate in zip(epochs, rates[1:], strict=True)],
        },
    }
    if epochs:
        if rates[-1] < sys.float_info.min:
            raise UsageError(
                f"train.decreasing_lr_epochs: {len(epochs)} halvings of lr = {lr} leave nothing"
            )
        config |= {"space": {"lr": LogUniform(rates[-1], lr).spec()}, "initial": [{"lr": lr}]}
    if "sleep_time_sec" in test:
        config["sleep"] = test["sleep_time_sec"]
    return config


def _pbt(train: Mapping[str, Any], searched: Mapping[str, Dimension]) -> dict[str, Any]:
    members, session, total = (
        train.get(key, default)
        for key, default in (("num_worker_tot", 10), ("num_epochs", 1), ("num_epochs_tot", 50))
    )
    at_once = train.get("num_workers_paral", members)
    if at_once > members:
        raise UsageError(
            f"train.num_workers_paral: given {at_once}; at most num_worker_tot, {members}"
        )
    if session > total:
        raise UsageError(f"train.num_epochs: given {session}; at most num_epochs_tot, {total}")
    config: dict[str, Any] = {
        "population": members,
        "interval": f"{session} epoch{'s' if session > 1 else ''}",
        "epochs": total,
        # The original replaces its worst fifth; its files all have these two factors.
        "strategy": {"name": "pbt", "fraction": 0.2, "factors": train.get("mutation", [0.8, 1.2])},
        "space": {name: dimension.spec() for name, dimension in searched.items()},
    }
    return config | ({"workers": at_once} if at_once < members else {})


def _notes(
    sections: Sections, searched: Mapping[str, Dimension], *, is_pbt: bool, mode: str
) -> list[str]:
    """A line for each reason, with the keys that have no effect for it."""
    model, train_metric = sections["general"]["model"], sections["train"].get("metric")
    tested = ("test", "val")
    reasons = {
        "there is one way to read data, to train and to test": [
            *("general.data_loader", "train.version", "test.version", "val.version")
        ],
        "popgrad numbers the members": ["general.worker_num"],
        "evaluation is in batches of one size, on which its result does not depend": [
            f"{section}.batch_size" for section in tested
        ],
        "evaluation is where training is": [f"{section}.gpus" for section in tested],
        "the mode val tests on what was held out for validation": ["val.val"],
        f"general.model is {model}": [f"general.{k}" for m, k in LAYERS.items() if m != model],
        "general.metric goes before it": ["train.metric"]
        if sections["general"].get("metric", train_metric) != train_metric
        else [],
        "members begin with values of their own": [
            f"{section}.{key}"
            for section in ("general", "train")
            for key in searched
            if key not in LAYERS.values()
        ],
        **{f"only the mode {s} reads it": [f"{s}.load_ckpt"] for s in tested if s != mode},
    }
    if is_pbt:
        reasons["PBT finds the schedule"] = ["train.decreasing_lr_epochs"]
        reasons["members are tested when they have trained"] = ["test.sleep_time_sec"]
    else:
        unused = ("num_workers_paral", "num_epochs_tot", "mutation")
        reasons["it is for PBT, which needs num_worker_tot or a PBT_ key"] = [
            f"train.{k}" for k in unused
        ]
    notes = []
    for reason, keys in reasons.items():
        given = [key for key in keys if _given(sections, key) not in (None, "", [])]
        notes += [f"{', '.join(given)}: no effect; {reason}"] if given else []
    return notes


def _given(sections: Sections, path: str) -> Any:
    section, _, key = path.partition(".")
    return sections[section].get(key)
