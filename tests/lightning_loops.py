"""Loops of Lightning for tests: in a module of their own, so that worker processes can import them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

import popgrad
from popgrad.integrations.lightning import PopgradCallback
from popgrad.tasks.evaluation import seed_generators

SPACE = {
    "lr": popgrad.LogUniform(1e-3, 1e-1),
    "weight_decay": popgrad.LogUniform(1e-4, 1e-1),
}
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 1,
}
EPOCHS = 6

# What was seen in this process: the seeds of members' segments, and the live options of each step.
SEEDS: list[tuple[int, int, int]] = []
LIVE: "list[Step]" = []

_SOURCE = torch.Generator().manual_seed(0)
INPUTS = torch.randn(48, 4, generator=_SOURCE)
TARGETS = INPUTS.sum(1, keepdim=True).tanh() + 0.1 * torch.randn(48, 1, generator=_SOURCE)


@dataclass(frozen=True)
class Step:
    """What is live in a step, and the segment that it belongs to."""

    member: int
    interval: int
    hparams: dict[str, Any]
    rate: float
    base: float
    weight_decay: float
    of_module: float
    epoch: int
    batch: int
    max_epochs: int


class Net(pl.LightningModule):
    """A small network with dropout and batch normalisation.

    Args:
        lr: Learning rate.
        weight_decay: Weight decay.
        schedule: "", "step", "epoch" or "plateau".
    """

    def __init__(self, lr: float, weight_decay: float, schedule: str = "") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1)
        )
        self.validations = 0

    def loss(self, batch: Any) -> torch.Tensor:
        inputs, targets = batch
        return (self.layers(inputs) - targets).square().mean()

    def training_step(self, batch: Any) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", self.loss(batch))

    def on_validation_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.validations += 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["validations"] = self.validations

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.validations = checkpoint["validations"]

    def configure_optimizers(self) -> Any:
        given = self.hparams
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=given.lr, weight_decay=given.weight_decay
        )
        schedule: dict[str, Any]
        if not given.schedule:
            return optimizer
        if given.schedule == "plateau":
            follows = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
            schedule = {"scheduler": follows, "monitor": "val_loss"}
        else:
            length = (
                EPOCHS if given.schedule == "epoch" else self.trainer.estimated_stepping_batches
            )
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(length))
            schedule = {"scheduler": cosine, "interval": given.schedule}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class Gan(pl.LightningModule):
    """Two networks that are trained against each other, each by its own optimizer."""

    def __init__(self, lr: float, weight_decay: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Linear(2, 4)
        self.critic = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def made(self, count: int) -> torch.Tensor:
        return self.generator(torch.randn(count, 2))

    def training_step(self, batch: Any) -> None:
        real, _ = batch
        of_generator, of_critic = self.optimizers()
        loss = self.critic(real).mean() - self.critic(self.made(len(real)).detach()).mean()
        of_critic.zero_grad()
        self.manual_backward(loss + self.critic(real).square().mean())
        of_critic.step()

        loss = self.critic(self.made(len(real))).mean()
        of_generator.zero_grad()
        self.manual_backward(loss)
        of_generator.step()

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", (self.generator.bias - batch[0].mean(0)).square().sum())

    def configure_optimizers(self) -> Any:
        lr, decay = self.hparams.lr, self.hparams.weight_decay
        return [
            torch.optim.AdamW(self.generator.parameters(), lr=lr, weight_decay=decay),
            torch.optim.AdamW(self.critic.parameters(), lr=lr, weight_decay=decay),
        ]


class Shuffled(Sampler[int]):
    """An order that depends on the epoch alone."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(INPUTS)

    def __iter__(self) -> Iterator[int]:
        own = torch.Generator().manual_seed(self.epoch)
        yield from torch.randperm(len(self), generator=own).tolist()


class Augmented(Dataset[Any]):
    """Rows with noise from the global generator, which each worker of a loader has for itself."""

    def __len__(self) -> int:
        return len(INPUTS)

    def __getitem__(self, row: int) -> Any:
        return INPUTS[row] + 0.1 * torch.randn(4), TARGETS[row]


class Data(pl.LightningDataModule):
    """Rows with noise, loaded by two worker processes; it counts its epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.requested = 0

    def train_dataloader(self) -> Any:
        self.requested += 1
        return DataLoader(Augmented(), 8, shuffle=True, num_workers=2)

    def val_dataloader(self) -> Any:
        return validation()

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.trainer.current_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["epoch"] <= EPOCHS


class Watch(pl.Callback):
    """Notes the live options of each step."""

    def __init__(self, member: Any) -> None:
        self.member = member

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        group = trainer.optimizers[0].param_groups[0]
        turn = self.member.live.turn
        step = Step(
            member=turn.ctx.member,
            interval=turn.ctx.interval,
            hparams=dict(turn.hparams),
            rate=group["lr"],
            base=group.get("initial_lr", group["lr"]),
            weight_decay=group["weight_decay"],
            of_module=pl_module.hparams.lr,
            epoch=trainer.current_epoch,
            batch=batch_idx,
            max_epochs=trainer.max_epochs,
        )
        LIVE.append(step)


class Seeds(pl.Callback):
    """Seeds the generators as popgrad does, every `epochs` epochs."""

    def __init__(self, seeds: list[int], epochs: int) -> None:
        self.seeds = seeds
        self.epochs = epochs
        self.trained: dict[str, Any] = {}

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        # Averages replace them.
        self.trained = {name: each.clone() for name, each in pl_module.state_dict().items()}

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch % self.epochs == 0:
            seed_generators(self.seeds[trainer.current_epoch // self.epochs])


def loader() -> Any:
    return DataLoader(TensorDataset(INPUTS, TARGETS), 8, shuffle=True)


def validation() -> Any:
    return DataLoader(TensorDataset(INPUTS[:24], TARGETS[:24]), 12)


Fit = Callable[[Mapping[str, Any], list[Any]], tuple[Any, Any]]
"""Trains on (hyperparameters, callbacks), and returns the trainer and the module."""


def fit(
    hparams: Mapping[str, Any],
    callbacks: list[Any],
    *,
    schedule: str = "",
    data: Any = None,
    module: Any = None,
    **options: Any,
) -> tuple[Any, Any]:
    """A script with Lightning, as it is without popgrad."""
    net = module or Net(hparams["lr"], hparams["weight_decay"], schedule)
    given: dict[str, Any] = {"max_epochs": EPOCHS, **QUIET, **options, "callbacks": callbacks}
    trainer = pl.Trainer(**given)
    if isinstance(data, pl.LightningDataModule):
        trainer.fit(net, data)
    else:
        trainer.fit(net, data or loader(), validation())
    return trainer, net


def by_step(hparams: Mapping[str, Any], callbacks: list[Any]) -> tuple[Any, Any]:
    return fit(hparams, callbacks, schedule="step")


def by_epoch(hparams: Mapping[str, Any], callbacks: list[Any]) -> tuple[Any, Any]:
    return fit(hparams, callbacks, schedule="epoch")


def plateau(hparams: Mapping[str, Any], callbacks: list[Any]) -> tuple[Any, Any]:
    return fit(hparams, callbacks, schedule="plateau")


def mixed(hparams: Mapping[str, Any], callbacks: list[Any]) -> tuple[Any, Any]:
    return fit(
        hparams, callbacks, schedule="step", precision="bf16-mixed", accumulate_grad_batches=4
    )


def patient(hparams: Mapping[str, Any], callbacks: list[Any]) -> tuple[Any, Any]:
    return fit(hparams, [*callbacks, EarlyStopping("val_loss", patience=EPOCHS)], schedule="step")


def averaged(hparams: Mapping[str, Any], callbacks: list[Any]) -> tuple[Any, Any]:
    return fit(hparams, [*callbacks, EMAWeightAveraging(decay=0.9)], schedule="step")


def in_workers(hparams: Mapping[str, Any], callbacks: list[Any]) -> tuple[Any, Any]:
    return fit(hparams, callbacks, schedule="step", data=Data())


def sampled(hparams: Mapping[str, Any], callbacks: list[Any]) -> tuple[Any, Any]:
    data = DataLoader(TensorDataset(INPUTS, TARGETS), 8, sampler=Shuffled())
    return fit(hparams, callbacks, data=data)


def gan(hparams: Mapping[str, Any], callbacks: list[Any]) -> tuple[Any, Any]:
    return fit(hparams, callbacks, module=Gan(hparams["lr"], hparams["weight_decay"]))


def task(function: Fit, **changes: Any) -> Any:
    """The task of a script: the three lines that a user adds."""
    space = changes.pop("space", SPACE)
    return popgrad.loop(Train(function), space=space, **{"minimize": "val_loss", **changes})


class Train:
    """The loop of a script, that notes seeds and live options."""

    def __init__(self, function: Fit) -> None:
        self.function = function

    def __call__(self, m: Any) -> None:
        ctx = m.live.turn.ctx
        if m.steps:
            SEEDS.append((ctx.member, ctx.library_seed("init"), ctx.library_seed("train")))
        hparams = {name: m[name] for name in m.live.turn.hparams}
        self.function(hparams, [Watch(m), PopgradCallback(m)])
