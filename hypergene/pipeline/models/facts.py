"""``hypergene models show``: what a model is, of what, and how far each gene may be trusted."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from hypergene.evaluation.classes import CLASSES
from hypergene.pipeline.card import encoder_summary
from hypergene.pipeline.gene_table import gene_table
from hypergene.zoo import find_model, load_model, weights_sha256
from hypergene.zoo.folder import CARD

MOST_RELIABLE: Final = 12
"""Genes that are named in the short form."""
_WIDTH = 100
_SECTIONS = ("Intended use", "Data", "Limits")


@dataclass(frozen=True)
class ModelFacts:
    """What there is to say of a model.

    Attributes
    ----------
    name
        As it was asked for.
    folder
        Where it is.
    facts
        Plain values, as ``--json`` prints them.
    card
        Text of its ``README.md``; empty if it has none.
    genes
        The canonical ``var``: reliability of every gene, indexed by symbol.
    """

    name: str
    folder: Path
    facts: dict[str, Any]
    card: str
    genes: pd.DataFrame

    def as_json(self) -> str:
        """Return the facts as one line of JSON."""
        return json.dumps(self.facts, ensure_ascii=False)

    def genes_as_csv(self) -> str:
        """Return every gene with its reliability as CSV, the most reliable first."""
        text: str = _most_reliable_first(self.genes).to_csv(index_label="gene", lineterminator="\n")
        return text

    def as_text(self) -> str:
        """Return the facts and the main sections of the card, for people."""
        facts, held_out = self.facts, self.facts["held_out"]
        layout = facts["layout"]
        widths = " and ".join(f"{um:g} µm" for um in facts["tile_um"])
        rows = {
            "folder": facts["folder"],
            "tissue": facts["tissue"],
            "encoder": f"{facts['encoder']['summary']}; sees {widths} around a spot, at "
            f"{facts['tile_px']} px",
            "layout": f"{layout['name']}: {layout['diameter_um']:g} µm spots, "
            f"{layout['pitch_um']:g} µm apart",
            "space": f"{facts['space']['kind']}, {facts['space']['dim']} dimensions",
            "genes": f"{facts['genes']:,}; {_classes(facts)}",
            "most reliable": ", ".join(facts["most_reliable"]) or "none is known to be",
            "trained on": _counted(facts["trained_on"], facts["patients"]),
            "held out": _held_out(held_out),
            "licence": facts["licence"] + _of_encoder(facts["encoder"]),
            "sha256": facts["sha256"],
        }
        indent = 2 + max(map(len, rows))
        parts = [
            f"{facts['name']}, revision {facts['revision']}",
            "\n".join(_folded(f"{key:<{indent}}{value}", indent) for key, value in rows.items()),
            "What it gives is predicted, not measured: natural log1p of counts per 10,000.",
        ]
        for title, text in card_sections(self.card, _SECTIONS).items():
            # Lines of a table or a list stay as they are.
            parts.append("\n".join(map(_folded, f"{title}: {text}".splitlines())))
        return "\n\n".join(parts)


def model_facts(name: str | Path) -> ModelFacts:
    """Load a model and say what it is.

    Parameters
    ----------
    name
        A bundled model, the path of a model folder, or ``hf-hub:org/name``, which is fetched if it
        is not in the cache.

    Returns
    -------
    ModelFacts

    Raises
    ------
    ModelError
        There is no such model, or it does not load.
    """
    folder = find_model(name)
    model = load_model(folder)
    config = model.config
    about, encoder = config.provenance, config.encoder
    table = gene_table(model, np.arange(len(config.genes)))
    classes = _count_classes(table)
    measured = table["heldout_pcc"].dropna()
    best = _most_reliable_first(table).head(MOST_RELIABLE)
    facts: dict[str, Any] = {
        "name": about.name,
        "revision": about.revision,
        "folder": str(folder),
        "sha256": weights_sha256(folder),
        "licence": about.licence,
        "tissue": about.tissue,
        "hypergene": about.hypergene,
        "encoder": {
            "name": encoder.name,
            "summary": encoder_summary(model),
            "parameters": sum(weights.numel() for weights in model.encoder.parameters()),
            "pretrained": encoder.pretrained,
            "source": encoder.source,
            "licence": encoder.licence,
        },
        "tile_um": list(encoder.tile_um),
        "tile_px": encoder.tile_px,
        "layout": {
            "name": config.layout.name,
            "lattice": config.layout.lattice,
            "diameter_um": config.layout.diameter_um,
            "pitch_um": config.layout.pitch_um,
        },
        "space": {"kind": config.geometry.kind, "dim": config.geometry.dim},
        "genes": len(config.genes),
        "reliability": classes,
        "reliable": int(table["reliable"].sum()),
        "most_reliable": best.index[best["reliable"].to_numpy(bool)].tolist(),
        "trained_on": list(about.trained_on),
        "counts_of": list(about.counts_of),
        "patients": about.patients,
        "held_out": {
            "level": about.validation,
            "samples": list(about.validated_on),
            "median_pearson": None if measured.empty else round(float(measured.median()), 4),
            "genes_measured": len(measured),
            "interval": None if config.held_out is None else config.held_out.interval,
            "units": None if config.held_out is None else config.held_out.units,
            "calibration": None if config.held_out is None else config.held_out.calibration,
        },
    }
    return ModelFacts(str(name), folder, facts, _read_card(folder), table)


def card_sections(card: str, titles: tuple[str, ...]) -> dict[str, str]:
    """Return the text of some sections of a card by their titles, those that are there."""
    found = {}
    for title in titles:
        pattern = rf"^##\s+{re.escape(title)}\s*\n(.*?)(?=^#{{1,2}}\s|\Z)"
        section = re.search(pattern, card, re.S | re.M)
        if section is not None and section[1].strip():
            found[title] = section[1].strip()
    return found


def _folded(text: str, indent: int = 0) -> str:
    """Break a line at spaces; a path stays whole, however long, to be copied."""
    return textwrap.fill(
        text,
        _WIDTH,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _read_card(folder: Path) -> str:
    try:
        return (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _most_reliable_first(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by class, and within a class by the held-out correlation; what is unknown comes last."""
    by = ["heldout_pcc"]
    ascending = [False]
    if "reliability" in table:
        by, ascending = ["reliability", *by], [True, *ascending]
    return table.sort_values(by, ascending=ascending, na_position="last", kind="stable")


def _count_classes(table: pd.DataFrame) -> dict[str, int] | None:
    if "reliability" not in table:
        return None
    return {name: int((table["reliability"] == name).sum()) for name in CLASSES}


def _classes(facts: dict[str, Any]) -> str:
    if facts["reliability"] is None:
        return f"{facts['reliable']:,} marked reliable"
    counts = ", ".join(f"{name} {count:,}" for name, count in facts["reliability"].items())
    return f"by reliability {counts}"


def _counted(names: list[str], patients: int | None) -> str:
    if not names:
        return "not stated"
    people = "an unknown number of patients" if patients is None else f"{patients:,} patients"
    return f"{len(names):,} sections of {people} ({', '.join(names)})"


def _held_out(held_out: dict[str, Any]) -> str:
    level, median = held_out["level"], held_out["median_pearson"]
    if level == "none" or median is None:
        return "nothing: how good it is, is not known"
    whole = "whole patients" if level == "patient" else "sections of patients in training"
    named = f" ({', '.join(held_out['samples'])})" if held_out["samples"] else ""
    told = f"{whole}{named}; median Pearson of {held_out['genes_measured']:,} genes {median:.3f}"
    if level != "patient":
        told += " (optimistic for new patients)"
    return told + _interval(held_out)


def _interval(held_out: dict[str, Any]) -> str:
    """Say what the intervals, and so the classes, rest on."""
    units = held_out["units"]
    drawn = {
        "patient": f"{units} patients",
        "spot-block": f"{units} blocks of 1 mm of spots, which says nothing of the next patient",
        "none": "nothing: there were too few spots",
    }
    interval = held_out["interval"]
    return "" if interval is None else f"; intervals are over {drawn[interval]}"


def _of_encoder(encoder: dict[str, Any]) -> str:
    return f"; the encoder's weights stay under {encoder['licence']}" if encoder["licence"] else ""
