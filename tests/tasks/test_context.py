"""What a task is told: seeds that are the segment's own."""

from popgrad.core.seeding import derive
from popgrad.tasks import Context


def test_seeds_are_a_segments_own():
    contexts = [Context(m, i, run_seed=s) for m in range(3) for i in range(3) for s in range(3)]
    seeds = {ctx.seed(purpose) for ctx in contexts for purpose in ("train", "dropout")}
    assert len(seeds) == 2 * len(contexts)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_no_seed_of_a_tasks_own_is_one_that_the_library_draws_from():
    ctx = Context(2, 3, run_seed=5)
    for purpose in (
        "sample",
        "explore",
        "donor",
        "ties",
        "init",
        "train",
        "dropout",
        "augment",
        "order",
    ):
        assert ctx.seed(purpose) not in (derive(5, purpose, 2, 3), ctx.library_seed(purpose))


def test_the_order_of_data_is_a_members_own_or_shared_but_never_an_intervals():
    orders = {Context(m, i).epoch_seed(e) for m in range(3) for i in range(3) for e in range(3)}
    assert len(orders) == 9
    assert len({Context(m).epoch_seed(e, shared=True) for m in range(3) for e in range(3)}) == 3
