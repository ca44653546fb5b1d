"""Plans in which members that keep their weights explore as well."""

import numpy as np

from popgrad.core.evolution import evolve
from popgrad.core.population import Archive, Population
from popgrad.core.seeding import Rng


def halve(rng, hparams):
    rng.random()
    return {**hparams, "lr": hparams["lr"] / 2}, {"lr": 0.5, "width": "inherited"}


def test_sources_are_members_or_archived_and_only_mutants_explore():
    population = Population(
        np.array([1.0, 2.0]),
        np.array([2, 2]),
        np.array([20, 20]),
        [{"lr": 1.0, "width": 1}, {"lr": 2.0, "width": 2}],
        archive=Archive(((0, 0),), (3.0,), (10,), ({"lr": 8.0, "width": 3},)),
    )
    ready = np.array([0, 1])
    for sources, mutants, lrs, origins in (
        (
            [0, 1],
            [False, True],
            (1.0, 1.0),
            ({"lr": "kept", "width": "kept"}, {"lr": 0.5, "width": "kept"}),
        ),
        (
            [1, 2],
            [False, True],
            (2.0, 4.0),
            ({"lr": "inherited", "width": "inherited"}, {"lr": 0.5, "width": "inherited"}),
        ),
    ):
        plan = evolve(
            Rng(0), population, ready, np.array(sources), mutants=np.array(mutants), explore=halve
        )
        assert plan.members == (0, 1)
        assert plan.sources == tuple(sources)
        assert tuple(each["lr"] for each in plan.hparams) == lrs
        assert plan.changes == origins
        assert {type(source) for source in plan.sources} == {int}
