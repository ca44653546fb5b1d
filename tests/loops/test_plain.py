from collections import Counter, OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
import torch

from popgrad.core.errors import UsageError
from popgrad.loops.plain import from_plain, plain_values, to_plain
from popgrad.state import digest, flatten, unflatten
from popgrad.tasks.comparison import differences

Pair = namedtuple("Pair", "some other")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        2**127,
        0.1,
        float("nan"),
        "text",
        [1, (2.0, "x")],
        {"a": {1: torch.arange(3)}},
        {2.5: "key of another type", (1, 2): 3},
        {3, 1, 2},
        frozenset({"b", "a"}),
        Counter("abca"),
        Counter([2.5, 2.5, 1]),
        b"bytes \x00",
        b"",
        torch.float16,
        np.arange(4).reshape(2, 2),
    ],
)
def test_a_value_goes_through_a_state_and_comes_back(value):
    plain = to_plain(value, "x")
    back = from_plain(unflatten(*flatten({"x": plain}))["x"])
    assert not list(differences(to_plain(back, "x"), plain))
    if not isinstance(value, frozenset):
        assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (Pair(1, 2), (1, 2)),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(int, {"a": 1}), {"a": 1}),
    ],
)
def test_what_is_plain_but_for_its_type_becomes_plain(value, becomes):
    plain = to_plain(value, "x")
    assert plain == becomes
    assert type(plain) is type(becomes)


def test_sets_have_one_order():
    assert digest({"x": to_plain({"b", "a", "c"}, "x")}) == digest(
        {"x": to_plain({"c", "b", "a"}, "x")}
    )


def test_copies_share_nothing():
    tensor, array = torch.zeros(2), np.zeros(2)
    plain = to_plain([tensor, array], "x")
    tensor += 1
    array += 1
    assert not plain[0].any()
    assert not plain[1].any()
    back = from_plain(plain)
    back[0] += 1
    assert not plain[0].any()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [object()]}, r"x\['a'\]\[0\] is a builtins.object, which cannot be kept"),
        ({"f": len}, r"x\['f'\] is a builtins.builtin_function_or_method"),
        (np.array([None]), "x is a numpy.ndarray"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_path(value, message):
    with pytest.raises(UsageError, match=message):
        to_plain(value, "x")


def test_a_value_that_holds_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(UsageError, match="nested deeper"):
        to_plain(value, "x")


def test_keys_of_kept_values_are_strings():
    with pytest.raises(UsageError, match=r"m\.state has the key 1"):
        plain_values({1: 2}, "m.state")
