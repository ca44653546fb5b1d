"""What is looked at of an installation, and what is said where something is wrong."""

from pathlib import Path

import pytest

from popgrad import RunError, doctor
from popgrad.doctor import installation as module


def by_name(folder: Path) -> dict[str, list[doctor.Finding]]:
    found: dict[str, list[doctor.Finding]] = {}
    for finding in doctor.examine_installation(folder):
        found.setdefault(finding.about, []).append(finding)
    return found


def test_an_installation_that_works_has_no_problems(tmp_path: Path) -> None:
    found = by_name(tmp_path / "runs")
    assert not [each for findings in found.values() for each in findings if each.level == "problem"]
    assert "torch 2" in found["versions"][0].text
    assert found["workers"][0].text.startswith("one was started")
    assert found["devices"][0].text.startswith("cpu")
    assert not (tmp_path / "runs").exists()


def test_what_is_wrong_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self, *_: object, **__: object) -> None:
            raise RunError("the arithmetic of a worker process differs")

    def refuse(path: Path) -> None:
        raise RunError(f"{path} lies on a network file system")

    monkeypatch.setattr(module, "Processes", Broken)
    monkeypatch.setattr(module, "check_local", refuse)
    monkeypatch.setattr(module, "_MIN_FREE", 10**18)
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setenv("POPGRAD_DATA", str(tmp_path / "nothing"))
    found = by_name(tmp_path / "runs")
    assert (found["workers"][0].level, found["file system"][0].level) == ("problem", "problem")
    assert {each.level for each in found["space"]} == {"note"}
    assert (found["arithmetic"][0].level, found["data"][0].level) == ("note", "note")
    for findings in found.values():
        assert all(each.advice for each in findings if each.level != "ok")


def test_a_folder_without_the_files_is_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POPGRAD_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    finding = module._data()
    assert (finding.level, finding.text) == ("note", f"mnist is not complete in {tmp_path}")
    assert finding.advice == "popgrad data mnist downloads what is missing"

    for part in ("train", "test"):
        (tmp_path / "mnist" / part).mkdir()
    assert (module._data().level, module._data().text) == ("ok", f"mnist in {tmp_path}")


def test_sizes_in_words() -> None:
    from popgrad.doctor.finding import size

    assert [size(n) for n in (0, 999, 1000, 1_500_000, 2 * 10**9, 3 * 10**12)] == [
        "0 B", "999 B", "1.0 kB", "1.5 MB", "2.0 GB", "3.0 TB",
    ]  # fmt: skip
