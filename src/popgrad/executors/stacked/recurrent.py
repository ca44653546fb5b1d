"""Recurrent layers of torch as operations that vmap has rules for."""

from collections.abc import Callable, Sequence
from typing import Any

import torch


def run_recurrent(
    kind: str, dropout: Callable[[torch.Tensor, float], torch.Tensor], *args: Any
) -> tuple[torch.Tensor, ...]:
    """Call a recurrent layer, for inputs that are not packed.

    torch's own decomposition leaves out the dropout between layers, so layers are called one by one.

    Args:
        kind: "gru", "lstm", "rnn_tanh" or "rnn_relu".
        dropout: (x, p) -> x, the dropout between layers.
        args: Arguments of `torch.gru` or the like, in their order.

    Returns:
        The outputs and the final hidden states, as torch returns them.

    Raises:
        TypeError: The inputs are packed.
    """
    if isinstance(args[3], Sequence):
        raise TypeError("packed sequences")
    x, hidden, params, biases, layers, p, train, bidirectional, batch_first = args
    call = getattr(torch.ops.aten, kind).input.decompose
    hiddens = hidden if kind == "lstm" else (hidden,)
    directions = 2 if bidirectional else 1
    count = len(params) // layers
    x = x.transpose(0, 1) if batch_first else x

    finals = []
    for layer in range(layers):
        rows = slice(layer * directions, (layer + 1) * directions)
        own = tuple(h[rows] for h in hiddens)
        weights = params[layer * count : (layer + 1) * count]
        start = own if kind == "lstm" else own[0]
        x, *final = call(x, start, weights, biases, 1, 0.0, train, bidirectional, False)
        finals.append(final)
        if train and p and layer < layers - 1:
            x = dropout(x, p)

    states = (torch.cat(parts) for parts in zip(*finals, strict=True))
    return (x.transpose(0, 1) if batch_first else x, *states)
