"""Outputs that are whole or absent."""

from __future__ import annotations

import errno
import os
import resource
import threading
import time
from pathlib import Path

import pytest

from hypergene.errors import OutputError, SlideError
from hypergene.output import atomic_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_folder(path: Path, **files: str) -> None:
    """Write a folder that is known as an output."""
    path.mkdir()
    (path / "zarr.json").touch()
    for name, text in files.items():
        (path / name).write_text(text)


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    final = tmp_path / "out.txt"
    with atomic_path(final, overwrite=False) as draft:
        draft.write_text("half")
        assert not final.exists()
        draft.write_text("whole")
    assert final.read_text() == "whole"
    assert names(tmp_path) == ["out.txt"]


def test_a_folder_appears_only_when_it_is_whole(tmp_path):
    final = tmp_path / "out.zarr"
    with atomic_path(final, overwrite=False) as draft:
        write_folder(draft, a="1", b="2")
        assert not final.exists()
    assert names(final) == ["a", "b", "zarr.json"]
    assert names(tmp_path) == ["out.zarr"]


def test_the_draft_is_a_hidden_sibling(tmp_path):
    with atomic_path(tmp_path / "out.zarr", overwrite=False) as draft:
        draft.mkdir()
        assert draft.parent == tmp_path
        assert draft.name.startswith(f".out.zarr.{os.getpid()}-")
        assert draft.suffix == ".tmp"


def test_missing_parent_folders_are_made(tmp_path):
    final = tmp_path / "a" / "b" / "out.txt"
    with atomic_path(final, overwrite=False) as draft:
        draft.write_text("x")
    assert final.read_text() == "x"


@pytest.mark.parametrize("failure", [ValueError("bug"), SlideError("bad"), KeyboardInterrupt()])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_leaves_nothing_and_passes_through(tmp_path, failure, kind):
    with (
        pytest.raises(type(failure)) as caught,
        atomic_path(tmp_path / "out", overwrite=False) as draft,
    ):
        if kind == "file":
            draft.write_text("half")
        else:
            write_folder(draft, a="half")
        raise failure
    assert caught.value is failure
    assert names(tmp_path) == []


def test_a_failure_leaves_the_old_output_as_it_was(tmp_path):
    old = tmp_path / "out.zarr"
    write_folder(old, a="old")
    with pytest.raises(ValueError), atomic_path(old, overwrite=True) as draft:
        write_folder(draft, a="new")
        raise ValueError
    assert (old / "a").read_text() == "old"
    assert names(tmp_path) == ["out.zarr"]


def test_an_existing_output_is_refused_before_any_work(tmp_path):
    final = tmp_path / "out.txt"
    final.write_text("old")
    worked = False
    with (
        pytest.raises(OutputError, match=r"exists already.*--overwrite"),
        atomic_path(final, overwrite=False),
    ):
        worked = True
    assert not worked
    assert final.read_text() == "old"


def test_overwriting_swaps_when_the_new_one_is_whole(tmp_path):
    final = tmp_path / "out.zarr"
    write_folder(final, a="old", stale="old")
    with atomic_path(final, overwrite=True) as draft:
        write_folder(draft, a="new")
        assert (final / "a").read_text() == "old"
    assert (final / "a").read_text() == "new"
    assert names(final) == ["a", "zarr.json"]
    assert names(tmp_path) == ["out.zarr"]


def test_overwriting_a_file_replaces_it(tmp_path):
    final = tmp_path / "out.txt"
    final.write_text("old")
    with atomic_path(final, overwrite=True) as draft:
        draft.write_text("new")
    assert final.read_text() == "new"
    assert names(tmp_path) == ["out.txt"]


def test_a_swap_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch):
    final = tmp_path / "out.zarr"
    write_folder(final, a="old")
    rename = Path.rename

    def refuse_the_new_one(self, target):
        if self.suffix == ".tmp":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new_one)
    with (
        pytest.raises(OutputError, match="Permission denied"),
        atomic_path(final, overwrite=True) as draft,
    ):
        write_folder(draft, a="new")
    assert (final / "a").read_text() == "old"
    assert names(tmp_path) == ["out.zarr"]


def test_an_output_that_appeared_meanwhile_is_not_replaced(tmp_path):
    final = tmp_path / "out.txt"
    with (
        pytest.raises(OutputError, match="exists already"),
        atomic_path(final, overwrite=False) as draft,
    ):
        draft.write_text("mine")
        final.write_text("theirs")
    assert final.read_text() == "theirs"
    assert names(tmp_path) == ["out.txt"]


def test_a_folder_is_never_replaced_by_a_file_nor_a_file_by_a_folder(tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    write_folder(folder, precious="1")
    file.write_text("precious")
    with pytest.raises(OutputError, match="is a folder"), atomic_path(folder, overwrite=True) as d:
        d.write_text("new")
    with pytest.raises(OutputError, match="is a file"), atomic_path(file, overwrite=True) as d:
        d.mkdir()
    assert names(folder) == ["precious", "zarr.json"]
    assert file.read_text() == "precious"
    assert names(tmp_path) == ["file", "folder"]


def test_overwriting_a_link_leaves_what_it_points_to(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    write_folder(target, a="old")
    link.symlink_to(target)
    with atomic_path(link, overwrite=True) as draft:
        write_folder(draft, a="new")
    assert (target / "a").read_text() == "old"
    assert (link / "a").read_text() == "new"
    assert names(tmp_path) == ["link", "target"]


def test_a_path_below_a_file_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    for final in (tmp_path / "file" / "out.txt", tmp_path / "file" / "deeper" / "out.txt"):
        with (
            pytest.raises(OutputError, match=r"cannot be written.*another -o"),
            atomic_path(final, overwrite=False),
        ):
            pytest.fail("the block must not run")


def test_a_folder_without_permission_is_refused_before_any_work(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    # A real folder without permission does not stop root, who runs tests in containers.
    monkeypatch.setattr(Path, "touch", refuse)
    with (
        pytest.raises(OutputError, match=r"Permission denied.*may write to"),
        atomic_path(tmp_path / "out.txt", overwrite=False),
    ):
        pytest.fail("the block must not run")
    assert names(tmp_path) == []


def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (
        pytest.raises(OutputError, match=r"out.txt cannot be written \(File too large\)"),
        atomic_path(tmp_path / "out.txt", overwrite=False) as draft,
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            draft.write_bytes(bytes(100_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == []


def test_a_full_disk_is_told_with_what_to_do(tmp_path):
    with (
        pytest.raises(OutputError, match=r"No space left on device.*Free some space"),
        atomic_path(tmp_path / "out.txt", overwrite=False) as draft,
    ):
        draft.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_a_missing_input_is_not_taken_for_a_failed_output(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="input"),
        atomic_path(tmp_path / "out.txt", overwrite=False) as draft,
    ):
        draft.write_text("half")
        (tmp_path / "input").read_text()
    assert names(tmp_path) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(OutputError), atomic_path(tmp_path / "out.txt", overwrite=False):
        pass
    assert names(tmp_path) == []


def test_drafts_may_be_nested_and_names_long(tmp_path):
    final = tmp_path / ("x" * 250)
    with (
        atomic_path(final, overwrite=False) as outer,
        atomic_path(outer, overwrite=True) as inner,
    ):
        inner.write_text("x")
    assert final.read_text() == "x"
    assert names(tmp_path) == [final.name]


def test_a_failure_takes_the_folders_it_made_with_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "x/y/a.txt", overwrite=False):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_a_folder_that_others_use_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    with pytest.raises(ZeroDivisionError), atomic_path(folder / "a.txt", overwrite=False):
        (folder / "b.txt").touch()
        raise ZeroDivisionError
    assert [path.name for path in folder.iterdir()] == ["b.txt"]


def test_an_empty_folder_that_was_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(ZeroDivisionError), atomic_path(folder / "a.txt", overwrite=False):
        raise ZeroDivisionError
    assert folder.is_dir()


def test_the_error_of_a_writer_that_got_the_draft_names_the_output(tmp_path: Path) -> None:
    final = tmp_path / "a.zarr"
    with (
        pytest.raises(OutputError, match="No space left") as error,
        atomic_path(final, overwrite=False) as draft,
        atomic_path(draft, overwrite=True),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.message.startswith(f"{final} cannot be written")
    assert error.value.hint is not None


def test_an_existing_output_is_refused_by_its_name(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    final.touch()
    with pytest.raises(OutputError, match="exists"), atomic_path(final, overwrite=False):
        pytest.fail("the work began")


@pytest.mark.parametrize("mark", ["zarr.json", "config.json"])
def test_an_output_of_ours_may_be_replaced(tmp_path: Path, mark: str) -> None:
    final = tmp_path / "a"
    final.mkdir()
    (final / mark).touch()
    with atomic_path(final, overwrite=True) as draft:
        draft.mkdir()
        (draft / "new").touch()
    assert [path.name for path in final.iterdir()] == ["new"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    final = tmp_path / "a.zarr"
    final.mkdir()
    (final / "thesis.txt").touch()
    with pytest.raises(OutputError, match="other things"), atomic_path(final, overwrite=True):
        pytest.fail("the work began")
    assert (final / "thesis.txt").exists()


def test_nothing_stays_though_a_thread_goes_on_writing_for_a_moment(tmp_path):
    late = []

    def write_late(draft):
        time.sleep(0.03)
        draft.mkdir(exist_ok=True)
        (draft / "chunk").write_bytes(b"late")
        late.append(draft)

    def fail():
        with atomic_path(tmp_path / "out.zarr", overwrite=False) as draft:
            draft.mkdir()
            threading.Thread(target=write_late, args=(draft,)).start()
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert late
    assert list(tmp_path.iterdir()) == []
