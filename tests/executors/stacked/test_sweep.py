"""A stack does what serial training does, or refuses: a table of layers, losses, optimizers, hooks.

A new entry is a line in `ENTRIES`: what of a task is special, and whether it can be stacked.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, rnn, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

import popgrad.nn
from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.segment import Assignment, Outcome
from popgrad.core.space import Space
from popgrad.data import Splits
from popgrad.executors import Executor, Serial, Vectorised
from popgrad.state import State, flatten
from popgrad.tasks import TorchTask

CPU = (torch.device("cpu"),)
SAMPLES = 14  # batches of 6, 6 and 2
SEGMENTS = (2, 3)  # steps, over the end of an epoch

Model = Callable[[Hparams], nn.Module]


@dataclass(frozen=True)
class Entry:
    """A task that has something special, and whether its members can be stacked."""

    expected: Literal["same", "refused"]
    model: Model
    shape: tuple[int, ...] = (6,)
    words: int = 0
    parts: Mapping[str, Any] = field(default_factory=dict)
    hparams: tuple[Hparams, ...] = ({"lr": 0.1}, {"lr": 0.03})


def data(shape: tuple[int, ...], words: int) -> Splits:
    generator = torch.Generator().manual_seed(5)
    parts = []
    for count in (SAMPLES, 10, 1):
        x = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
        x = torch.randint(words, (count, *shape), generator=generator) if words else x
        parts.append((x, torch.randint(3, (count,), generator=generator)))
    return Splits(*parts)


def task(entry: Entry) -> TorchTask:
    made = TorchTask(
        space=Space({}),
        model=lambda hparams: entry.model(hparams).double(),
        optimizer=lambda module, hparams: optim.SGD(module.parameters(), lr=0.1, momentum=0.9),
        data=lambda: data(entry.shape, entry.words),
        batch_size=6,
        evaluation_batch_size=4,
        log_every=1,
    )
    return replace(made, **entry.parts)


# --- models ---------------------------------------------------------------------------------------


def mlp(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), *layers, nn.Tanh(), nn.Linear(8, 3))


def images(*layers: nn.Module, channels: int = 4, size: int = 5) -> nn.Module:
    out = nn.Linear(channels * size * size, 3)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *layers, nn.Flatten(), out)


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Recurrent(nn.Module):
    """A recurrent layer over [b, 4, 6], of which the last output counts."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.layer = kind(6, 5, batch_first=True, **options)
        size = options.get("proj_size", 5) * (2 if options.get("bidirectional") else 1)
        self.out = nn.Linear(size, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.layer(x)[0][:, -1])


class Packed(Recurrent):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        packed = rnn.pack_padded_sequence(x, torch.full((len(x),), 3), batch_first=True)
        return self.out(rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0][:, -1])


class Attention(nn.Module):
    def __init__(self, dropout: float = 0.0, *, weights: bool = False) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(6, 2, dropout=dropout, batch_first=True)
        self.out = nn.Linear(6, 3)
        self.weights = weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.layer(x, x, x, need_weights=self.weights)[0].mean(1))


def transformer(dropout: float, **options: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=dropout, batch_first=True, **options)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 3))


class Tied(nn.Module):
    """Weights in two places: one parameter, or two parameters that share memory."""

    def __init__(self, how: str) -> None:
        super().__init__()
        # In double precision from the start: a conversion would make memory of its own for each.
        self.encoder, self.decoder = nn.Linear(6, 6).double(), nn.Linear(6, 6).double()
        self.out = nn.Linear(6, 3)
        if how == "one parameter":
            self.decoder.weight = self.encoder.weight
        elif how == "transposed":
            self.decoder.weight.data = self.encoder.weight.data.t()
        elif how == "view":
            self.decoder.weight = nn.Parameter(self.encoder.weight.detach().view(6, 6))
        elif how == "buffer":
            self.register_buffer("seen", self.encoder.weight.detach())
        elif how == "plain attribute":
            self.kept = self.encoder.weight.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.decoder(self.encoder(x).tanh())
        x = x + (self.kept.sum() if hasattr(self, "kept") else 0.0)
        return self.out(x + self.seen.sum() if hasattr(self, "seen") else x)


class Flat(nn.Module):
    """Two weights that lie side by side in one piece of memory."""

    def __init__(self) -> None:
        super().__init__()
        memory = 0.1 * torch.randn(36)
        self.a = nn.Parameter(memory[:18].view(3, 6))
        self.b = nn.Parameter(memory[18:].view(3, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.a) + functional.linear(x, self.b).tanh()


class Counting(nn.Module):
    """Python state: a count of calls, which changes nothing, the training, or the evaluation."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.what = what
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        if self.what == "training" or (self.what == "evaluation" and not self.training):
            x = x * (1.0 + self.calls)
        return self.layer(x)


class Buffered(nn.Module):
    """A buffer that is updated in the forward pass."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.register_buffer("mean", torch.zeros(6, dtype=torch.float64))
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            with torch.no_grad():
                if self.how == "in place":
                    self.mean.lerp_(x.mean(0), 0.1)
                elif self.how == "replaced":
                    self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
                else:
                    self.mean.data.copy_(x.mean(0))
        return self.layer(x - self.mean)


class Rated(nn.Module):
    """A rate as an attribute of one's own."""

    def __init__(self, rate: float, *, scale: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.rate = rate
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.dropout(x, self.rate, self.training)
        return self.layer(x * (1.0 + self.rate) if self.scale else x)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return y if y.sum() > 0 else -y


class Half(nn.Module):
    """Autocast to bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layer(x).double()


class Straight(torch.autograd.Function):
    """Rounds; its gradient is that of doing nothing."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.round()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        return None

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


class Reversed(torch.autograd.Function):
    """Reverses gradients, in torch's older form."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return -gradient


def frozen(hparams: Hparams) -> nn.Module:
    made = mlp()
    made[0].requires_grad_(False)
    return made


def centred() -> nn.Module:
    class Centred(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight - weight.mean()

    made = nn.Linear(6, 3)
    parametrize.register_parametrization(made, "weight", Centred())
    return made


# --- hooks ----------------------------------------------------------------------------------------


def hooked(register: Callable[[Any], object]) -> Model:
    def model(hparams: Hparams) -> nn.Module:
        made = mlp().double()
        register(made)
        return made

    return model


def each_parameter(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    def register(module: nn.Module) -> None:
        for parameter in module.parameters():
            hook(parameter)

    return register


def decayed(parameter: torch.Tensor) -> None:
    with torch.no_grad():
        parameter.mul_(0.9)


def clipped_outputs(module: nn.Module) -> None:
    """A hook of a tensor within the forward pass, which vmap never calls."""

    def hook(_: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: 0.1 * gradient)

    module[0].register_forward_hook(hook)


def counted(module: nn.Module) -> None:
    calls: list[int] = []

    def hook(_: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return output * len(calls)

    module[0].register_forward_hook(hook)


def hooked_optimizer(register: Callable[[optim.Optimizer], object]) -> Mapping[str, Any]:
    def optimizer(module: nn.Module, hparams: Hparams) -> optim.Optimizer:
        made = optim.SGD(module.parameters(), lr=0.1)
        register(made)
        return made

    return {"optimizer": optimizer}


def shrink(optimizer: optim.Optimizer, *_: Any) -> None:
    with torch.no_grad():
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.mul_(0.9)


def patched(optimizer: Any) -> None:
    step = optimizer.step

    def twice() -> None:
        step()
        step()

    optimizer.step = twice


def accumulated(module: nn.Module) -> None:
    """A hook where autograd accumulates a gradient; no attribute of the parameter shows it."""
    weight = module[0].weight
    with torch.enable_grad():
        node = weight.expand_as(weight).grad_fn.next_functions[0][0]
    node.register_prehook(lambda gradients: (0.1 * gradients[0],))
    module.keep = node  # the node lives as long as something refers to it


# --- losses ---------------------------------------------------------------------------------------


def loss_of(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Mapping[str, Any]:
    return {"loss": lambda module, batch, hparams: function(module(batch[0]), batch[1])}


def one_hot(y: torch.Tensor) -> torch.Tensor:
    return functional.one_hot(y, 3).double()


def noisy_inputs(draw: Callable[[torch.Tensor], torch.Tensor]) -> Mapping[str, Any]:
    def loss(module: nn.Module, batch: Any, hparams: Any) -> torch.Tensor:
        x = batch[0]
        return functional.cross_entropy(module(x + draw(x)), batch[1])

    return {"loss": loss}


def mixup(module: nn.Module, batch: Any, hparams: Any) -> torch.Tensor:
    x, y = batch
    order = torch.randperm(len(x))
    outputs = module(0.7 * x + 0.3 * x[order])
    return functional.cross_entropy(outputs, 0.7 * one_hot(y) + 0.3 * one_hot(y[order]))


def python_noise(module: nn.Module, batch: Any, hparams: Any) -> torch.Tensor:
    return functional.cross_entropy(module(batch[0]), batch[1]) * (1.0 + random.random())


def numpy_noise(module: nn.Module, batch: Any, hparams: Any) -> torch.Tensor:
    return functional.cross_entropy(module(batch[0]), batch[1]) * (1.0 + np.random.rand())  # noqa: NPY002


def gradient_penalty(module: nn.Module, batch: Any, hparams: Any) -> torch.Tensor:
    x = batch[0].clone().requires_grad_()
    loss = functional.cross_entropy(module(x), batch[1])
    (gradient,) = torch.autograd.grad(loss, [x], create_graph=True)
    return loss + gradient.square().sum()


def l2(module: nn.Module, batch: Any, hparams: Any) -> torch.Tensor:
    penalty = sum(p.square().sum() for p in module.parameters())
    return functional.cross_entropy(module(batch[0]), batch[1]) + hparams["weight"] * penalty


def masked(module: nn.Module, batch: Any, hparams: Any) -> torch.Tensor:
    keep = batch[1] > 0
    return functional.cross_entropy(module(batch[0])[keep], batch[1][keep])


def annealed() -> Mapping[str, Any]:
    steps: list[int] = []

    def loss(module: nn.Module, batch: Any, hparams: Any) -> torch.Tensor:
        steps.append(1)
        return functional.cross_entropy(module(batch[0]), batch[1]) / len(steps)

    return {"loss": loss}


_GLOBAL = [0]


def global_count(module: nn.Module, batch: Any, hparams: Any) -> torch.Tensor:
    """State that no argument refers to."""
    _GLOBAL[0] += 1
    return functional.cross_entropy(module(batch[0]), batch[1]) * (1 + _GLOBAL[0] % 3)


def detached(module: nn.Module, batch: Any, hparams: Any) -> torch.Tensor:
    loss = functional.cross_entropy(module(batch[0]), batch[1])
    return loss * loss.detach()


def whole_evaluation(module: nn.Module, batch: Any) -> torch.Tensor:
    """Dropout in the prediction (Gal and Ghahramani 2016)."""
    return functional.dropout(module(batch[0]), 0.5)


def training_prediction(module: nn.Module, batch: Any) -> torch.Tensor:
    return module.train()(batch[0])


def random_metric(outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, float]:
    return {"accuracy": float(torch.rand(()))}


# --- optimizers -----------------------------------------------------------------------------------


def update(kind: Callable[..., Any], **options: Any) -> Mapping[str, Any]:
    return {"optimizer": lambda module, hparams: kind(module.parameters(), **options)}


class OwnSGD(optim.SGD):
    pass


def unlike(module: nn.Module, hparams: Hparams) -> optim.Optimizer:
    kind = optim.SGD if hparams["lr"] > 0.05 else optim.Adam
    return kind(module.parameters())


def partly(module: nn.Module, hparams: Hparams) -> optim.Optimizer:
    layers = module if hparams["lr"] > 0.05 else module[2]
    return optim.SGD(layers.parameters())


DROPOUT = ({"lr": 0.1, "dropout": 0.3}, {"lr": 0.03, "dropout": 0.6})
NO_DROPOUT = (
    {"lr": 0.1, "dropout": 0.0},
    {"lr": 0.03, "dropout": 0.6},
    {"lr": 0.1, "dropout": 1.0},
)
plain: Model = lambda hparams: mlp()  # noqa: E731
SEQUENCE, IMAGE = (4, 6), (2, 5, 5)


def same(*layers: Callable[[], nn.Module]) -> Entry:
    return Entry("same", lambda hparams: mlp(*(layer() for layer in layers)))


def picture(expected: Any, layer: Callable[[], nn.Module], **options: Any) -> Entry:
    return Entry(expected, lambda hparams: images(layer(), **options), IMAGE)


def recurrent(expected: Any, kind: type[nn.RNNBase], **options: Any) -> Entry:
    return Entry(expected, lambda hparams: Recurrent(kind, **options), SEQUENCE)


def with_parts(expected: Any, parts: Mapping[str, Any], **options: Any) -> Entry:
    return Entry(expected, plain, parts=parts, **options)


def rated(model: Model, shape: tuple[int, ...] = (6,), **options: Any) -> Entry:
    return Entry("same", model, shape, hparams=DROPOUT, **options)


ENTRIES: Mapping[str, Entry] = {
    # layers
    "linear": same(),
    "bilinear": Entry(
        "same", lambda _: nn.Sequential(Apply(lambda x: nn.functional.glu(x)), nn.Linear(3, 3))
    ),
    **{
        kind.__name__: same(kind)
        for kind in (
            nn.ReLU,
            nn.LeakyReLU,
            nn.ELU,
            nn.GELU,
            nn.SiLU,
            nn.Softplus,
            nn.Hardswish,
            nn.PReLU,
            nn.Mish,
        )
    },
    "RReLU": Entry("refused", lambda _: mlp(nn.RReLU())),
    "in place": same(lambda: nn.ReLU(inplace=True)),
    "BatchNorm1d": same(lambda: nn.BatchNorm1d(8)),
    "BatchNorm1d, cumulative": Entry("refused", lambda _: mlp(nn.BatchNorm1d(8, momentum=None))),
    "LayerNorm": same(lambda: nn.LayerNorm(8)),
    "RMSNorm": same(lambda: nn.RMSNorm(8)),
    "GroupNorm": picture("same", lambda: nn.GroupNorm(2, 4)),
    "InstanceNorm2d": picture("same", lambda: nn.InstanceNorm2d(4, affine=True)),
    "BatchNorm2d": picture("same", lambda: nn.BatchNorm2d(4)),
    "depthwise": picture("same", lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4)),
    "ConvTranspose2d": picture("same", lambda: nn.ConvTranspose2d(4, 4, 3, padding=1)),
    "MaxPool2d": picture("same", lambda: nn.MaxPool2d(2), size=2),
    "AdaptiveAvgPool2d": picture("same", lambda: nn.AdaptiveAvgPool2d(2), size=2),
    "Upsample": picture("same", lambda: nn.Upsample(scale_factor=2), size=10),
    "Conv1d": Entry(
        "same",
        lambda _: nn.Sequential(nn.Conv1d(4, 3, 3), nn.Flatten(), nn.Linear(12, 3)),
        SEQUENCE,
    ),
    "Embedding": Entry(
        "same", lambda _: nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 3)), (3,), 7
    ),
    "Embedding, padding": Entry(
        "same",
        lambda _: nn.Sequential(nn.Embedding(7, 4, 0), nn.Flatten(), nn.Linear(12, 3)),
        (3,),
        7,
    ),
    "Embedding, max_norm": Entry(
        "refused",
        lambda _: nn.Sequential(nn.Embedding(7, 4, max_norm=0.1), nn.Flatten(), nn.Linear(12, 3)),
        (3,),
        7,
    ),
    "Embedding, sparse": Entry(
        "refused",
        lambda _: nn.Sequential(nn.Embedding(7, 4, sparse=True), nn.Flatten(), nn.Linear(12, 3)),
        (3,),
        7,
        update(optim.SGD, lr=0.1),
    ),
    "GRU": recurrent("same", nn.GRU),
    "LSTM": recurrent("same", nn.LSTM),
    "RNN": recurrent("same", nn.RNN),
    "GRU, bidirectional, two layers": recurrent("same", nn.GRU, num_layers=2, bidirectional=True),
    "LSTM, projected": recurrent("same", nn.LSTM, num_layers=2, proj_size=3),
    "LSTM without bias": recurrent("same", nn.LSTM, num_layers=2, bias=False),
    "GRU with dropout": recurrent("same", nn.GRU, num_layers=2, dropout=0.3),
    "LSTM with dropout": recurrent("same", nn.LSTM, num_layers=3, dropout=0.3, bidirectional=True),
    "RNN with dropout": recurrent("same", nn.RNN, num_layers=2, dropout=0.3, nonlinearity="relu"),
    "GRU, packed": Entry("refused", lambda _: Packed(nn.GRU), SEQUENCE),
    "attention": Entry("same", lambda _: Attention(), SEQUENCE),
    "attention with dropout": Entry("same", lambda _: Attention(0.3), SEQUENCE),
    "attention with dropout and weights": Entry(
        "same", lambda _: Attention(0.3, weights=True), SEQUENCE
    ),
    "transformer": Entry("same", lambda _: transformer(0.0), SEQUENCE),
    "transformer with dropout": Entry(
        "same", lambda _: transformer(0.2, norm_first=True), SEQUENCE
    ),
    # dropout
    "Dropout": same(lambda: nn.Dropout(0.4)),
    "Dropout2d": picture("same", lambda: nn.Dropout2d(0.4)),
    "AlphaDropout": same(lambda: nn.AlphaDropout(0.4)),
    "FeatureAlphaDropout": picture("same", lambda: nn.FeatureAlphaDropout(0.4)),
    "popgrad.nn.Dropout": rated(lambda _: mlp(popgrad.nn.Dropout())),
    "a rate of each member": rated(
        lambda h: mlp(nn.Dropout(h["dropout"]), nn.Tanh(), nn.Dropout(h["dropout"] / 2))
    ),
    "a rate in place": rated(lambda h: mlp(nn.Dropout(p=h["dropout"], inplace=True))),
    "rates of none and all": replace(
        rated(lambda h: mlp(nn.Dropout(h["dropout"]))), hparams=NO_DROPOUT
    ),
    "rates of none and all in attention": replace(
        rated(lambda h: Attention(h["dropout"]), SEQUENCE), hparams=NO_DROPOUT[:2]
    ),
    "a rate of channels": rated(lambda h: images(nn.Dropout2d(h["dropout"])), IMAGE),
    "a rate in a transformer": rated(lambda h: transformer(h["dropout"]), SEQUENCE),
    "a rate in attention": rated(lambda h: Attention(h["dropout"], weights=True), SEQUENCE),
    "a rate between recurrent layers": rated(
        lambda h: Recurrent(nn.GRU, num_layers=2, dropout=h["dropout"]), SEQUENCE
    ),
    "a rate in an attribute": rated(lambda h: Rated(h["dropout"])),
    "a rate that scales too": replace(
        rated(lambda h: Rated(h["dropout"], scale=True)), expected="refused"
    ),
    "a rate of AlphaDropout": replace(
        rated(lambda h: mlp(nn.AlphaDropout(h["dropout"]))), expected="refused"
    ),
    "a slope of each member": replace(
        rated(lambda h: mlp(nn.LeakyReLU(h["dropout"]))), expected="refused"
    ),
    # weights and state
    "weight norm, old": Entry("same", lambda _: weight_norm(nn.Linear(6, 3))),
    "weight norm": Entry("same", lambda _: parametrizations.weight_norm(nn.Linear(6, 3))),
    "spectral norm, old": Entry("refused", lambda _: spectral_norm(nn.Linear(6, 3))),
    "spectral norm": Entry("refused", lambda _: parametrizations.spectral_norm(nn.Linear(6, 3))),
    "orthogonal": Entry("same", lambda _: parametrizations.orthogonal(nn.Linear(6, 3))),
    "parametrization": Entry("same", lambda _: centred()),
    **{
        f"tied: {how}": Entry("refused", partial(lambda how, _: Tied(how), how))
        for how in ("transposed", "view", "buffer", "plain attribute")
    },
    "tied: one parameter": Entry("same", lambda _: Tied("one parameter")),
    "side by side": Entry("same", lambda _: Flat()),
    "frozen": Entry("same", frozen),
    **{
        f"buffer {how}": Entry("same", partial(lambda how, _: Buffered(how), how))
        for how in ("in place", "replaced")
    },
    "buffer through data": Entry("refused", lambda _: Buffered("data")),
    **{
        f"count for {what}": Entry("same", partial(lambda what, _: Counting(what), what))
        for what in ("nothing", "training", "evaluation")
    },
    "branches": Entry("refused", lambda _: Branching()),
    "autocast": Entry("same", lambda _: Half()),
    "a function of one's own": Entry("same", lambda _: mlp(Apply(Straight.apply))),
    "a function of one's own, old": Entry("refused", lambda _: mlp(Apply(Reversed.apply))),
    "checkpointing": Entry(
        "refused", lambda _: mlp(Apply(lambda x: checkpoint(torch.sin, x, use_reentrant=False)))
    ),
    # hooks
    "forward hook": Entry(
        "same", hooked(lambda m: m[0].register_forward_hook(lambda _, i, o: 2.0 * o))
    ),
    "forward pre-hook": Entry(
        "same", hooked(lambda m: m.register_forward_pre_hook(lambda _, i: (2.0 * i[0],)))
    ),
    "forward hook that counts in evaluation": Entry("refused", hooked(counted)),
    "forward hook that hooks a tensor": Entry("refused", hooked(clipped_outputs)),
    "full backward hook": Entry(
        "refused", hooked(lambda m: m[2].register_full_backward_hook(lambda _, i, o: (0.1 * i[0],)))
    ),
    "full backward pre-hook": Entry(
        "refused",
        hooked(lambda m: m[2].register_full_backward_pre_hook(lambda _, o: (0.1 * o[0],))),
    ),
    "gradient hook": Entry(
        "refused", hooked(each_parameter(lambda p: p.register_hook(lambda g: g.clamp(-0.01, 0.01))))
    ),
    "gradient hook that does nothing at first": Entry(
        "refused", hooked(each_parameter(lambda p: p.register_hook(lambda g: g.clamp(-99.0, 99.0))))
    ),
    "post-accumulate-gradient hook": Entry(
        "refused", hooked(each_parameter(lambda p: p.register_post_accumulate_grad_hook(decayed)))
    ),
    "hook of an autograd node": Entry("refused", hooked(accumulated)),
    "step pre-hook": with_parts(
        "refused", hooked_optimizer(lambda o: o.register_step_pre_hook(shrink))
    ),
    "step post-hook": with_parts(
        "refused", hooked_optimizer(lambda o: o.register_step_post_hook(shrink))
    ),
    "step replaced": with_parts("refused", hooked_optimizer(patched)),
    # losses
    "mse": with_parts("same", loss_of(lambda o, y: functional.mse_loss(o, one_hot(y)))),
    "smooth l1": with_parts("same", loss_of(lambda o, y: functional.smooth_l1_loss(o, one_hot(y)))),
    "bce": with_parts(
        "same", loss_of(lambda o, y: functional.binary_cross_entropy_with_logits(o, one_hot(y)))
    ),
    "kl": with_parts(
        "same",
        loss_of(
            lambda o, y: functional.kl_div(o.log_softmax(1), one_hot(y), reduction="batchmean")
        ),
    ),
    "multi margin": with_parts("same", loss_of(functional.multi_margin_loss)),
    "weighted": with_parts(
        "same",
        loss_of(
            lambda o, y: functional.cross_entropy(
                o, y, weight=torch.tensor([1.0, 2.0, 3.0]).double()
            )
        ),
    ),
    "smoothed": with_parts(
        "same", loss_of(lambda o, y: functional.cross_entropy(o, y, label_smoothing=0.1))
    ),
    "sum": with_parts(
        "same", loss_of(lambda o, y: 0.1 * functional.cross_entropy(o, y, reduction="sum"))
    ),
    "shape [1]": with_parts(
        "same", loss_of(lambda o, y: functional.cross_entropy(o, y).reshape(1))
    ),
    "shape [1, 1]": with_parts(
        "same", loss_of(lambda o, y: functional.cross_entropy(o, y).reshape(1, 1))
    ),
    "detached factor": with_parts("same", {"loss": detached}),
    "penalty": with_parts(
        "same", {"loss": l2}, hparams=({"lr": 0.1, "weight": 0.1}, {"lr": 0.1, "weight": 0.2})
    ),
    "gradient penalty": with_parts("refused", {"loss": gradient_penalty}),
    "boolean mask": with_parts("refused", {"loss": masked}),
    "annealed": with_parts("refused", annealed()),
    "global count": with_parts("refused", {"loss": global_count}),
    # draws
    "randn": with_parts("same", noisy_inputs(lambda x: 0.1 * torch.randn(x.shape, dtype=x.dtype))),
    "randn in place": with_parts(
        "same", noisy_inputs(lambda x: torch.randn(x.shape, dtype=x.dtype).mul_(0.1))
    ),
    "randn_like": with_parts("same", noisy_inputs(torch.randn_like)),
    "randn_like twice": with_parts(
        "same", noisy_inputs(lambda x: torch.randn_like(x) * torch.rand_like(x))
    ),
    "rand": with_parts("same", noisy_inputs(lambda x: torch.rand(6))),
    "randint": with_parts("same", noisy_inputs(lambda x: torch.randint(2, x.shape))),
    "randint_like": with_parts("same", noisy_inputs(lambda x: torch.randint_like(x, 1, 5))),
    "normal_": with_parts("same", noisy_inputs(lambda x: torch.empty_like(x).normal_(0.5, 0.1))),
    "exponential_": with_parts("same", noisy_inputs(lambda x: torch.empty_like(x).exponential_())),
    "torch.normal": with_parts("same", noisy_inputs(lambda x: torch.normal(0.5, 0.1, (6,)))),
    "bernoulli of a tensor": with_parts(
        "refused", noisy_inputs(lambda x: torch.bernoulli(x.sigmoid()))
    ),
    "multinomial": with_parts(
        "refused", noisy_inputs(lambda x: torch.multinomial(x.softmax(1), 6).double())
    ),
    "randn of a generator": with_parts(
        "refused",
        noisy_inputs(lambda x: torch.randn(6, generator=torch.Generator().manual_seed(0))),
    ),
    "mixup": with_parts("refused", {"loss": mixup}),
    "gumbel softmax": with_parts("same", noisy_inputs(functional.gumbel_softmax)),
    "a draw in evaluation": Entry("refused", lambda _: mlp(Apply(functional.gumbel_softmax))),
    "noise and dropout": with_parts(
        "same", noisy_inputs(lambda x: functional.dropout(torch.randn_like(x), 0.5))
    ),
    "Python's generator": with_parts("refused", {"loss": python_noise}),
    "NumPy's generator": with_parts("refused", {"loss": numpy_noise}),
    # evaluation
    "dropout in the prediction": with_parts("refused", {"predict": whole_evaluation}),
    "prediction in training mode": Entry(
        "refused", lambda _: mlp(nn.BatchNorm1d(8)), parts={"predict": training_prediction}
    ),
    "a metric that draws": with_parts("refused", {"metrics": random_metric}),
    # optimizers
    "SGD": with_parts("same", update(optim.SGD, lr=0.1)),
    "Nesterov": with_parts(
        "same", update(optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
    ),
    "Adam": with_parts("same", update(optim.Adam)),
    "AdamW, amsgrad": with_parts("same", update(optim.AdamW, amsgrad=True)),
    "Adam, fused": with_parts("same", update(optim.Adam, fused=True)),
    "RMSprop": with_parts("same", update(optim.RMSprop)),
    "RMSprop, centered": with_parts("same", update(optim.RMSprop, centered=True, momentum=0.9)),
    **{
        kind.__name__: with_parts("refused", update(kind))
        for kind in (
            optim.Adagrad,
            optim.Adadelta,
            optim.Adamax,
            optim.NAdam,
            optim.RAdam,
            optim.ASGD,
            optim.Rprop,
        )
    },
    "an optimizer class of one's own": with_parts("refused", update(OwnSGD)),
    "optimizers of unlike kinds": with_parts("refused", {"optimizer": unlike}),
    "optimizers of unlike parameters": with_parts("refused", {"optimizer": partly}),
}


def train(executor: Executor, hparams: tuple[Hparams, ...]) -> tuple[list[Outcome], list[State]]:
    """Train the segments of all members; return outcomes and final states, by member."""
    first = 0
    outcomes: list[Outcome] = []
    for interval, steps in enumerate(SEGMENTS):
        executor.submit(
            [
                Assignment(
                    m, interval, (m, interval - 1) if interval else None, own, 7, first, steps
                )
                for m, own in enumerate(hparams)
            ]
        )
        outcomes += sorted((executor.next() for _ in hparams), key=lambda outcome: outcome.id)
        assert not any(outcome.error for outcome in outcomes), outcomes[-1].error
        first += steps
    return outcomes, [executor.state((m, len(SEGMENTS) - 1)) for m in range(len(hparams))]


def differences(entry: Entry) -> list[str]:
    """Return in what the executors differ."""
    results = []
    for kind in (Serial, Vectorised):
        executor: Executor = kind(task(entry), CPU, workers=1)
        try:
            results.append(train(executor, entry.hparams))
        finally:
            executor.close()

    found = []
    for alone, stacked in zip(*(outcomes for outcomes, _ in results), strict=True):
        if stacked.metrics != pytest.approx(dict(alone.metrics), rel=1e-6):
            found.append(f"metrics of {alone.id}: {stacked.metrics}, not {alone.metrics}")
        losses = [[point[2] for point in each.telemetry.curve] for each in (alone, stacked)]
        if losses[1] != pytest.approx(losses[0], rel=1e-5):
            found.append(f"losses of {alone.id}: {losses[1]}, not {losses[0]}")
    for alone_state, stacked_state in zip(*(states for _, states in results), strict=True):
        (tree, leaves), (other, others) = flatten(alone_state), flatten(stacked_state)
        assert tree == other
        pairs = zip(leaves, others, strict=True)
        found += [str(a - b) for a, b in pairs if not torch.allclose(a, b, rtol=1e-7, atol=1e-9)]
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ENTRIES)
def test_a_stack_does_what_serial_does_or_refuses(name: str) -> None:
    entry = ENTRIES[name]
    if entry.expected == "same":
        assert not differences(entry)
        return
    reason = "^members cannot be stacked: .*; use the executor processes or serial$"
    with pytest.raises(UsageError, match=reason):
        differences(entry)
