"""Ray Tune as the benchmarks run it: started for each measurement, and as fast as its settings make it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clocked import folder
from measure import ROOT

HOW = "Ray Tune is missing: pip install 'popgrad[benchmark]'"
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # its boxes are printed even where nothing is asked for
}


@contextmanager
def cluster(cores: int, *, loggers: bool = False) -> Iterator[Path]:
    """A local Ray that has so many cores, and a folder for its results; both gone afterwards.

    Args:
        cores: Of which a trial takes one.
        loggers: Whether Ray Tune writes its tables, as it does unless it is told not to.

    Raises:
        SystemExit: Ray is not installed.
    """
    os.environ.update(_SETTINGS, TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=str(int(not loggers)))
    try:
        import ray
    except ImportError:
        raise SystemExit(HOW) from None
    paths = os.pathsep.join([str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])
    ray.init(
        num_cpus=cores,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=2**28,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )
    try:
        with folder() as place:
            yield place
    finally:
        ray.shutdown()


def fit(
    trainable: type,
    place: Path,
    space: Mapping[str, Any],
    mutations: Mapping[str, Any],
    *,
    members: int,
    intervals: int,
    metric: str,
    callbacks: list[Any] | None = None,
) -> Any:
    """Population Based Training with a decision after each training iteration; returns Ray's results.

    Raises:
        RuntimeError: A trial has failed.
    """
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=1,
        hyperparam_mutations=dict(mutations),
        quantile_fraction=0.2,
        resample_probability=0.0,
        perturbation_factors=(1.25, 0.8),
        synch=True,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=dict(space),
        tune_config=tune.TuneConfig(
            metric=metric, mode="max", num_samples=members, scheduler=scheduler, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            storage_path=str(place),
            stop={"training_iteration": intervals},
            verbose=0,
            callbacks=callbacks,
        ),
    )
    results = tuner.fit()
    if results.errors:
        raise RuntimeError(f"trials of Ray Tune have failed: {results.errors[0]}")
    return results
