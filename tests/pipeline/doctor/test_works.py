"""Python, torch, OpenSlide, packages and the bundled model: each verdict both ways."""

from __future__ import annotations

import builtins
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openslide
import pytest
import simplejpeg
import tifffile
import torch

from hypergene.pipeline import predict as predicting
from hypergene.pipeline.doctor import model as bundled
from hypergene.pipeline.doctor import packages, python, slides, torch_devices
from hypergene.pipeline.doctor.finding import Finding
from hypergene.zoo.verify import Verified


def by_code(found: Any) -> dict[str, Finding]:
    return {each.code: each for each in found}


# Python


def test_this_python_will_do_and_an_old_one_will_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert by_code(python.check_python())["version"].level == "pass"
    monkeypatch.setattr(python.sys, "version_info", (3, 9, 1))
    found = by_code(python.check_python())["version"]
    assert found.level == "fail" and "needs Python 3.11" in found.fix


# torch


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_torch_computes_on_the_cpu() -> None:
    found = by_code(torch_devices.check_torch())
    assert found["version"].facts["version"] == torch.__version__
    assert found["compute_cpu"].level == "pass"
    assert found["compute_cpu"].facts["largest_error"] < 1e-3


def test_a_device_that_computes_wrongly_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    own = torch.Tensor.__matmul__

    def multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return own(left, right) * (2 if left.dtype == torch.float32 else 1)

    monkeypatch.setattr(torch.Tensor, "__matmul__", multiply)
    found = torch_devices.computation("cpu", "the CPU")
    assert found.level == "fail" and found.message.startswith("torch computes wrongly on the CPU")


def test_a_device_that_cannot_compute_fails() -> None:
    found = torch_devices.computation("cuda:17", "cuda:17")
    assert found.level == "fail" and "--device cpu" in found.fix and "\n" not in found.message


@pytest.mark.parametrize(
    ("driver", "build", "level", "words"),
    [
        (False, None, "pass", "no NVIDIA GPU"),
        (True, "13.0", "warn", "torch finds no GPU"),
        (True, None, "warn", "this torch is for the CPU alone"),
    ],
)
def test_a_driver_without_a_gpu_is_a_warning(
    no_gpu: None,
    monkeypatch: pytest.MonkeyPatch,
    driver: bool,
    build: str | None,
    level: str,
    words: str,
) -> None:
    monkeypatch.setattr(torch_devices, "has_driver", lambda: driver)
    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(torch.version, "hip", None, raising=False)
    found = by_code(torch_devices.check_torch())["gpu"]
    assert found.level == level and words in found.message


def test_a_driver_is_known_by_its_file_or_its_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_devices, "_DRIVER", tmp_path / "version")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert not torch_devices.has_driver()
    (tmp_path / "version").touch()
    assert torch_devices.has_driver()


@pytest.mark.parametrize(("free_gb", "level"), [(70.0, "pass"), (1.0, "warn")])
def test_a_gpu_is_told_with_its_memory(
    monkeypatch: pytest.MonkeyPatch, free_gb: float, level: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    about = SimpleNamespace(name="H200", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: about)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_gb * 1e9, 80e9))
    monkeypatch.setattr(
        torch_devices, "computation", lambda device, _: Finding("torch", device, "pass", "It does.")
    )
    found = by_code(torch_devices.check_torch())
    assert {"memory_cuda_0", "memory_cuda_1", "cuda:0", "cuda:1"} <= found.keys()
    memory = found["memory_cuda_1"]
    assert memory.level == level and "H200" in memory.message
    assert memory.facts["free_gb"] == free_gb and memory.facts["capability"] == "9.0"


def test_apples_gpu_is_tried_too(no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert by_code(torch_devices.check_torch())["compute_mps"].level == "fail"


# Slides


def test_slides_and_codecs_work_here() -> None:
    found = by_code(slides.check_slides())
    assert list(found) == ["openslide", "open", "codecs", "simplejpeg"]
    assert {each.level for each in found.values()} == {"pass"}


def test_an_openslide_that_cannot_be_loaded_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    own = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "openslide":
            raise ModuleNotFoundError("Couldn't locate OpenSlide shared library.\nTry pip")
        return own(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    first = next(iter(slides.check_slides()))
    assert first.level == "fail" and "Couldn't locate OpenSlide" in first.message
    assert "\n" not in first.message and "pip install openslide-bin" in first.fix


def test_an_old_openslide_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openslide, "__library_version__", "3.4.1")
    found = by_code(slides.check_slides())["openslide"]
    assert found.level == "warn" and "no DICOM" in found.message


def test_an_openslide_that_opens_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise openslide.OpenSlideUnsupportedFormatError("Unsupported")

    monkeypatch.setattr(openslide, "OpenSlide", refuse)
    assert by_code(slides.check_slides())["open"].level == "fail"


def test_a_codec_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    own = tifffile.imread

    def read(path: Path) -> Any:
        if path.stem == "webp":
            raise ValueError("<COMPRESSION.WEBP: 50001> requires the 'imagecodecs' package")
        return own(path) + np.uint8(3) * (path.stem == "lzw")

    monkeypatch.setattr(tifffile, "imread", read)
    found = by_code(slides.check_slides())["codecs"]
    assert found.level == "fail" and found.facts["missing"] == ["lzw", "webp"]
    assert "imagecodecs" in found.fix


@pytest.mark.parametrize("broken", [None, "zeros"])
def test_a_simplejpeg_that_does_not_work_fails(
    monkeypatch: pytest.MonkeyPatch, broken: str | None
) -> None:
    zeros = np.zeros_like(slides.picture())
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda _: zeros if broken else 1 / 0)
    assert by_code(slides.check_slides())["simplejpeg"].level == "fail"


# Packages


def test_extras_are_told_with_the_way_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"ray": "2.60.0"}
    monkeypatch.setattr(packages, "version_of", lambda n: there.get(n))
    found = by_code(packages.check_packages())
    assert "ray 2.60.0 predicts" in found["ray"].message
    assert "pip install 'hypergene[lora]'" in found["peft"].message
    assert {found[name].level for name in packages.EXTRAS} == {"pass"}
    assert found["required"].level == "fail" and "timm" in found["required"].message


def test_a_package_that_is_not_there_has_no_version() -> None:
    assert packages.version_of("no_such_package") is None
    assert packages.version_of("timm") == sys.modules["timm"].__version__
    assert by_code(packages.check_packages())["required"].level == "pass"


# The bundled model


def test_the_bundled_model_is_whole_and_predicts(capfd: pytest.CaptureFixture[str]) -> None:
    whole, predicted = bundled.check_model()
    assert (whole.level, predicted.level) == ("pass", "pass")
    assert predicted.facts["genes"] > 9000 and predicted.facts["spots"] > 3
    assert capfd.readouterr().err == ""


def test_a_damaged_model_fails_and_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = Verified("her2st-small", None, problems=("It is not what was written.",))
    monkeypatch.setattr(bundled, "verify_model", lambda _: damaged)
    (found,) = bundled.check_model()
    assert found.level == "fail" and "It is not what was written." in found.message


def test_a_model_that_is_not_there_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "bundled_models", dict)
    (found,) = bundled.check_model()
    assert found.level == "fail" and "her2st-small" in found.message


@pytest.mark.parametrize(("value", "slow_s", "level"), [(np.nan, 30, "fail"), (1.0, -1.0, "warn")])
def test_a_prediction_without_numbers_fails_and_a_slow_one_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, value: float, slow_s: float, level: str
) -> None:
    answer = SimpleNamespace(shape=(4, 2), X=np.full((4, 2), value))
    monkeypatch.setattr(predicting, "predict", lambda slide, model: answer)
    monkeypatch.setattr(bundled, "_SLOW_S", slow_s)
    monkeypatch.setattr(bundled, "paint_slide", lambda path, **_: path)
    monkeypatch.setattr(bundled, "verify_model", lambda name: Verified(name, None))
    *_, found = bundled.check_model()
    assert found.level == level
