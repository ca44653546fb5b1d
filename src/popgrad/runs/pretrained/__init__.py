"""Four networks trained on MNIST, each with a card on how it was made and what it reaches."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.spelling import did_you_mean
from popgrad.runs.winner import load_model

NAMES = ("fc", "conv", "fc-pbt", "conv-pbt")


def load_pretrained(name: str, device: torch.device | str = "cpu") -> nn.Module:
    """Load a network that comes with popgrad, in evaluation mode.

    Args:
        name: "fc" or "conv" (trained with a given schedule), "fc-pbt" or "conv-pbt" (trained as
            populations).
        device: Device to load the network to.

    Raises:
        UsageError: There is no such network.

    Example:
        >>> import popgrad
        >>> popgrad.load_pretrained("fc-pbt")[0]
        Flatten(start_dim=1, end_dim=-1)
    """
    return load_model(weights(name), device=device)


def card(name: str) -> dict[str, Any]:
    """Return the card of a network: command, seed, split, schedule, and metrics on validation and test."""
    return dict(json.loads(weights(name).with_suffix(".json").read_text(encoding="utf-8")))


def weights(name: str) -> Path:
    """Return the path of a network's weights. Raises `UsageError` if there is no such network."""
    if name not in NAMES:
        similar = did_you_mean(name, NAMES)
        raise UsageError(f"pretrained: expected one of {', '.join(NAMES)}, got {name!r}{similar}")
    file = Path(str(files(__name__).joinpath(f"{name}.safetensors")))
    if not file.is_file():
        raise UsageError(
            f"the pretrained network {name} is not in this installation: {file} is missing"
        )
    return file
