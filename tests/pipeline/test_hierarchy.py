"""The picture of a model's hierarchy is drawn of the model's own points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from tiny.sections import tiny_config, tiny_section

from hypergene.errors import OutputError
from hypergene.model.network import HyperGene
from hypergene.pipeline import hierarchy
from hypergene.pipeline.hierarchy import draw_hierarchy
from hypergene.report.hierarchy import SectionHierarchy
from hypergene.training.archetypes import fit_archetypes
from hypergene.training.assess import EncodedSection, encode_sections

CPU = torch.device("cpu")
Scores = list[np.ndarray[Any, np.dtype[np.float32]]]


def trained(kind: str, archetypes: int) -> tuple[HyperGene, list[EncodedSection], Scores]:
    """A random model, two sections that it encoded, and scores of their spots."""
    torch.manual_seed(0)
    config = tiny_config()
    geometry = config.geometry.model_copy(update={"kind": kind, "archetypes": archetypes})
    config = config.model_copy(update={"geometry": geometry})
    model = HyperGene(config).eval()
    sections = [
        tiny_section(config, name, name[0], seed, features=16)
        for seed, name in enumerate(("A1", "B1"))
    ]
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=(len(s), 4)).astype(np.float32) for s in sections]
    encoded = encode_sections(model, sections, CPU)
    fit_archetypes(model, encoded, scores, CPU, seed=0)
    return model, encoded, scores


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the picture was drawn of, and how."""
    caught: dict[str, Any] = {}
    draw = hierarchy.draw_hierarchy_figure

    def watch(sections: list[SectionHierarchy], **options: Any) -> Figure:
        caught.update(sections=sections, **options)
        return draw(sections, **options)

    monkeypatch.setattr(hierarchy, "draw_hierarchy_figure", watch)
    return caught


@pytest.mark.parametrize("kind", ["lorentz", "euclidean"])
@pytest.mark.parametrize("archetypes", [3, 0])
def test_a_model_is_drawn_to_a_png(
    tmp_path: Path, given: dict[str, Any], kind: str, archetypes: int
) -> None:
    model, encoded, scores = trained(kind, archetypes)
    out = tmp_path / "hierarchy.png"
    draw_hierarchy(model, encoded, scores, CPU, out)
    with Image.open(out) as picture:
        assert picture.format == "PNG" and picture.width > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["hierarchy.png"]
    assert ("hyperbolic" in given["unit"]) == (kind == "lorentz")
    assert [section.name for section in given["sections"]] == ["A1", "B1"]
    for section, one in zip(given["sections"], encoded, strict=True):
        assert (section.archetype is None) == (archetypes == 0)
        assert {len(radius) for radius in section.radius.values()} == {len(one.section)}
        counts = one.section.expression.counts().toarray()
        assert section.genes_detected.tolist() == (counts > 0).sum(1).tolist()


def test_radii_are_those_of_the_models_points(tmp_path: Path, given: dict[str, Any]) -> None:
    model, encoded, scores = trained("lorentz", 2)
    draw_hierarchy(model, encoded, scores, CPU, tmp_path / "hierarchy.png")
    one, space = encoded[1], model.space
    with torch.inference_mode():
        image = model.view(torch.from_numpy(one.features), one.around(CPU))
        gene = space.lift_gene(model.gene_spot(torch.from_numpy(scores[1])))
        around = torch.from_numpy((one.section.neighbours @ scores[1]).astype(np.float32))
        expected = {
            "image spot": space.radius(image.spot),
            "image niche": space.radius(image.niche),
            "gene spot": space.radius(gene),
            "gene niche": space.radius(space.lift_gene(model.gene_niche(around))),
        }
    radius = given["sections"][1].radius
    assert set(radius) == set(expected)
    for level, found in expected.items():
        np.testing.assert_allclose(radius[level], found.numpy(), rtol=1e-5)
    assert model.archetypes is not None
    with torch.inference_mode():
        likeliest = model.archetypes(image.spot, space.curvature).weights.argmax(1)
    assert given["sections"][1].archetype.tolist() == likeliest.tolist()


def test_no_pixel_of_a_slide_gets_into_the_picture(tmp_path: Path) -> None:
    """It comes out the same from sections that have no images at all."""
    model, encoded, scores = trained("lorentz", 2)
    draw_hierarchy(model, encoded, scores, CPU, tmp_path / "one.png")
    blind = [replace(one, section=replace(one.section, images=None)) for one in encoded]
    draw_hierarchy(model, blind, scores, CPU, tmp_path / "other.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def test_an_earlier_picture_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "hierarchy.png").write_text("old")
    draw_hierarchy(*trained("lorentz", 0), CPU, tmp_path / "hierarchy.png")
    assert (tmp_path / "hierarchy.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        draw_hierarchy(*trained("lorentz", 0), CPU, tmp_path / "file" / "hierarchy.png")
