"""The page says what flatters beside every figure, and escapes what it is given."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hypergene.report.evaluation_figures import GeneMap, draw_ceiling, draw_maps
from hypergene.report.evaluation_page import evaluation_page

TRAINED = "OPTIMISTIC: trained on"


def about(**more: Any) -> dict[str, Any]:
    return {
        "hypergene": "0",
        "method": "tool <1>",
        "protocol": {"name": "hypergene", "truth": "log1p CP10k, never smoothed", "label": ""},
        "samples": [
            {"sample": "S&1", "patient": None, "held_out": "trained on", "reason": "It was."}
        ],
        "gene_sets": {},
        "warnings": ["S&1 was trained on."],
        "notes": ["One patient."],
        **more,
    }


def tables() -> dict[str, pd.DataFrame]:
    known = {"method": "tool <1>", "held_out": "trained on", "optimistic": TRAINED}
    summary = pd.DataFrame(
        {
            **known,
            "gene_set": "expressed",
            "metric": ["pearson", "ceiling"],
            "value": [0.5, 0.8],
            "low": [0.4, np.nan],
            "high": [0.6, np.nan],
            "level": "spot-block",
            "units": 9,
        }
    )
    genes = pd.DataFrame(
        {**known, "gene": ["ERBB2", "KRT8"], "pearson": [0.5, 0.2], "ceiling": [0.8, np.nan]}
    )
    slides = pd.DataFrame(
        {
            **known,
            "sample": ["S&1"],
            "gene_set": "expressed",
            "pearson": 0.5,
            "pearson_low": 0.4,
            "pearson_high": 0.6,
        }
    )
    differences = pd.DataFrame(
        {
            **known,
            "method": ["ridge"],
            "gene_set": "expressed",
            "metric": "pearson",
            "difference": 0.1,
            "low": 0.05,
            "high": 0.15,
        }
    )
    curves = pd.DataFrame(
        {**known, "gene_set": "expressed", "level": [0.5, 0.9], "covered": [0.4, 0.95]}
    )
    return {
        "summary": summary,
        "genes": genes,
        "slides": slides,
        "differences": differences,
        "curves": curves,
    }


def maps(same_units: bool = True) -> list[GeneMap]:
    xy = np.stack(np.meshgrid(np.arange(5), np.arange(4)), axis=-1).reshape(-1, 2) * 200.0
    values = np.linspace(0, 3, 20)
    return [GeneMap("S&1", "ERBB2", xy, values, values[::-1].copy(), same_units)]


@pytest.fixture(scope="module")
def page() -> str:
    return evaluation_page(about(), tables(), maps())


class _Balanced(HTMLParser):
    """Checks that elements close in the order in which they opened."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed(page: str) -> None:
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []


def test_what_flatters_stands_in_the_text_and_in_the_titles_of_figures(page: str) -> None:
    assert page.count(TRAINED) >= 8
    labels = re.findall(r'aria-label="([^"]+)"', page)
    assert sum(TRAINED in label for label in labels) == 4
    alts = re.findall(r'alt="([^"]+)"', page)
    assert alts and all(TRAINED in alt for alt in alts)


def test_a_published_protocol_stands_at_the_head_of_the_page() -> None:
    label = "TRIPLEX: published protocol, not comparable"
    said = {"name": "triplex", "truth": "averaged over neighbours", "label": label}
    page = evaluation_page(about(protocol=said), tables(), [])
    assert label in page.split("Read this first")[0]
    assert "Truth: averaged over neighbours." in page
    assert "never smoothed" not in page


def test_names_are_escaped(page: str) -> None:
    assert "tool &lt;1&gt;" in page
    assert "tool <1>" not in page
    assert "S&amp;1" in page


def test_values_stand_with_their_intervals(page: str) -> None:
    assert "0.500\n(0.400 to 0.600)" in page
    assert "nan" not in re.sub(r"base64,[^\"]+|<svg.*?</svg>", "", page, flags=re.S)


def test_the_page_is_the_same_each_time(page: str) -> None:
    assert evaluation_page(about(), tables(), maps()) == page


def test_other_units_get_a_scale_of_their_own() -> None:
    assert draw_maps(maps()) != draw_maps(maps(same_units=False))


def test_genes_without_a_ceiling_are_left_out_of_its_figure() -> None:
    assert draw_ceiling(tables()["genes"], "t").startswith("<svg ")


def test_without_curves_and_controls_there_are_fewer_figures() -> None:
    few = tables() | {"curves": pd.DataFrame(), "differences": pd.DataFrame()}
    page = evaluation_page(about(), few, [])
    assert page.count("<svg") == 2
    assert "None of the genes to draw was measured" in page
