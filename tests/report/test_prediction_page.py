"""What stands in a prediction's page, and that no name in it becomes markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny.reported import GENES, HOSTILE, tiny_prediction

from hypergene.report.gene_reliability import held_out_sentence
from hypergene.report.index_page import index_entry, index_page
from hypergene.report.page_parts import content_policy, json_in_script
from hypergene.report.prediction_page import prediction_page
from hypergene.report.spot_columns import spot_columns
from hypergene.report.spot_map import spot_map


def page_of(**made: Any) -> str:
    return prediction_page(
        tiny_prediction(**made),
        name="a <slide>",
        spots_in_file=80,
        genes_in_file=9000,
        chosen_by="as asked for",
    )


@pytest.fixture(scope="module")
def html() -> str:
    return page_of()


class Scripts(HTMLParser):
    """Collects scripts as a browser would find them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.found.append((dict(attrs), ""))
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.inside:
            known, text = self.found[-1]
            self.found[-1] = (known, text + data)


def scripts(html: str) -> list[tuple[dict[str, str | None], str]]:
    parser = Scripts()
    parser.feed(html)
    return parser.found


def data_of(html: str) -> dict[str, Any]:
    (text,) = [text for known, text in scripts(html) if known.get("id") == "page"]
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def test_the_page_says_that_it_is_predicted_and_how_it_was_made(html: str) -> None:
    text = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    for said in (
        "Predicted, not measured.",
        "a &lt;slide&gt;",
        "Its dyes are unusual.",
        "caution",
        "6 of 9,000 genes, as asked for",
        "80 spots",
        "model.licence",
        "CC0-1.0",
        "0" * 64,
        "openslide.mpp-x",
        "seconds.encode",
        "1.25",
        "tissue_share",
        "0.4321",
        "on patients that were not trained on",
        "nothing of the next patient",
    ):
        assert said in text
    assert text.count("<li>Its dyes are unusual.</li>") == 2  # at the head, and on the card


def test_what_is_hostile_stays_text(html: str) -> None:
    assert HOSTILE not in html
    assert "document.title=" in html  # it is there, escaped
    found = scripts(html)
    run = [text for known, text in found if "type" not in known]
    assert [text for text in run if "broken" in text] == []
    assert data_of(html)["genes"][5]["name"] == HOSTILE


def test_only_the_scripts_that_were_meant_may_run(html: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    policy = policy.replace("&#39;", "'")
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    run = [text for known, text in scripts(html) if "type" not in known]
    assert len(run) == len(re.findall(r"'sha256-", policy)) >= 3
    for text in run:
        (expected,) = re.findall(r"'sha256-[^']+'", content_policy([text]))
        assert expected in policy


def test_it_asks_for_nothing_from_elsewhere(html: str) -> None:
    without_scripts = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:)[^"'\s>]+""", without_scripts) == []


def test_every_gene_has_a_row_with_what_is_known_of_it(html: str) -> None:
    rows = re.findall(r"<tr data-find.*?</tr>", html)
    assert len(rows) == len(GENES)
    assert all(part in rows[0] for part in ("ERBB2", ">A<", ">0.50<", ">0.70<", ">spot<"))
    assert rows[4].count("–") == 1  # r of a gene that was never held out


def test_packed_columns_are_those_that_the_script_looks_for(html: str) -> None:
    about = data_of(html)
    wanted = {"names", "x", "y"}
    wanted |= {gene[layer]["id"] for gene in about["genes"] for layer in ("expression", "spread")}
    wanted |= {column["id"] for column in about["columns"]}
    there = {known["id"] for known, _ in scripts(html) if known.get("type") == "text/plain"}
    assert there == wanted
    assert [column["key"] for column in about["columns"]] == [
        "ood_score", "radius", "tissue_fraction", "focus", "pen",
    ]  # fmt: skip


def test_archetypes_are_categories_with_a_colour_each() -> None:
    for count in (2, 5, 12, 30):
        about = data_of(page_of(rows=20, archetypes=count))
        (column,) = [column for column in about["columns"] if column["key"] == "archetype"]
        assert len(column["categories"]) == len(column["palette"]) == count
        assert len(set(column["palette"])) == count


def test_an_older_or_poorer_prediction_has_a_page_too() -> None:
    adata = tiny_prediction()
    adata.var = adata.var[["gene_ids"]]
    adata.obs = adata.obs[["in_tissue"]]
    del adata.layers["std"], adata.uns["hypergene"]["card"]
    adata.uns["hypergene"]["model"] = {"name": "old"}
    adata.uns["spatial"]["slide"]["images"] = {}
    page = prediction_page(adata, name="old", spots_in_file=80, genes_in_file=6, chosen_by="all")
    assert "does not say whether patients or only sections were held out" in page
    assert 'value="spread"' not in page
    assert 'id="slide"' not in page


def test_columns_that_say_the_same_of_every_spot_are_no_layers() -> None:
    obs = pd.DataFrame({"pen": [False, False], "in_tissue": [1, 1], "radius": [0.1, 0.2]})
    assert [column.key for column in spot_columns(obs)] == ["radius"]
    likely = pd.DataFrame({"archetype_0": [0.5, 0.2], "archetype_ood": [0.1, 0.1], 7: [1, 2]})
    assert {column.key for column in spot_columns(likely)} == {"archetype_0", "archetype_ood"}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"validation": "section", "interval": "spot-block"}, "which flatters"),
        ({"validation": "none"}, "Nothing was held out"),
        ({}, "does not say"),
    ],
)
def test_what_was_held_out_is_said(model: dict[str, str], said: str) -> None:
    assert said in held_out_sentence({"model": model})


def test_json_ends_no_script_and_keeps_its_text() -> None:
    value = {"a": "</script><!--<script>&\u2028", "b": [1.5, None]}
    text = json_in_script(value)
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == value
    with pytest.raises(ValueError, match=r"nan|Out of range"):
        json_in_script(np.nan)


def test_the_index_leads_to_every_page_and_says_what_failed() -> None:
    entry = index_entry(tiny_prediction(), name="a <b>", link="a <b> #1.html", spots=1234)
    page = index_page([entry], [("bad", f"There is no file {HOSTILE}.")])
    assert 'href="a%20%3Cb%3E%20%231.html"' in page
    for said in ("a &lt;b&gt;", "caution", "1,234 spots", "ERBB2 (0.50)", "There is no file"):
        assert said in page
    assert HOSTILE not in page
    assert "data:image/jpeg;base64," in page
    assert "script-src &#39;none&#39;" in page


def test_squares_are_turned_as_their_lattice_is() -> None:
    made = {"image": None, "slide_mm": (2.0, 3.0), "diameter_mm": 0.016, "orientation_deg": 90.0}
    squares = json.dumps(spot_map(shape="square", **made))  # type: ignore[arg-type]
    assert f'"angle": {{"type": "value", "value": {-np.pi / 2}}}' in squares
    assert '"angle"' not in json.dumps(spot_map(shape="circle", **made))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdict", "doubted"), [("ok", False), ("caution", True), ("refuse", True)]
)
def test_a_doubtful_slide_is_said_beside_every_gene(verdict: str, doubted: bool) -> None:
    adata = tiny_prediction()
    adata.uns["hypergene"]["card"]["verdict"] = verdict
    page = prediction_page(
        adata, name="s", spots_in_file=80, genes_in_file=9, chosen_by="as asked for"
    )
    beside = page[page.index('id="trust-title"') : page.index("held-out r</dt>")]
    assert ("it may not hold here" in beside) is doubted
