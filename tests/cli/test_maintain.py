"""Commands that keep files in order."""

from collections.abc import Callable
from pathlib import Path

import pytest

from program import SMALL, popgrad, refused


def test_data_prints_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(
        name: str, directory: Path, progress: Callable[[str, int, int | None], None]
    ) -> list[Path]:
        progress("a.gz", 1, 2)
        progress("a.gz", 2, 2)
        return [directory / name / "a.gz"]

    monkeypatch.setattr("popgrad.data.download", download)
    assert popgrad("data", "mnist", "--dir", "there").out == "there/mnist/a.gz\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    assert popgrad("run", "quadratic", *SMALL, "--dir", str(tmp_path / "run"), "--debug").code == 0
    return tmp_path / "run"


def test_gc_says_what_it_frees_and_what_stays(run: Path) -> None:
    (run / "checkpoints" / ".0123.part").write_bytes(b"x" * 2000)
    looked = popgrad("gc", str(run), "--dry-run", "--json").json
    assert (looked["size"], looked["dry_run"]) == (2000, True)
    done = popgrad("gc", str(run))
    assert (done.code, "2.0 kB freed (1 file" in done.out) == (0, True)
    assert "nothing to free" in popgrad("gc", str(run)).out
    only = popgrad("gc", str(run), "--only-winner")
    assert "1 checkpoint stays" in only.out
    assert "holds no run" in refused("gc", str(run.parent))


def test_doctor_looks_at_a_run_and_at_the_installation(run: Path) -> None:
    done = popgrad("doctor", str(run))
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("no problems\n")
    findings = popgrad("doctor", str(run), "--json").json
    assert {"journal", "checkpoints", "machine", "progress"} <= {each["about"] for each in findings}
    (path, *_) = sorted((run / "checkpoints").glob("*.safetensors"))
    path.write_bytes(b"no checkpoint")
    done = popgrad("doctor", str(run))
    assert (done.code, "1 problem\n" in done.out, "→ popgrad resume" in done.out) == (1, True, True)
    assert {"versions", "workers"} <= {each["about"] for each in popgrad("doctor", "--json").json}
    assert "holds no run" in refused("doctor", str(run.parent))
