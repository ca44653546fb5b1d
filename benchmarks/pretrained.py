"""Make the four networks that come with popgrad from runs of `benchmarks/results.py`, each with its card.

python benchmarks/results.py fc conv fc_PBT conv_PBT
python benchmarks/pretrained.py
"""

import json
import shutil
from pathlib import Path

from results import EXPERIMENTS, ROOT, RUNS

import popgrad

FOLDER = ROOT / "src" / "popgrad" / "pretrained"
SPLIT = {"train": 55_000, "validation": 5_000, "test": 10_000, "stratified": True}


def make(name: str, experiment: str) -> Path:
    """Copy a run's winner, and write its card."""
    place = RUNS / experiment
    result = popgrad.load(place)
    command = next(each.command for each in EXPERIMENTS if each.name == experiment)
    about = json.loads((place / "best.json").read_text())
    file = FOLDER / f"{name}.safetensors"
    shutil.copyfile(place / "best.safetensors", file)
    card = {
        "name": name,
        "data": "MNIST",
        "command": command,
        "seed": result.config.seed,
        "split": {**SPLIT, "split_seed": result.config.options.get("split_seed", 0)},
        **about,
        "rebuild": f'popgrad.load_pretrained("{name}")',
        "validation": dict(result.winner.segment.metrics),
        "test": result.test(reader="model card"),
    }
    del card["metrics"]
    card["options"] = {key: value for key, value in card["options"].items() if key != "data_dir"}
    file.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return file


def main() -> None:
    """All four."""
    for name in ("fc", "conv", "fc-pbt", "conv-pbt"):
        file = make(name, name.replace("-pbt", "_PBT"))
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
