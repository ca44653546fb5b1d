"""One training step of the two MNIST networks, next to torch's own modules and to the products alone.

python benchmarks/step.py
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from measure import SEED, Bench, Row, alternate, begin, finish, seconds
from member import BATCH, Member, first, own, usual
from torch.nn import functional


@dataclass(frozen=True)
class Size:
    """What is trained.

    Attributes:
        kind: "fc" or "conv".
        steps: That are timed together.
        at_least: How many times faster than torch's modules, to reach.
    """

    kind: str
    steps: int
    at_least: float


SIZES = [Size("fc", 275, 1.15), Size("conv", 30, 1.4)]
TINY = [Size("fc", 3, 1.15), Size("conv", 1, 1.4)]
CONVOLUTIONS = [(1, 16), (16, 32)]
"""Channels in and out, 3x3 on 28x28 pixels."""
LINEAR = {"fc": [(784, 256), (256, 256), (256, 10)], "conv": [(32 * 28 * 28, 10)]}
"""Inputs and outputs of each linear layer."""


class Products:
    """The products of a step, forward and backward, into memory that is there already.

    Args:
        kind: Of the network.
    """

    def __init__(self, kind: str) -> None:
        generator = torch.Generator().manual_seed(SEED)
        random = partial(torch.randn, generator=generator)
        self._calls: list[Callable[[], object]] = []
        self.operations = 0
        for inputs, outputs in LINEAR[kind]:
            x, w, g = random(BATCH, inputs), random(inputs, outputs), random(BATCH, outputs)
            self._add(x, w)
            self._add(x.t(), g)
            if inputs != 784:  # nobody asks for the gradient of the images
                self._add(g, w.t())
        for inputs, outputs in CONVOLUTIONS if kind == "conv" else []:
            x, w = random(BATCH, inputs, 28, 28), random(outputs, inputs, 3, 3)
            x.requires_grad_(inputs != 1)
            self._calls.append(
                partial(_convolve, x, w.requires_grad_(), random(BATCH, outputs, 28, 28))
            )
            passes = 3 if inputs != 1 else 2
            self.operations += passes * 2 * BATCH * 28 * 28 * 9 * inputs * outputs

    def _add(self, a: torch.Tensor, b: torch.Tensor) -> None:
        out = torch.empty(a.shape[0], b.shape[1])
        self._calls.append(partial(torch.mm, a, b, out=out))
        self.operations += 2 * a.shape[0] * a.shape[1] * b.shape[1]

    def __call__(self) -> None:
        """All of them once."""
        for call in self._calls:
            call()


def _convolve(x: torch.Tensor, w: torch.Tensor, g: torch.Tensor) -> None:
    wanted = [w, x] if x.requires_grad else [w]
    torch.autograd.grad(functional.conv2d(x, w, padding=1), wanted, g)


def measure(bench: Bench, size: Size) -> list[Row]:
    """Milliseconds a step of each, in turn; all have made a few steps before."""
    hparams = first(1)[0]
    members = [Member(*make(size.kind, hparams), seed=SEED) for make in (own, usual)]
    products = Products(size.kind)
    for member in members:
        member.train(2)
    products()

    def step(member: Member) -> float:
        return seconds(partial(member.train, size.steps)) / size.steps * 1000

    found = alternate(
        {
            "popgrad's network": partial(step, members[0]),
            "torch's modules": partial(step, members[1]),
            "products alone": lambda: seconds(products, size.steps) * 1000,
        },
        bench.repeat,
    )
    rates = [products.operations / each / 1e6 for each in found["products alone"]]
    ours, theirs, products_alone = found
    what = f"mnist-{size.kind}, batch {BATCH}, one thread"

    def two(a: str, b: str) -> dict[str, list[float]]:
        return {a: found[a], b: found[b]}

    return [
        Row(what, "ms", two(theirs, ours), (theirs, ours), at_least=size.at_least),
        Row(what, "ms", two(ours, products_alone), (ours, products_alone)),
        Row(f"mnist-{size.kind}: the products' own rate", "GFLOP/s", {"torch": rates}),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    bench = begin("step", __doc__, argv)
    sizes = TINY if bench.smoke else SIZES
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [row for size in sizes for row in measure(bench, size)]
    finally:
        torch.set_num_threads(threads)
    finish(bench, rows, sizes=[vars(size) for size in sizes])


if __name__ == "__main__":
    main()
