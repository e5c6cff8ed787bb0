"""The network runs where it is told to, or says in one sentence why not."""

from __future__ import annotations

import pytest
import torch

from hypergene.errors import HypergeneError, UsageError
from hypergene.features import device as devices
from hypergene.features.device import encoder_precision, pick_device, precision_name, repeatable


def gpus(monkeypatch: pytest.MonkeyPatch, count: int, capability: tuple[int, int] = (9, 0)) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)


def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch):
    gpus(monkeypatch, 1)
    assert pick_device("auto") == pick_device() == torch.device("cuda")
    gpus(monkeypatch, 0)
    assert pick_device("auto") == torch.device("cpu")


def test_a_device_is_picked_by_name(monkeypatch: pytest.MonkeyPatch):
    gpus(monkeypatch, 2)
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("cuda") == torch.device("cuda")
    assert pick_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:-1", "mps", "meta"])
def test_an_unknown_device_is_a_usage_error(name: str):
    with pytest.raises(UsageError, match=repr(name)) as caught:
        pick_device(name)
    assert "cpu" in (caught.value.hint or "")


@pytest.mark.parametrize(("count", "name"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2")])
def test_a_gpu_that_is_not_there_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, count: int, name: str
):
    gpus(monkeypatch, count)
    with pytest.raises(UsageError, match=f"no device '{name}'") as caught:
        pick_device(name)
    assert "--device cpu" in (caught.value.hint or "")


def product(device: torch.device, *, training: bool) -> torch.dtype:
    one = torch.ones(2, 2)
    with encoder_precision(device, training=training):
        return (one @ one).dtype


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_prediction_on_a_cpu_is_in_float32_whatever_the_cpu(
    monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool
):
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: has_bfloat16)
    cpu = torch.device("cpu")
    assert product(cpu, training=False) == torch.float32
    assert precision_name(cpu) == "float32"
    fast = torch.bfloat16 if has_bfloat16 else torch.float32
    assert product(cpu, training=True) == fast


@pytest.mark.parametrize(
    ("capability", "name"), [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float32")]
)
def test_a_gpu_runs_in_bfloat16_if_it_has_it_in_hardware(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], name: str
):
    gpus(monkeypatch, 1, capability)
    asked = []
    monkeypatch.setattr(
        torch, "autocast", lambda kind, dtype, enabled: asked.append((kind, dtype, enabled))
    )
    for training in (False, True):
        encoder_precision(torch.device("cuda"), training=training)
    assert asked == [("cuda", torch.bfloat16, name == "bfloat16")] * 2
    assert precision_name(torch.device("cuda")) == name


def test_a_torch_that_cannot_tell_is_taken_to_have_no_bfloat16(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert devices.cpu_has_bfloat16() is False
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert devices.cpu_has_bfloat16() is True


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_a_precision_that_is_asked_for_is_used_whatever_the_hardware(
    monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool
):
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: has_bfloat16)
    one = torch.ones(2, 2)
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with encoder_precision(torch.device("cpu"), training=True, precision=precision):
            assert (one @ one).dtype == dtype


def irregular() -> None:
    """Something that torch has no deterministic algorithm for."""
    torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))


def test_what_cannot_repeat_bit_by_bit_is_named_and_nothing_stays_switched():
    expected = pytest.raises(HypergeneError, match="put_ does not have a deterministic")
    with expected as caught, repeatable():
        assert torch.are_deterministic_algorithms_enabled()
        irregular()
    assert caught.value.hint
    assert not torch.are_deterministic_algorithms_enabled()


def test_repeatable_is_only_what_asks_for_it():
    with repeatable(False):
        assert not torch.are_deterministic_algorithms_enabled()
        irregular()


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), repeatable():
        torch.ones(2, 3) @ torch.ones(2, 3)
