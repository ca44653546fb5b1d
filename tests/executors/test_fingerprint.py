import torch

from popgrad.executors.fingerprint import fingerprint


def test_it_is_repeatable_and_json() -> None:
    first = fingerprint()
    torch.rand(3)
    assert fingerprint() == first
    assert {type(value) for value in first.values()} <= {str, int}
    assert first["torch"] == torch.__version__


def test_it_tells_the_number_of_threads() -> None:
    one = fingerprint()
    torch.set_num_threads(2)
    two = fingerprint()
    torch.set_num_threads(1)
    assert (one["threads"], two["threads"]) == (1, 2)
    assert one != two


def test_it_neither_reads_nor_moves_the_callers_settings() -> None:
    first = fingerprint()
    torch.set_default_dtype(torch.float64)
    state = torch.get_rng_state()
    try:
        with torch.device("meta"):
            assert fingerprint() == first
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.get_rng_state().equal(state)


def test_other_arithmetic_is_told_apart(monkeypatch) -> None:
    first = fingerprint()
    linear = torch.nn.functional.linear
    monkeypatch.setattr(
        torch.nn.functional, "linear", lambda x, w: linear(x.double(), w.double()).float()
    )
    found = fingerprint()
    assert found["arithmetic"] != first["arithmetic"]
    assert {**found, "arithmetic": first["arithmetic"]} == first
