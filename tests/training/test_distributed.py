"""Two processes, started by torchrun itself, train one model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypergene.errors import HypergeneError, UsageError
from hypergene.training import distributed

TESTS = Path(__file__).parents[1]
Seen = list[dict[str, Any]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What each of two processes saw."""
    folder = tmp_path_factory.mktemp("together")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    program = [*torchrun, "--nproc-per-node", "2", "-m", "tiny.together", str(folder)]
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(program, env=environment, capture_output=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr.decode()[-4000:]
    return [torch.load(folder / f"seen-{rank}.pt", weights_only=True) for rank in (0, 1)]


def assert_equal_states(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_gradients_are_averaged_and_none_counts_as_zero_unless_it_is_none_everywhere(
    seen: Seen,
) -> None:
    for each in seen:
        first, second, third = each["exchanges"]["averaged"]
        assert first.tolist() == [1.5, 1.5]
        assert second.tolist() == [[0.5, 0.5], [0.5, 0.5]]
        assert third is None


def test_what_is_not_finite_in_one_process_is_finite_in_none(seen: Seen) -> None:
    for each in seen:
        first, *_ = each["exchanges"]["bad"]
        assert first[1].isnan()


def test_statistics_are_averaged_and_counters_left(seen: Seen) -> None:
    for rank, each in enumerate(seen):
        mean, counter = each["exchanges"]["statistics"]
        assert mean.tolist() == [1.5] and counter.tolist() == [5 + rank]


def test_the_main_process_has_its_word_and_everybody_gathers_all(seen: Seen) -> None:
    for rank, each in enumerate(seen):
        exchanged = each["exchanges"]
        assert exchanged["is_main"] == (rank == 0)
        assert exchanged["text"] == "µm"
        assert [part.tolist() for part in exchanged["gathered"]] == [[0, 7], [1, 7]]


@pytest.mark.parametrize("part", ["model", "average", "objective"])
def test_all_processes_end_with_the_same_weights(seen: Seen, part: str) -> None:
    assert_equal_states(seen[0]["whole"][part], seen[1]["whole"][part])


def test_each_process_draws_batches_of_its_own_and_together_they_make_the_epoch(
    seen: Seen,
) -> None:
    assert seen[0]["bad"]["drawn"] != seen[1]["bad"]["drawn"]
    # 72 spots in batches of 24: 3 steps an epoch alone, 2 (1.5) for two processes.
    assert [each["whole"]["steps"] for each in seen] == [12, 12]


def test_the_main_process_alone_keeps_the_log(seen: Seen) -> None:
    assert [row["epoch"] for row in seen[0]["rows"]] == [1, 2, 3, 4, 5, 6]
    assert seen[1]["rows"] == []


def test_what_they_learn_is_what_the_picture_tells(seen: Seen) -> None:
    rows = seen[0]["rows"]
    assert rows[-1]["loss/regression"] < 0.8 * rows[0]["loss/regression"]


@pytest.mark.parametrize("part", ["model", "average", "objective"])
def test_a_run_broken_off_in_an_epoch_goes_on_to_the_same_weights_in_every_process(
    seen: Seen, part: str
) -> None:
    for each in seen:
        assert_equal_states(each["whole"][part], each["resumed"][part])


def test_a_step_that_is_bad_in_one_process_is_left_out_by_all(seen: Seen) -> None:
    for each in seen:
        assert each["bad"]["row"] == {"skipped": 1.0}
        assert each["bad"]["untouched"]


def test_one_process_without_torchrun_joins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.session("cpu") as device:
        assert device == torch.device("cpu")
        assert not torch.distributed.is_initialized()
        assert (distributed.rank(), distributed.size(), distributed.is_main()) == (0, 1, True)
        gradients = [torch.ones(2), None]
        assert distributed.averaged(gradients, [torch.zeros(2)] * 2)[0] is gradients[0]
        assert distributed.text_of_main("a", device) == "a"
        distributed.barrier()


def pretend(monkeypatch: pytest.MonkeyPatch, gpus: int, local_rank: int) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)


def test_on_gpus_every_process_takes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpus=2, local_rank=1)
    backends, chosen = [], []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, **_: backends.append(backend)
    )
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with distributed.session("auto") as device:
        assert device == torch.device("cuda", 1)
    assert (backends, chosen) == (["nccl"], [1])


def test_more_processes_than_gpus_and_a_numbered_gpu_are_usage_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, gpus=1, local_rank=1)
    with pytest.raises(UsageError, match="no GPU of its own"), distributed.session("cuda"):
        pass
    with (
        pytest.raises(UsageError, match="cannot be that of several"),
        distributed.session("cuda:0"),
    ):
        pass


def test_processes_that_do_not_meet_are_told_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpus=0, local_rank=0)
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    expected = pytest.raises(HypergeneError, match="do not find each other")
    with expected as caught, distributed.session("cpu"):
        pass
    assert "torchrun" in (caught.value.hint or "")
