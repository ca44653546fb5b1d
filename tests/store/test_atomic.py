"""Files are there as a whole or not at all; what a kill leaves beside them is known by its name."""

from pathlib import Path

import pytest

from popgrad.store.atomic import leftovers, replacing


def interrupted(aside: Path) -> None:
    aside.write_text("half")
    raise KeyboardInterrupt


def test_a_file_is_replaced_as_a_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "below" / "table.csv"
    with replacing(path) as aside:
        aside.write_text("first")
        assert aside.suffix == path.suffix
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), replacing(path) as aside:
        interrupted(aside)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_left_by_who_was_killed_is_told_from_all_else(tmp_path: Path) -> None:
    names = ("best.json", "journal.db", ".hidden", ".journal.db.part", "123.csv", ".123")
    for name in names:
        (tmp_path / name).touch()
    with replacing(tmp_path / "best.json") as aside:
        aside.touch()
        assert leftovers(tmp_path) == [aside]
    assert leftovers(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_a_path_without_a_name_is_a_directory() -> None:
    with pytest.raises(IsADirectoryError), replacing(Path()):
        pass
