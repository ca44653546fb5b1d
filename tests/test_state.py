"""State as plain data: it comes back as it was, bit for bit, and what is not plain is refused."""

import enum
import json
import math
import struct
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.state import clone, digest, flatten, to, unflatten

DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.uint8,
    torch.bool,
]
SHAPES = [(), (0,), (1,), (3,), (2, 3), (2, 0, 3)]


@st.composite
def tensors(draw):
    """Any bits at all: NaNs with payloads, -0.0, infinities, subnormal numbers."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(SHAPES))
    count = math.prod(shape)
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    size = count * torch.empty((), dtype=dtype).element_size()
    data = torch.tensor(list(draw(st.binary(min_size=size, max_size=size))), dtype=torch.uint8)
    return (
        (data % 2).bool().reshape(shape) if dtype == torch.bool else data.view(dtype).reshape(shape)
    )


@st.composite
def arrays(draw):
    tensor = draw(tensors().filter(lambda x: x.dtype != torch.bfloat16))
    array = tensor.numpy().copy()
    array.flags.writeable = draw(st.booleans())
    return array


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
STATES = st.recursive(
    SCALARS | tensors() | arrays(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def bits(node):
    """Something comparable in which every bit of a state counts."""
    match node:
        case torch.Tensor():
            return (
                "tensor",
                node.dtype,
                node.shape,
                node.contiguous().reshape(-1).view(torch.uint8).tolist(),
            )
        case np.ndarray():
            return "array", node.dtype, node.shape, node.tobytes()
        case dict():
            return "dict", [(type(key), key, bits(value)) for key, value in node.items()]
        case list() | tuple():
            return type(node), [bits(value) for value in node]
        case float():
            return float, "nan" if math.isnan(node) else struct.pack("d", node)
        case _:
            return type(node), node


@given(STATES)
def test_a_state_comes_back_bit_for_bit_through_json(state):
    tree, leaves = flatten(state)
    assert bits(unflatten(json.loads(json.dumps(tree)), leaves)) == bits(state)


@given(STATES)
def test_a_clone_is_equal_and_shares_no_memory(state):
    copy = clone(state)
    assert bits(copy) == bits(state)
    assert digest(copy) == digest(state)
    mine, theirs = flatten(state)[1], flatten(copy)[1]
    pointers = {leaf.data_ptr() for leaf in mine if leaf.numel()}
    assert not pointers & {leaf.data_ptr() for leaf in theirs if leaf.numel()}


@given(STATES, STATES)
def test_digests_are_equal_where_the_bits_are_and_only_there(one, other):
    assert (digest(one) == digest(other)) == (bits(one) == bits(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1: 0}, {"1": 0}),
        ([1], (1,)),
        ([1], [1.0]),
        ([1], [True]),
        ([0.0], [-0.0]),
        ([0.0], [math.nan]),
        ([None], []),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(0, 3), torch.zeros(0, 2)),
        (torch.zeros(2), np.zeros(2, dtype=np.float32)),
        (torch.tensor(0.0), torch.tensor(-0.0)),
        (torch.tensor(math.nan), -torch.tensor(math.nan)),
        ([torch.zeros(1), torch.zeros(2)], [torch.zeros(2), torch.zeros(1)]),
    ],
)
def test_everything_counts_in_a_digest(one, other):
    assert digest(one) != digest(other)


def test_a_digest_does_not_depend_on_the_layout_in_memory():
    x = torch.randn(4, 6)
    assert digest(x.t()) == digest(x.t().contiguous())
    assert digest(x[:, ::2]) == digest(x[:, ::2].clone())
    assert digest(x.reshape(-1)[5::24]) == digest(x.reshape(-1)[5:6].clone())
    assert digest(torch.zeros(1).expand(5)) == digest(torch.zeros(5))
    assert digest(x.numpy()[::-1]) == digest(x.numpy()[::-1].copy())


@pytest.mark.parametrize(
    "view", [lambda x: x.t(), lambda x: x[:, ::2], lambda x: x[1:], lambda x: x[:1].expand(3, 6)]
)
def test_views_are_cloned_by_value(view):
    x = torch.randn(4, 6)
    copy = clone({"x": view(x)})["x"]
    assert torch.equal(copy, view(x))
    x.zero_()
    assert copy.abs().sum() > 0


def test_a_parameter_comes_back_as_a_plain_tensor_without_a_graph():
    copy = clone([torch.nn.Parameter(torch.ones(2))])[0]
    assert type(copy) is torch.Tensor
    assert not copy.requires_grad


def test_clones_are_aligned_for_arithmetic_and_arrays_can_be_written():
    array = np.zeros(33, dtype=np.float32)[1:]
    array.flags.writeable = False
    copy = clone({"array": array, "tensor": torch.zeros(33)[1:]})
    assert copy["tensor"].data_ptr() % 64 == 0
    copy["array"][0] = 1.0
    assert array[0] == 0.0


def test_moving_to_where_it_is_shares_the_tensors():
    state = {"w": torch.ones(3), "a": np.ones(3), "n": 1}
    moved = to(state, "cpu")
    assert moved["w"].data_ptr() == state["w"].data_ptr()
    assert bits(moved) == bits(state)


def test_numpy_float64_is_a_python_float_and_comes_back_as_one():
    tree, leaves = flatten([np.float64(0.1)])
    assert type(unflatten(tree, leaves)[0]) is float
    assert digest([np.float64(0.1)]) == digest([0.1])


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"a": [0, {"lr": np.float32(0.1)}]}, ["state['a'][1]['lr']", "numpy.float32"]),
        ({"a": {3: object()}}, ["state['a'][3]", "builtins.object"]),
        ([{1.5: 0}], ["state[0]", "1.5"]),
        ({True: 0}, ["state", "True"]),
        ({"a": {1, 2}}, ["state['a']", "set"]),
        ({"a": np.array(["x"])}, ["state['a']", "<U1"]),
        ({"a": np.array([None])}, ["state['a']", "O"]),
        ({"a": np.zeros(2, dtype=">f4")}, ["state['a']", ">f4", "byte order"]),
        ({"a": torch.zeros(2, 2).to_sparse()}, ["state['a']", "sparse"]),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_place(state, named):
    with pytest.raises(UsageError) as caught:
        flatten(state)
    assert "\n" not in str(caught.value)
    assert all(part in str(caught.value) for part in named)


class Phase(enum.IntEnum):
    WARM = 0


class Text(str):
    pass


def holding_itself():
    ring = [1]
    ring.append({"ring": ring})
    return ring


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates them
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)


def nested(levels):
    return [nested(levels - 1)] if levels else 0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Phase.WARM, "state['v'] is a Phase, which would come back as a plain int; keep int(...) of it"),
        (Text("a"), "state['v'] is a Text, which would come back as a plain str; keep str(...) of it"),
        (1 << 8192, "state['v'] is an integer of 8193 bits; a state holds integers of at most 8192"),
        (holding_itself(), "state['v'][1]['ring'] holds itself; a state is a tree"),
        (nested(101), "... is nested deeper than 100 levels"),
        (torch.empty(2, device="meta"), "state['v'] is a tensor on meta, which has no values; "),
        (quantised(), "state['v'] is a quantised tensor; "),
        (torch.eye(2).to_sparse(), "state['v'] is a tensor of layout torch.sparse_coo"),
        (nn.LazyLinear(2).weight, "state['v'] belongs to a lazy module and has no shape yet; "),
    ],
    ids=["enum", "text", "integer", "ring", "deep", "meta", "quantised", "sparse", "lazy"],
)  # fmt: skip
def test_what_would_not_come_back_equal_is_refused(value, reason):
    with pytest.raises(UsageError) as caught:
        flatten({"v": value})
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [(1 << 8192) - 1, np.str_("a"), np.float64(0.1), nested(90), [[1], [1]]],
    ids=["integer", "str_", "float64", "deep", "twice"],
)
def test_what_comes_back_equal_is_taken(value):
    tree, leaves = flatten(value)
    assert unflatten(json.loads(json.dumps(tree)), leaves) == value


def test_one_list_may_be_in_two_places():
    shared = [1]
    assert clone({"a": shared, "b": shared}) == {"a": [1], "b": [1]}


def test_views_that_are_computed_come_back_by_value():
    z = torch.randn(3, dtype=torch.complex64)
    for view in (z.conj(), z.conj().imag):
        tree, leaves = flatten(view)
        assert torch.equal(unflatten(tree, [leaf.clone() for leaf in leaves]), view)
        assert len(digest(view)) == 64


def test_a_tree_that_is_not_ours_is_refused():
    with pytest.raises(ValueError, match="not a state's tree"):
        unflatten({"x": 0}, [])
