from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hypergene.errors import OutputError
from hypergene.output import atomic_path
from hypergene.pipeline.drafts import draft_of


def test_the_output_appears_when_the_block_ends_well(tmp_path: Path) -> None:
    final = tmp_path / "new" / "folder" / "a.txt"
    with draft_of(final, overwrite=False) as draft:
        draft.write_text("whole")
        assert not final.exists()
    assert final.read_text() == "whole"
    assert [path.name for path in final.parent.iterdir()] == ["a.txt"]


def test_a_failure_takes_the_folders_it_made_with_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), draft_of(tmp_path / "x/y/a.txt", overwrite=False):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_a_folder_that_others_use_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    with pytest.raises(ZeroDivisionError), draft_of(folder / "a.txt", overwrite=False):
        (folder / "b.txt").touch()
        raise ZeroDivisionError
    assert [path.name for path in folder.iterdir()] == ["b.txt"]


def test_an_empty_folder_that_was_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(ZeroDivisionError), draft_of(folder / "a.txt", overwrite=False):
        raise ZeroDivisionError
    assert folder.is_dir()


def test_the_error_of_a_writer_that_got_the_draft_names_the_output(tmp_path: Path) -> None:
    final = tmp_path / "a.zarr"
    with (
        pytest.raises(OutputError, match="No space left") as error,
        draft_of(final, overwrite=False) as draft,
        atomic_path(draft, overwrite=True),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.message.startswith(f"{final} cannot be written")
    assert error.value.hint is not None


def test_an_existing_output_is_refused_by_its_name(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    final.touch()
    with pytest.raises(OutputError, match="exists"), draft_of(final, overwrite=False):
        pytest.fail("the work began")


@pytest.mark.parametrize("mark", ["zarr.json", "config.json"])
def test_an_output_of_ours_may_be_replaced(tmp_path: Path, mark: str) -> None:
    final = tmp_path / "a"
    final.mkdir()
    (final / mark).touch()
    with draft_of(final, overwrite=True) as draft:
        draft.mkdir()
        (draft / "new").touch()
    assert [path.name for path in final.iterdir()] == ["new"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    final = tmp_path / "a.zarr"
    final.mkdir()
    (final / "thesis.txt").touch()
    with pytest.raises(OutputError, match="other things"), draft_of(final, overwrite=True):
        pytest.fail("the work began")
    assert (final / "thesis.txt").exists()
