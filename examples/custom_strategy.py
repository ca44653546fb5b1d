"""A strategy with a memory: PBT whose perturbations get smaller from decision to decision.

Run it with: python examples/custom_strategy.py
"""

from functools import partial

import popgrad
from popgrad import Strategy
from popgrad.strategies import generation, perturb, truncation
from popgrad.tasks import digits


def annealed(space, *, first=2.0, decay=0.8, fraction=0.25):
    """Return PBT whose factors at decision n are s and 1/s, with s = 1 + (first - 1) * decay ** n.

    Args:
        space: Dimensions of the hyperparameters.
        first: Factor at the first decision, above 1.
        decay: Rate at which the factor approaches 1, in (0, 1).
        fraction: Share of the population that is replaced at each decision, in [0, 0.5].
    """
    exploit = partial(truncation, fraction=fraction)

    def step(rng, population, ready, memory):
        decisions = memory["decisions"]
        factor = 1 + (first - 1) * decay**decisions
        factors = (1 / factor, factor)
        explore = partial(perturb, space=space, factors=factors, resample_probability=0.0)
        plan = generation(rng, population, ready, exploit=exploit, explore=explore)
        # The memory is recorded with the decision, so a resumed run continues with it.
        return plan, {"decisions": decisions + 1}

    return Strategy(init=lambda: {"decisions": 0}, step=step)


def report(end):
    """Print the best score of an interval, and which members inherit from which."""
    best = max(segment.score for segment in end.segments)
    copies = []
    if end.decision is not None:
        plan = end.decision.plan
        pairs = zip(plan.members, plan.sources, strict=True)
        copies = [f"{member} from {source}" for member, source in pairs if member != source]
    print(f"interval {end.interval}: best {best:.4f}  {', '.join(copies)}")


if __name__ == "__main__":
    task = digits()
    result = popgrad.run(
        task,
        strategy=annealed(task.space),
        population=8,
        intervals=5,
        executor="serial",
        on_interval=report,
    )
    print(f"test {result.test()}")
