"""A strategy with a memory: PBT whose steps through the space get smaller from decision to decision.

python examples/custom_strategy.py
"""

from functools import partial

import popgrad
from popgrad import Strategy
from popgrad.core.exploit import truncation
from popgrad.core.explore import perturb
from popgrad.core.generation import generation
from popgrad.tasks import digits


def annealed(space, *, first=2.0, decay=0.8, fraction=0.25):
    """The factors of decision n are s and 1/s with s = 1 + (first - 1) * decay ** n.

    Args:
        space: What is searched.
        first: The factor at the first decision, above 1.
        decay: How fast it goes to 1, in (0, 1).
        fraction: Share of the population that is replaced at each decision, in [0, 0.5].
    """

    def step(rng, population, ready, memory):
        factor = 1 + (first - 1) * decay ** memory["decisions"]
        explore = partial(
            perturb, space=space, factors=(1 / factor, factor), resample_probability=0.0
        )
        exploit = partial(truncation, fraction=fraction)
        plan = generation(rng, population, ready, exploit=exploit, explore=explore)
        return plan, {
            "decisions": memory["decisions"] + 1
        }  # kept with the decision: a resumed run has it

    return Strategy(init=lambda: {"decisions": 0}, step=step)


def report(end):
    """Who copied whom, while the run goes on."""
    plan = end.decision.plan if end.decision else None
    copies = (
        [f"{m} from {s}" for m, s in zip(plan.members, plan.sources, strict=True) if m != s]
        if plan
        else []
    )
    best = max(segment.score for segment in end.segments)
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
