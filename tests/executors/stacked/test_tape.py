"""A tape does what the function did that it was recorded from; where that is in doubt there is none."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from popgrad.executors.stacked import tape as tape_module
from popgrad.executors.stacked.tape import Flat, Results, Tape, record


def tensors(seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """One fixed, three others: [2, 3] weights, [4, 3] inputs, a count."""
    generator = torch.Generator().manual_seed(seed)
    fixed = [torch.rand(3, generator=generator)]
    weights = torch.randn(2, 3, generator=generator).requires_grad_()
    return fixed, [weights, torch.randn(4, 3, generator=generator), torch.zeros(())]


def gradient(inputs: Flat) -> Results:
    """A loss and its gradient, beside a count that goes up in place and one that is not there."""
    scale, weights, x, count = inputs
    count += 1
    loss = functional.linear(x * (1.0 - scale).sqrt(), weights).relu_().square().sum() / count
    return [loss.detach(), *torch.autograd.grad(loss, [weights]), None]


def equal(some: Results, others: Results) -> bool:
    return all(
        (a is b is None) or (a is not None and a.equal(b))
        for a, b in zip(some, others, strict=True)
    )


def played(tape: Tape, fixed: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> Results:
    return tape.replay(*tape.prepare(*fixed), *others)


def test_it_gives_the_functions_bits_with_other_tensors() -> None:
    fixed, others = tensors(0)
    results, tape = record(gradient, fixed, others, gradient)
    assert tape is not None
    assert equal(results, gradient([*tensors(0)[0], *tensors(0)[1]]))
    assert others[2] == 1, "it is called once"
    for seed in (1, 2):
        fixed, others = tensors(seed)
        expected = gradient([*fixed, *(x.clone() if x.ndim == 0 else x for x in others)])
        assert equal(played(tape, fixed, others), expected)
        assert others[2] == 1


def test_what_depends_on_the_fixed_tensors_alone_is_computed_once() -> None:
    fixed, others = tensors(0)
    _, tape = record(gradient, fixed, others, gradient)
    assert tape is not None
    once = tape.prepare(*fixed)
    assert len(once) == 1
    assert torch.equal(once[0], (1.0 - fixed[0]).sqrt())


def test_nothing_is_differentiated_when_it_is_played() -> None:
    fixed, others = tensors(0)
    _, tape = record(gradient, fixed, others, gradient)
    assert tape is not None
    assert not any(x.requires_grad for x in played(tape, fixed, others) if x is not None)


def product(inputs: Flat) -> Results:
    """The transpose of [2, 3, 4] times [2, 4, 5]."""
    return [torch.bmm(inputs[1], inputs[2]).transpose(1, 2)]


def product_as_it_lies(inputs: Flat) -> Results:
    return [x.as_strided((30,), (1,)) for x in product(inputs) if x is not None]


@pytest.mark.parametrize(("function", "turned"), [(product, True), (product_as_it_lies, False)])
def test_a_product_is_turned_round_where_that_gives_the_same_bits(
    function: Callable[[Flat], Results], turned: bool
) -> None:
    fixed, others = [torch.zeros(())], [torch.randn(2, 3, 4), torch.randn(2, 4, 5)]
    results, tape = record(function, fixed, others, function)
    assert tape is not None
    given = [torch.randn(2, 3, 4), torch.randn(2, 4, 5)]
    again, expected = played(tape, fixed, given), function([*fixed, *given])
    assert equal(again, expected)
    assert again[0] is not None
    assert results[0] is not None
    assert (again[0].stride() != results[0].stride()) is turned
    assert again[0].is_contiguous()


def broken(*_: Any, **__: Any) -> Any:
    raise TypeError("takes other arguments")


def wrong(*given: Any, **more: Any) -> Any:
    return torch.bmm(*given, **more) + 1.0


@pytest.mark.parametrize("shorter", [broken, wrong])
def test_a_shorter_way_that_does_not_lead_there_is_not_taken(
    shorter: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tape_module, "_shortcut", lambda _: shorter)
    fixed, others = [torch.zeros(())], [torch.randn(2, 3, 4), torch.randn(2, 4, 5)]
    results, tape = record(product, fixed, others, product)
    assert tape is not None
    assert equal(played(tape, fixed, others), results)


class Counting:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, inputs: Flat) -> Results:
        self.calls += 1
        return [inputs[1] * self.calls]


class Nested(nn.Module):
    """What changes is in an object that a list holds."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = [Counting()]

    def __call__(self, inputs: Flat) -> Results:  # type: ignore[override]
        return self.parts[0](inputs)


class Opaque:
    """Cannot be looked into."""

    def __call__(self, inputs: Flat) -> Results:
        return [inputs[1] * 2]

    def __reduce__(self) -> Any:
        raise TypeError("no")


def closed() -> Callable[[Flat], Results]:
    calls = [0]

    def function(inputs: Flat) -> Results:
        calls[0] += 1
        return [inputs[1] + calls[0]]

    return function


OUTSIDE = torch.ones(3)

DOUBTFUL: dict[str, Callable[[Flat], Results]] = {
    "it counts its calls": Counting(),
    "a part of a part counts": Nested(),
    "a variable around it counts": closed(),
    "it cannot be told": Opaque(),
    "a draw": lambda inputs: [inputs[1] + torch.rand(2, 3)],
    "a number for Python": lambda inputs: [inputs[1] * float(inputs[2].sum())],
    "a branch": lambda inputs: [inputs[1] if bool(inputs[2].sum() > 0) else -inputs[1]],
    "a shape that depends on values": lambda inputs: [inputs[2][inputs[2] > 0].sum()],
    "a tensor from outside": lambda inputs: [inputs[2] * OUTSIDE],
    "a result from outside": lambda inputs: [OUTSIDE],
    "what is fixed is changed": lambda inputs: [inputs[0].mul_(2.0)],
    "a view of what is fixed is changed": lambda inputs: [inputs[0][1:].mul_(2.0)],
    "a copy that is changed": lambda inputs: [torch.ops.aten.mul.Scalar(inputs[3], 1).add_(1.0)],
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_where_it_is_in_doubt_there_is_none(name: str) -> None:
    fixed, others = tensors(0)
    results, tape = record(DOUBTFUL[name], fixed, [x.detach() for x in others], DOUBTFUL[name])
    assert tape is None
    assert results[0] is not None, "the results are there all the same"


def test_an_error_of_the_function_is_raised() -> None:
    def failing(inputs: Flat) -> Results:
        raise ArithmeticError("broken")

    fixed, others = tensors(0)
    with pytest.raises(ArithmeticError, match="broken"):
        record(failing, fixed, others, failing)


def test_nan_is_as_good_as_any_other_number() -> None:
    fixed, others = tensors(0)
    others[1][0, 0] = torch.nan
    results, tape = record(gradient, fixed, others, gradient)
    assert results[0] is not None
    assert results[0].isnan()
    assert tape is not None
