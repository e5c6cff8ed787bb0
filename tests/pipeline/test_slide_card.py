"""A slide that cannot be trusted says so, and why."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypergene.model.network import SPECTRUM_BANDS
from hypergene.pipeline.predict import predict
from hypergene.pipeline.slide_card import sentence, spectrum_distance, stain_distance
from hypergene.slide import find_tissue, open_slide
from hypergene.slide.spectrum import BANDS, tissue_spectrum
from hypergene.zoo import load_model, write_model


def stained(folder: Path, source: Path, stains: np.ndarray) -> Path:
    """The model with the dyes of training slides."""
    model = load_model(source)
    model.add_stains(torch.from_numpy(stains))
    folder.mkdir()
    write_model(folder, model, "# stained\n")
    return folder


def turned(stains: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    return stains @ turn.T


@pytest.fixture(scope="module")
def card(painted_slide: Path, tiny_model: Path) -> dict[str, Any]:
    found: dict[str, Any] = predict(painted_slide, model=str(tiny_model)).uns["hypergene"]["card"]
    return found


def test_a_slide_like_those_of_training_is_ok(card: dict[str, Any]) -> None:
    assert card["verdict"] == "ok"
    assert len(card["reasons"]) == 0
    assert card["mpp"].tolist() == [1, 1] and card["mpp_source"]
    assert 0.05 < card["tissue_share"] < 1
    assert card["ood_share"] < 0.2
    assert card["stains"].shape == (2, 3)


def test_a_model_without_dyes_judges_none(card: dict[str, Any]) -> None:
    assert np.isnan(card["stain_degrees"]) and np.isnan(card["stain_limit_degrees"])
    assert "dyes" not in sentence(card)


@pytest.mark.parametrize(("degrees", "verdict"), [(2, "ok"), (40, "caution")])
def test_other_dyes_than_those_of_training_are_noticed(
    degrees: float,
    verdict: str,
    card: dict[str, Any],
    painted_slide: Path,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    known = turned(card["stains"], degrees)[None]
    model = stained(tmp_path / "stained", tiny_model, known)
    found = predict(painted_slide, model=str(model)).uns["hypergene"]
    assert found["card"]["verdict"] == verdict
    assert any("dyes are" in text for text in found["warnings"]) == (verdict == "caution")
    assert list(found["warnings"]) == list(found["card"]["reasons"])
    assert found["card"]["stain_degrees"] <= degrees + 0.01


def test_a_slide_out_of_distribution_is_refused_on_stderr(
    painted_slide: Path, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_model(tiny_model)
    model.reference.quantiles.zero_()  # training spots that were all alike
    folder = tmp_path / "narrow"
    folder.mkdir()
    write_model(folder, model, "# narrow\n")
    with caplog.at_level(logging.INFO, logger="hypergene"):
        about = predict(painted_slide, model=str(folder)).uns["hypergene"]
    assert about["card"]["verdict"] == "refuse"
    assert about["card"]["ood_share"] == 1
    assert "This slide looks unlike" in about["warnings"][0]
    assert any("verdict refuse" in record.message for record in caplog.records)


def test_what_training_slides_differ_by_widens_the_limit() -> None:
    one = np.array([[0.65, 0.70, 0.29], [0.2, 0.9, 0.35]])
    one = one / np.linalg.norm(one, axis=1, keepdims=True)
    narrow = stain_distance(one, np.stack([one, one]))
    wide = stain_distance(one, np.stack([turned(one, 4), turned(one, 16)]))
    assert narrow == (pytest.approx(0, abs=1e-4), pytest.approx(10, abs=1e-4))
    assert wide[1] > 15
    assert np.isnan(stain_distance(None, one[None])).all()
    assert np.isnan(stain_distance(one, None)).all()


@pytest.mark.parametrize(("mpp", "said"), [(1.0, ""), (2.0, "less"), (0.5, "more")])
def test_a_resolution_wrong_by_2_shows_in_the_fine_structure(
    mpp: float, said: str, painted_slide: Path, tiny_model: Path, tmp_path: Path
) -> None:
    model = load_model(tiny_model)
    with open_slide(painted_slide) as slide:
        known = tissue_spectrum(slide, find_tissue(slide))
    assert known is not None and known.shape == (BANDS,) == (SPECTRUM_BANDS,)
    model.add_spectra(torch.from_numpy(known)[None])
    folder = tmp_path / "sharp"
    folder.mkdir()
    write_model(folder, model, "# sharp\n")
    card = predict(painted_slide, model=str(folder), mpp=mpp).uns["hypergene"]["card"]
    about = [text for text in card["reasons"] if "fine structure" in text]
    assert bool(about) == bool(said)
    assert all(f"It has {said} fine structure" in text for text in about)
    assert all(f"in truth {'finer' if mpp > 1 else 'coarser'} than" in text for text in about)
    far_off = abs(card["fine_structure"]) > 2 * card["fine_structure_limit"]
    assert far_off == (mpp == 2.0)
    assert card["verdict"] == ("refuse" if far_off else "caution" if said else "ok")
    if not said:
        assert card["fine_structure"] == pytest.approx(0, abs=1e-5)


def test_fine_structure_is_compared_with_the_nearest_training_slide() -> None:
    known = np.array([[-5.0] * BANDS, [-4.0] * BANDS, [-4.2] * BANDS])
    assert spectrum_distance(known[0] - 2, known) == (pytest.approx(-2), pytest.approx(1.3))
    assert spectrum_distance(known[1] + 0.3, known)[0] == pytest.approx(0.3)
    assert spectrum_distance(known[0], known[:1]) == (0, 0.5)
    assert np.isnan(spectrum_distance(None, known)).all()
    assert np.isnan(spectrum_distance(known[0], None)).all()
