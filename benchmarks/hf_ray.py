"""Whether the hyperparameters that a search records are those that train: Ray Tune and popgrad under Transformers.

python benchmarks/hf_ray.py           needs the extras benchmark and transformers
python benchmarks/hf_ray.py ray       one of them: ray or popgrad

The same small fine-tune runs under `Trainer.hyperparameter_search(backend="ray")` with PopulationBasedTraining, and
under popgrad. Before each step of the optimizer, the recorded and the live learning rate and weight decay are noted.
"""

import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

os.environ |= {
    "HF_HUB_OFFLINE": "1", "RAY_AIR_NEW_OUTPUT": "0", "RAY_DEDUP_LOGS": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}  # fmt: skip

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import popgrad

MEMBERS, INTERVALS, STEPS, BATCH = 2, 6, 4, 8
SPACE = {"learning_rate": (1e-4, 1e-2), "weight_decay": (1e-2, 0.5)}
NOTES = "HF_RAY_NOTES"
"""Variable of the environment with the file of notes, which processes of Ray inherit."""


class Sentences(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Random tokens, labelled by the first of them."""

    def __init__(self, length: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.tokens = torch.randint(5, 32, (length, 6), generator=generator)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = self.tokens[index]
        return {"input_ids": tokens, "labels": (tokens[0] > 18).long()}


def build() -> BertForSequenceClassification:
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=8, num_labels=2,
        )
    )  # fmt: skip


class Notes(TrainerCallback):  # type: ignore[misc]
    """Notes what is recorded and what is live before each step.

    Args:
        member: Member of popgrad; None = the trial of Ray.
    """

    def __init__(self, member: popgrad.Member | None = None) -> None:
        self._member = member

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note a step."""
        del control
        group = kwargs["optimizer"].param_groups[0]
        if self._member is None:
            from ray import tune

            name = tune.get_context().get_trial_id()
            record = {key: getattr(args, key) for key in SPACE}
        else:
            name = str(self._member.live.turn.ctx.member)
            record = {key: self._member[key] for key in SPACE}
        note = {
            "member": name,
            "step": state.global_step,
            "recorded": [record["learning_rate"], record["weight_decay"]],
            "live": [group["lr"], group["weight_decay"]],
            "base": group.get("initial_lr"),
        }
        with Path(os.environ[NOTES]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(note) + "\n")


def arguments(place: Path, **options: Any) -> TrainingArguments:
    given: dict[str, Any] = {
        "output_dir": str(place / "trainer"), "use_cpu": True, "report_to": "none", "disable_tqdm": True,
        "lr_scheduler_type": "constant", "per_device_train_batch_size": BATCH, "num_train_epochs": INTERVALS,
    }  # fmt: skip
    return TrainingArguments(**given, **options)


def datasets() -> dict[str, Any]:
    return {"train_dataset": Sentences(STEPS * BATCH, 1), "eval_dataset": Sentences(24, 2)}


def run_ray(place: Path) -> None:
    """Run `hyperparameter_search` with Ray's PopulationBasedTraining: an interval is an evaluation with a checkpoint."""
    try:
        import ray
        from ray import tune
        from ray.tune.schedulers import PopulationBasedTraining
    except ImportError as error:
        raise SystemExit(
            f"Ray Tune is needed ({error}): pip install 'popgrad[benchmark]'"
        ) from error

    ray.init(
        num_cpus=MEMBERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        runtime_env={"env_vars": {NOTES: os.environ[NOTES]}},
    )  # fmt: skip
    spans = {
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "eval_steps": STEPS,
        "save_steps": STEPS,
    }
    trainer = Trainer(
        model_init=build, args=arguments(place, **spans), callbacks=[Notes()], **datasets()
    )
    space = {name: tune.loguniform(*bounds) for name, bounds in SPACE.items()}
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration", metric="objective", mode="min", perturbation_interval=1,
        quantile_fraction=0.5, resample_probability=0.0, hyperparam_mutations=dict(space), synch=True,
    )  # fmt: skip
    best = trainer.hyperparameter_search(
        hp_space=lambda _: space, backend="ray", n_trials=MEMBERS, direction="minimize", scheduler=scheduler,
        resources_per_trial={"cpu": 1}, storage_path=str(place / "ray"), verbose=0,
        compute_objective=lambda metrics: metrics["eval_loss"],
    )  # fmt: skip
    for trial in best.run_summary.trials:
        print(f"Ray's final record of {trial.trial_id}: {trial.config}")
    ray.shutdown()


def train(m: popgrad.Member) -> None:
    """Train a member of popgrad."""
    from popgrad.integrations.transformers import PopgradCallback

    args = arguments(
        Path(os.environ[NOTES]).parent, save_strategy="no", eval_strategy="epoch",
        learning_rate=m["learning_rate"], weight_decay=m["weight_decay"],
    )  # fmt: skip
    callbacks = [PopgradCallback(m), Notes(m)]
    Trainer(model=build(), args=args, callbacks=callbacks, **datasets()).train()


def run_popgrad(place: Path) -> None:
    """Run popgrad; an interval is an epoch of as many steps."""
    space = {name: popgrad.LogUniform(*bounds) for name, bounds in SPACE.items()}
    popgrad.run(
        popgrad.loop(train, space=space, minimize="eval_loss"), population=MEMBERS, intervals=INTERVALS,
        fraction=0.5, resample_probability=0.0, executor="serial", seed=0, check=False, progress=False,
        directory=place / "run", outputs=False,
    )  # fmt: skip


def rows(notes: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the steps of each member, those with equal values together."""
    # In the order of time: a trial that is copied over returns to the step of its donor.
    ordered = sorted(notes, key=lambda note: note["member"])
    for (member, recorded, live), steps in groupby(
        ordered, key=lambda note: (note["member"], tuple(note["recorded"]), tuple(note["live"]))
    ):
        numbers = [note["step"] for note in steps]
        span = f"{numbers[0]}-{numbers[-1]}"
        values = (f"{rate:.3e} / {decay:.4f}" for rate, decay in (recorded, live))
        yield member, span, *values, "" if recorded == live else "differ"


def show(name: str, notes: Sequence[dict[str, Any]]) -> None:
    """Print the table of one tool."""
    print(
        f"\n{name}: {sum(note['recorded'] != note['live'] for note in notes)} of {len(notes)} steps differ"
    )
    print(f"{'member':>12} {'steps':>7}  {'recorded rate / decay':>24} {'live rate / decay':>24}")
    for member, span, recorded, live, verdict in rows(notes):
        print(f"{member:>12} {span:>7}  {recorded:>24} {live:>24}  {verdict}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run both, or the one that is named, and print their tables."""
    wanted = list(sys.argv[1:] if argv is None else argv) or ["ray", "popgrad"]
    names = ("transformers", "accelerate", "ray", "torch", "popgrad")
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in names))
    torch.set_num_threads(1)
    for name, run in (("ray", run_ray), ("popgrad", run_popgrad)):
        if name not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "notes.jsonl")
            os.environ[NOTES] = str(file)
            run(Path(folder))
            show(name, [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])


if __name__ == "__main__":
    main()
