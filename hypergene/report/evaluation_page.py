"""The report of an evaluation: one HTML file that asks nothing of the network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from hypergene.report.evaluation_figures import (
    GeneMap,
    draw_ceiling,
    draw_coverage,
    draw_differences,
    draw_maps,
    draw_slides,
)
from hypergene.report.page_parts import environment

_MOST_MAPS_OF = 6
_GENES_LISTED = 25
_HEADLINE = (
    "pearson", "pearson_beyond_depth", "spearman", "pearson_over_ceiling", "ceiling", "mse", "r2",
    "variance_distance", "coverage_80", "ece",
)  # fmt: skip


def evaluation_page(
    about: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], maps: Sequence[GeneMap]
) -> str:
    """Return the page.

    Parameters
    ----------
    about
        What was scored on what: method, protocol (truth, label), samples (each with sample,
        patient, held_out, reason), gene_sets, warnings, notes.
    tables
        As :class:`hypergene.evaluation.FoldScores` names them; further ones are shown if there.
    maps
        Genes to draw, on all samples; of at most six samples.

    Returns
    -------
    str
        HTML with figures inside.
    """
    method = str(about["method"])
    summary, slides = tables["summary"], tables["slides"]
    kinds = list(dict.fromkeys(summary["held_out"]))
    sections = [_section(kind, method, tables) for kind in kinds]
    drawn: dict[str, list[GeneMap]] = {}
    for one in maps:
        drawn.setdefault(one.sample, []).append(one)
    shown = list(drawn)[:_MOST_MAPS_OF]
    own = slides[slides["method"] == method]
    flattered = "; ".join(dict.fromkeys(label for label in own["optimistic"] if label))
    title = f"{method}: every slide, 95 % over blocks" + (f" [{flattered}]" if flattered else "")
    return (
        environment()
        .get_template("evaluation.html")
        .render(
            about=about,
            method=method,
            sections=sections,
            slides_figure=Markup(draw_slides(own, title)),
            slides=_frame(
                own,
                [
                    *("sample", "patient", "gene_set", "optimistic", "spots", "blocks", "pearson"),
                    *("pearson_low", "pearson_high", "pearson_beyond_depth", "ceiling"),
                    *("pearson_over_ceiling", "genes_missing", "truth_constant"),
                    "prediction_constant",
                ],
            ),
            maps=[
                {
                    "sample": sample,
                    "label": _label_of(own, sample),
                    "figure": Markup(draw_maps(drawn[sample], _label_of(own, sample))),
                }
                for sample in shown
            ],
            maps_left_out=len(drawn) - len(shown),
            extra={
                name: _frame(_headline(tables[name]) if name == "seeds" else tables[name])
                for name in ("seeds", "retrieval", "mixing", "probe", "flags")
                if name in tables and not tables[name].empty
            },
            readable=_readable(tables.get("scales", pd.DataFrame())),
        )
    )


def _section(kind: str, method: str, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Gather figures and tables of the samples that were held out in one way."""
    summary = _of(tables["summary"], kind)
    genes = _of(tables["genes"], kind)
    genes = genes[genes["method"] == method]
    curves = _of(tables["curves"], kind)
    differences = _of(tables["differences"], kind)
    label = _first(genes["optimistic"])
    mark = f" [{label}]" if label else ""
    figures = [draw_ceiling(genes, f"{method}: every gene against its noise ceiling{mark}")]
    if not curves.empty and (curves["method"] == method).any():
        own = curves[curves["method"] == method]
        figures.append(draw_coverage(own, f"{method}: coverage of its intervals{mark}"))
    if not differences.empty:
        figures.append(
            draw_differences(differences, "pearson", f"Paired differences to controls{mark}")
        )
    return {
        "held_out": kind,
        "label": label,
        "figures": [Markup(figure) for figure in figures],
        "summary": _wide(summary[summary["method"] == method]),
        "controls": _controls(summary),
        "differences": _frame(
            differences[differences["metric"].isin(("pearson", "pearson_beyond_depth", "mse"))]
            if not differences.empty
            else differences,
            [
                *("method", "gene_set", "metric", "difference", "low", "high", "level", "units"),
                *("sign_flip_p", "optimistic"),
            ],
        ),
        "genes": _frame(
            genes.nlargest(_GENES_LISTED, "pearson"),
            [
                *("gene", "pearson", "pearson_low", "pearson_high", "interval", "ceiling"),
                *("pearson_over_ceiling", "pearson_beyond_depth", "coverage_80", "optimistic"),
            ],
        ),
    }


def _headline(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["metric"].isin(("pearson", "pearson_beyond_depth", "mse"))]


def _of(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    return table if table.empty else table[table["held_out"] == kind]


def _first(column: pd.Series) -> str:
    return str(column.iloc[0]) if len(column) else ""


def _label_of(slides: pd.DataFrame, sample: str) -> str:
    return _first(slides.loc[slides["sample"] == sample, "optimistic"])


def _wide(summary: pd.DataFrame) -> dict[str, Any]:
    """Return a row a gene set and a column a metric, each cell a value with its interval."""
    sets = list(dict.fromkeys(summary["gene_set"]))
    metrics = [name for name in _HEADLINE if name in set(summary["metric"])]
    rows = []
    for name in sets:
        part = summary[summary["gene_set"] == name].set_index("metric")
        cells = [_interval(part.loc[metric]) if metric in part.index else "" for metric in metrics]
        level = _first(part["level"])
        rows.append([name, _first(part["optimistic"]), *cells, level])
    return {"columns": ["gene set", "optimistic", *metrics, "interval over"], "rows": rows}


def _controls(summary: pd.DataFrame) -> dict[str, Any]:
    """Return a row a method and a column a gene set: Pearson's correlation."""
    part = summary[summary["metric"] == "pearson"]
    sets = [name for name in dict.fromkeys(part["gene_set"]) if not str(name).startswith("best ")]
    rows = []
    for method in dict.fromkeys(part["method"]):
        own = part[part["method"] == method].set_index("gene_set")
        cells = [_interval(own.loc[name]) if name in own.index else "" for name in sets]
        rows.append([method, _first(own["optimistic"]), *cells])
    return {"columns": ["method", "optimistic", *sets], "rows": rows}


def _readable(scales: pd.DataFrame) -> dict[str, Any] | None:
    """Count at which scale units may be read, and name those that are readable at a coarser one."""
    if scales.empty:
        return None
    once = scales.drop_duplicates(["held_out", "kind", "unit"])
    counts = pd.crosstab([once["held_out"], once["optimistic"], once["kind"]], once["readable_at"])
    order = [name for name in ("spot", "1 ring", "2 rings", "none") if name in counts]
    table = counts[order].reset_index()
    at = once["readable_at"]
    sets = scales[(scales["kind"] == "gene set")]
    return {
        "counts": _frame(table),
        "sets": None if sets.empty else _frame(sets, _SCALE_COLUMNS),
        "coarser": once.loc[at.isin(("1 ring", "2 rings")) & (once["kind"] == "gene"), "unit"]
        .head(40)
        .tolist(),
    }


_SCALE_COLUMNS = [
    *("unit", "scale", "pearson", "low", "high", "ceiling", "pearson_over_ceiling", "readable_at"),
    "optimistic",
]


def _frame(table: pd.DataFrame, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """Return columns and rows of text."""
    chosen = list(table.columns) if columns is None else [c for c in columns if c in table]
    rows = [[_text(value) for value in row] for row in table[chosen].itertuples(index=False)]
    return {"columns": [str(name).replace("_", " ") for name in chosen], "rows": rows}


def _interval(row: pd.Series) -> str:
    value = _text(row["value"])
    if not math.isfinite(row["low"]):
        return value
    return f"{value}\n({_text(row['low'])} to {_text(row['high'])})"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else "–"
    return str(value)
