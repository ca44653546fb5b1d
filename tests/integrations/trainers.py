"""Loops that train a tiny network with the Trainer of Transformers; worker processes import them too."""

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

import popgrad
from popgrad.integrations.transformers import PopgradCallback

os.environ["HF_HUB_OFFLINE"] = "1"

from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

EPOCHS = 3
BATCH = 8


class Sentences(Dataset[dict[str, torch.Tensor]]):
    """Random tokens, labelled by the first of them."""

    def __init__(self, length: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.tokens = torch.randint(5, 32, (length, 6), generator=generator)
        self.labels = (self.tokens[:, 0] > 18).long()

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.labels[index]}


@cache
def train_set() -> Sentences:
    return Sentences(40, seed=1)


@cache
def eval_set() -> Sentences:
    return Sentences(24, seed=2)


def build(dropout: float = 0.1) -> BertForSequenceClassification:
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=8, num_labels=2,
            hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        )
    )  # fmt: skip


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def arguments(m: popgrad.Member, **options: Any) -> TrainingArguments:
    """Arguments for a CPU, with each hyperparameter under its name."""
    given: dict[str, Any] = {
        "output_dir": os.environ.get("TRAINER_OUTPUT", "trainer_output"),
        "use_cpu": True, "report_to": "none", "save_strategy": "no", "eval_strategy": "epoch",
        "num_train_epochs": EPOCHS, "per_device_train_batch_size": BATCH, **options,
    }  # fmt: skip
    return TrainingArguments(**given)


class Witness(TrainerCallback):
    """Writes what is live in the optimizer before each step into the file that TRAINER_STEPS names."""

    def __init__(self, m: popgrad.Member) -> None:
        self._m = m

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if "TRAINER_STEPS" not in os.environ:
            return
        ctx = self._m.live.turn.ctx
        groups = kwargs["optimizer"].param_groups
        live: Mapping[str, Any] = {
            "member": ctx.member,
            "interval": ctx.interval,
            "step": state.global_step,
            "learning_rate": [group.get("initial_lr", group["lr"]) for group in groups],
            "rate": [group["lr"] for group in groups],
            "weight_decay": [group["weight_decay"] for group in groups],
            "adam_beta1": [group.get("betas", (None, None))[0] for group in groups],
            "adam_beta2": [group.get("betas", (None, None))[1] for group in groups],
            "adam_epsilon": [group.get("eps") for group in groups],
            "max_grad_norm": [args.max_grad_norm],
            "batch_size": [args.per_device_train_batch_size],
        }
        with Path(os.environ["TRAINER_STEPS"]).open("a") as file:
            file.write(json.dumps(live) + "\n")


def fit(m: popgrad.Member, args: TrainingArguments, **options: Any) -> None:
    given = {
        "model": None if "model_init" in options else build(),
        "train_dataset": train_set(), "eval_dataset": eval_set(), "compute_metrics": accuracy,
        "callbacks": [PopgradCallback(m), Witness(m)], **options,
    }  # fmt: skip
    Trainer(args=args, **given).train()


RATE = {"learning_rate": popgrad.LogUniform(1e-4, 1e-2)}

ALL = {
    **RATE,
    "weight_decay": popgrad.LogUniform(1e-3, 0.5),
    "adam_beta1": popgrad.Uniform(0.5, 0.95),
    "adam_beta2": popgrad.Uniform(0.9, 0.9999),
    "adam_epsilon": popgrad.LogUniform(1e-9, 1e-5),
    "max_grad_norm": popgrad.LogUniform(0.05, 5.0),
    "warmup_steps": popgrad.Integer(1, 4),
    "per_device_train_batch_size": popgrad.Choice((4, 8)),
}


def plain(m: popgrad.Member) -> None:
    fit(m, arguments(m, learning_rate=m["learning_rate"]))


def full(m: popgrad.Member) -> None:
    """Searches all that the optimizer has, under a warm-up and a cosine."""
    given = {name: m[name] for name in ALL}
    fit(m, arguments(m, lr_scheduler_type="cosine", **given))


def loaded(m: popgrad.Member) -> None:
    """Accumulates gradients over three batches of an epoch of five, in bfloat16, with two loader workers."""
    options = {
        "gradient_accumulation_steps": 3, "bf16": True, "dataloader_num_workers": 2,
        "learning_rate": m["learning_rate"],
    }  # fmt: skip
    fit(m, arguments(m, **options))


def persistent(m: popgrad.Member) -> None:
    """Keeps its loader workers from one epoch to the next."""
    options = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}
    fit(m, arguments(m, learning_rate=m["learning_rate"], **options))


def plateau(m: popgrad.Member) -> None:
    """Reduces its rate after each evaluation that is no better."""
    options = {
        "lr_scheduler_type": "reduce_lr_on_plateau", "metric_for_best_model": "eval_accuracy",
        "lr_scheduler_kwargs": {"patience": 0, "mode": "min", "factor": 0.5},
        "learning_rate": m["learning_rate"],
    }  # fmt: skip
    fit(m, arguments(m, **options))


def from_init(m: popgrad.Member) -> None:
    fit(m, arguments(m, learning_rate=m["learning_rate"]), model_init=lambda: build())


def task(function: Any = plain, space: Any = RATE, **options: Any) -> Any:
    return popgrad.loop(function, space=space, minimize="eval_loss", **options)


def run(made: Any, **options: Any) -> Any:
    given = {
        "population": 4, "intervals": EPOCHS, "executor": "serial", "check": False,
        "progress": False, "seed": 3, **options,
    }  # fmt: skip
    return popgrad.run(made, **given)
