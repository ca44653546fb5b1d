"""A configuration is read whatever it is, or refused in one line that says what is allowed."""

import json
import re
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popgrad import UsageError
from popgrad.config.files import override, read, write
from popgrad.config.model import Interval, RunConfig, parse, parse_interval

DEEP: Any = 1
for _ in range(400):
    DEEP = [DEEP]


def refused(values: Any) -> str:
    with pytest.raises(UsageError) as caught:
        parse(values)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


def parsed(values: Any) -> str:
    """Parse and write; "" where that works, else what the user is told."""
    try:
        write(parse(values))
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"population": 0}, ["population", "got 0", "at least 1"]),
        ({"population": -3}, ["population", "got -3"]),
        ({"population": 2.5}, ["population", "got 2.5", "integer"]),
        ({"population": "ten"}, ["population", "got 'ten'", "integer"]),
        ({"population": True}, ["population", "got True", "an integer"]),
        ({"population": [3]}, ["population", "got [3]", "integer"]),
        ({"intervals": 0}, ["intervals", "got 0"]),
        ({"interval": "0"}, ["interval", "got '0'", "steps", "epochs", "at least 1"]),
        ({"interval": "abc"}, ["interval", "got 'abc'", "steps", "epochs"]),
        ({"interval": "1 week"}, ["interval", "got '1 week'"]),
        ({"interval": 1.5}, ["interval", "got 1.5"]),
        ({"interval": True}, ["interval", "got True"]),
        ({"interval": -1}, ["interval", "got -1"]),
        ({"interval": "9" * 5000}, ["interval", "got '999"]),
        ({"seed": -1}, ["seed", "got -1", "at least 0"]),
        ({"seed": 2**63}, ["seed", "got 9223372036854775808", "less than"]),
        ({"seed": False}, ["seed", "got False", "an integer"]),
        ({"workers": 0}, ["workers", "got 0"]),
        ({"device": 3}, ["device", "got 3", "string"]),
        ({"executor": None, "task": 7}, ["task", "got 7", "string"]),
        ({"max_time": 0}, ["max_time", "got 0", "more than 0"]),
        ({"max_time": "10 years"}, ["max_time", "got '10 years'", "90", '"90s", "10m", "2h"']),
        ({"max_time": True}, ["max_time", "got True"]),
        ({"target_score": float("nan")}, ["target_score", "got nan", "finite"]),
        ({"target_score": "high"}, ["target_score", "got 'high'"]),
        ({"strategy": 3}, ["strategy", "got 3"]),
        ({"strategy": {"name": 3}}, ["strategy.name", "got 3"]),
        ({"options": [1]}, ["options", "got [1]", "table"]),
        ({"space": {"lr": 3}}, ["space.lr", "got 3", "a dimension such as LogUniform("]),
        ({"space": {"a\nb": 3}}, ["space.'a\\nb'", "got 3"]),
        ({"initial": {"lr": 1}}, ["initial", "list"]),
        ({"populaton": 3}, ["unknown key 'populaton'", "population"]),
        ({"": 3}, ["unknown key ''"]),
        ({3: 4}, ["expected strings as keys, got 3"]),
        ({"options": {"x": {1: 2}}}, ["options.x", "expected strings as keys, got 1"]),
        ({"options": {"x": object()}}, ["options.x", "got <object", "expected strings"]),
        ({"options": {"x": np.zeros((3, 3))}}, ["options.x", "got array", "expected strings"]),
        ({"options": {"x": DEEP}}, ["options.x", "nested more than"]),
        ({"initial": DEEP}, ["initial", "nested more than"]),
        ({"population": 0, "seed": -1}, ["population", "seed"]),
    ],
)
def test_what_is_not_allowed_is_named_with_what_was_given_and_what_is(
    values: dict[Any, Any], says: list[str]
) -> None:
    message = refused({"task": "digits", **values})
    assert [part for part in says if part not in message] == []


def test_the_task_is_needed() -> None:
    assert refused({}) == "task is missing"


def test_numbers_of_numpy_tuples_and_paths_become_plain_and_none_is_left_out() -> None:
    config = parse(
        {"task": "digits", "population": np.int64(4), "target_score": np.float32(0.5), "seed": None,
         "initial": ({"n": np.int64(3)},), "options": {"file": Path("a/b"), "size": None}}
    )  # fmt: skip
    assert (config.population, config.target_score, config.seed) == (4, 0.5, 0)
    assert (config.initial, config.options) == ([{"n": 3}], {"file": "a/b"})
    assert type(config.initial[0]["n"]) is int


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("275", Interval(275, False)),
        ("1 step", Interval(1, False)),
        ("275 steps", Interval(275, False)),
        (" 1 epoch ", Interval(1, True)),
        ("3epochs", Interval(3, True)),
        ("100 steps within epochs", Interval(100, False, within_epochs=True)),
        ("100 within epochs", Interval(100, False, within_epochs=True)),
    ],
)
def test_intervals_are_read(text: str, interval: Interval) -> None:
    assert parse_interval(text) == interval
    assert parse({"task": "digits", "interval": text}).interval_length == interval


@pytest.mark.parametrize(
    "text", ["", "0", "0 epochs", "-1", "1.5", "epoch", "1 epoch within epochs", "1 2"]
)
def test_what_is_no_interval_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        parse_interval(text)


@given(count=st.integers(1, 50), epoch=st.integers(1, 50), epochs=st.integers(1, 5))
def test_intervals_cover_the_epochs_that_are_asked_for(count: int, epoch: int, epochs: int) -> None:
    for interval in (
        Interval(count, False),
        Interval(count, False, within_epochs=True),
        Interval(count, True),
    ):
        step = previous = 0
        for _ in range(interval.per(epochs, epoch)):
            previous, step = step, step + interval.steps(step, epoch)
            assert (
                not interval.within_epochs
                or step // epoch == previous // epoch
                or step % epoch == 0
            )
        assert previous < epochs * epoch <= step
        assert not interval.within_epochs or step == epochs * epoch


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172800), (7, 7), ("7", 7)],
)
def test_times_are_read(text: str | int, seconds: float) -> None:
    assert parse({"task": "digits", "max_time": text}).max_time == seconds


# --- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", b"population = ", "a.toml is not TOML"),
        ("a.json", b'{"population": ', "a.json is not JSON"),
        ("a.json", b"", "a.json is not JSON"),
        ("a.json", b"[1, 2]", "expected a table of keys, got a list"),
        ("a.json", b"3", "got a int"),
        ("a.toml", b"a = 1\na = 2", "a.toml is not TOML"),
        ("a.toml", b"\xff\xfe", "cannot read"),
        ("a.json", b"\xff\xfe", "cannot read"),
        ("a.json", b"[" * 100_000, "a.json is not JSON"),
        ("a.toml", b"a = " + b"[" * 5_000, "a.toml is not TOML"),
        ("a.json", b'{"a": ' * 200 + b"1" + b"}" * 200, "nested more than"),
        ("a.toml", b"a = " + b"[" * 200 + b"]" * 200, "nested more than"),
        ("a.json", b'{"seed": ' + b"9" * 5_000 + b"}", "a.json is not JSON"),
        ("a.toml", b"seed = " + b"9" * 5_000, "a.toml is not TOML"),
        ("a.json", b'{"target_score": NaN}', "target_score: .*got nan"),
        ("a.toml", b"options.day = 2024-05-01", "options.day: .*got datetime.date"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot read"):
            read(path)


def test_json_and_toml_are_read_alike(tmp_path: Path) -> None:
    toml = 'task = "digits"\nseed = 3\n[strategy]\nfraction = 0.25\n'
    (tmp_path / "a.toml").write_text(toml)
    values = {"task": "digits", "seed": 3, "strategy": {"fraction": 0.25}, "workers": None}
    (tmp_path / "a.json").write_text(json.dumps(values))
    assert parse(read(tmp_path / "a.toml")) == parse(read(tmp_path / "a.json"))


texts = st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10
)
scalars = (
    st.booleans()
    | st.integers(-(2**64) + 1, 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
tables = st.dictionaries(texts, scalars | st.lists(scalars, max_size=3), max_size=3)
configs = st.fixed_dictionaries(
    {"task": texts},
    optional={
        "options": tables,
        "space": st.dictionaries(texts, tables, max_size=3),
        "population": st.integers(1, 10**5),
        "intervals": st.integers(1, 10**12),
        "interval": st.integers(1, 10**12).map(str) | st.just("1 epoch"),
        "seed": st.integers(0, 2**63 - 1),
        "strategy": tables.filter(lambda t: "name" not in t),
        "executor": st.sampled_from(["serial", "processes", "auto"]),
        "workers": st.integers(1, 100),
        "device": texts,
        "max_time": st.floats(1e-9, 1e9),
        "target_score": st.floats(allow_nan=False, allow_infinity=False),
        "initial": st.lists(tables, max_size=3),
        "weights": texts,
        "data_dir": texts,
    },
)


@given(configs)
def test_a_configuration_that_is_written_is_read_back_equal(values: dict[str, Any]) -> None:
    import tomllib

    config = parse(values)
    assert parse(tomllib.loads(write(config))) == config
    assert parse(json.loads(json.dumps(config.model_dump(mode="json")))) == config


anything = st.recursive(
    st.none() | scalars | st.floats() | st.binary(max_size=3) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from([*RunConfig.model_fields, "unheard_of"]), anything, max_size=5)
)
def test_whatever_is_given_is_parsed_or_refused_in_one_line(values: dict[str, Any]) -> None:
    assert "\n" not in parsed(values)


# --- key=value ----------------------------------------------------------------------------------------


def test_settings_go_over_the_values_and_into_tables() -> None:
    values = {"task": "digits", "seed": 1, "strategy": {"fraction": 0.2}}
    given_before = json.dumps(values)
    settings = ["seed=2", "strategy.fraction=0.3", "strategy.name=pbt", "task=file.py:Name",
                "space.lr = {kind='constant', value=1.0}", 'device="cuda:0,1"', "interval=1 epoch",
                "batch_size=64", "options.deep=[1, 2]", "workers=1", "workers=2", "weights=a=b"]  # fmt: skip
    assert override(values, settings) == {
        "task": "file.py:Name",
        "seed": 2,
        "strategy": {"fraction": 0.3, "name": "pbt"},
        "space": {"lr": {"kind": "constant", "value": 1.0}},
        "device": "cuda:0,1",
        "interval": "1 epoch",
        "options": {"batch_size": 64, "deep": [1, 2]},
        "workers": 2,
        "weights": "a=b",
    }
    assert json.dumps(values) == given_before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed", "expected key=value"),
        ("=3", "expected key=value"),
        ("strategy.=3", "expected key=value"),
        (".seed=3", "expected key=value"),
        ("seed.x=3", "'seed' is not a table"),
    ],
)
def test_a_setting_that_says_nothing_is_refused(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        override({"seed": 1}, [setting])
    assert repr(setting) in str(caught.value)


@given(st.text(alphabet=string.printable, max_size=20))
def test_whatever_a_setting_says_it_is_taken_or_refused(text: str) -> None:
    try:
        values = override({"task": "digits"}, [text])
    except UsageError:
        return
    assert "\n" not in parsed(values)


WRONG: tuple[Any, ...] = (
    *("5x", "", "\0", "٣", -1, 0, 1.5, True, float("nan"), 10**30, object(), b"x", {1}),
    *([], [1], ["a"], [[1]], (1, 2), [object()]),
    *({}, {"a": 1}, {1: 2}, {"name": 3}, {"lr": 0.1}, {"lr": [0, 1]}, {"lr": {"kind": "x"}}),
)
"""Values of every kind. Most keys refuse most of them."""

LEAKS = re.compile(r"\b(?:Input should|valid|instance|pydantic|Sequence|dictionary|parse|tuple)\b")
"""Words of pydantic and of Python's types, which no message may show."""


@pytest.mark.parametrize("key", RunConfig.model_fields)
def test_no_wrong_value_of_a_key_is_answered_in_the_words_of_a_library(key: str) -> None:
    for value in WRONG:
        try:
            parse({"task": "quadratic", key: value})
        except UsageError as error:
            message = str(error)
            assert not LEAKS.search(message), message
            assert "\n" not in message
            assert key in message or message.startswith("unknown key")


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        ({"popultion": 3}, "population"),
        ({"executor": "procesess"}, "processes"),
        ({"mode": "asynch"}, "async"),
        ({"durability": "powr"}, "power"),
        ({"grow": "clones"}, "clone"),
    ],
)
def test_a_misspelt_key_or_choice_is_answered_with_the_one_that_is_meant(
    values: dict[str, Any], meant: str
) -> None:
    assert refused({"task": "digits", **values}).endswith(f"did you mean {meant!r}?")


@pytest.mark.parametrize("time", ["٣s", "٣", "1..5", "s", "90 s m", "-5s", "nans"])
def test_what_is_no_time_is_answered_with_the_forms_of_a_time(time: str) -> None:
    assert 'seconds such as 90, or "90s", "10m", "2h"' in refused({"task": "t", "max_time": time})
