"""``hypergene data check``: what a lab's data are, and what stands against training on them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from hypergene import __version__
from hypergene.errors import DataError
from hypergene.output import atomic_path
from hypergene.pipeline.checks.cohort import cohort_verdicts
from hypergene.pipeline.checks.genes import GenesInCommon, check_genes
from hypergene.pipeline.checks.row import SampleRow
from hypergene.pipeline.checks.section import SectionCheck, check_section
from hypergene.pipeline.checks.table import platforms_text, table_text, verdicts_text
from hypergene.pipeline.checks.twins import find_twins, same_slides, twin_verdicts
from hypergene.pipeline.checks.verdict import Level, Verdict
from hypergene.pipeline.quiet import quiet
from hypergene.report.contact_sheet import Card, draw_contact_sheet, panel_size_px
from hypergene.st import Sample, read_samples

CONTACT_SHEET = "contact-sheet.png"

_PAIR = 2

# What decides how files are read, and so belongs in a report about them.
_READERS = ("anndata", "numpy", "scipy", "h5py", "openslide-python", "tifffile", "pillow")


@dataclass(frozen=True)
class DataCheckOptions:
    """Options of :func:`check_samples`, named as on the command line.

    Attributes
    ----------
    mpp
        Microns per pixel of slides for which the sheet does not say it.
    out
        Folder for ``contact-sheet.png``; None = none is drawn.
    overwrite
        Replace a contact sheet that exists.
    """

    mpp: float | None = None
    out: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class DataCheck:
    """What was found.

    Attributes
    ----------
    rows
        One a sample, in the order given.
    verdicts
        What is wrong, failures first.
    genes
        What the samples' genes have in common.
    """

    rows: tuple[SampleRow, ...]
    verdicts: tuple[Verdict, ...]
    genes: GenesInCommon

    @property
    def ok(self) -> bool:
        """Whether nothing fails; there may be warnings."""
        return not any(verdict.level == "fail" for verdict in self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values: samples, verdicts, genes, versions."""
        return {
            "ok": self.ok,
            "samples": [row.as_dict() for row in self.rows],
            "verdicts": [
                asdict(verdict) | {"samples": list(verdict.samples)} for verdict in self.verdicts
            ],
            "genes": {"in_common": self.genes.number, "report": list(self.genes.report)},
            "versions": {"hypergene": __version__, **{name: version(name) for name in _READERS}},
        }

    def as_json(self) -> str:
        """Return :meth:`as_dict` as one line of JSON."""
        return json.dumps(self.as_dict(), ensure_ascii=False)

    def as_text(self) -> str:
        """Return the table, what it rests on, and the verdicts, for people."""
        number = {
            level: sum(verdict.level == level for verdict in self.verdicts)
            for level in ("fail", "warn")
        }
        summary = f"{_count(number['fail'], 'failure')}, {_count(number['warn'], 'warning')}"
        about = [platforms_text(self.rows)]
        if self.genes.number is not None:
            about += self.genes.report[:1]
            about += [f"In common: {self.genes.number:,}."] * (len(self.rows) > 1)
        parts = [
            table_text(self.rows),
            "\n".join(line for line in about if line),
            f"{summary}{':' if self.verdicts else '.'}",
            verdicts_text(self.verdicts),
        ]
        return "\n\n".join(part for part in parts if part)


def check_samples(
    samples: str | Path | Sequence[Sample],
    options: DataCheckOptions | None = None,
    **overrides: Any,
) -> DataCheck:
    """Open all samples, one at a time, and say what they are and what is wrong with them.

    Only a row of figures, a sketch of the counts and the names of the genes (shared between
    samples) are kept of a sample, so the memory is that of the largest. A sample that cannot be
    read is a verdict and does not stop the others.

    Parameters
    ----------
    samples
        A samples sheet, a folder in the HER2ST or HEST layout, or the samples themselves.
    options
        See :class:`DataCheckOptions`.
    **overrides
        Single options by name, over `options`.

    Returns
    -------
    DataCheck

    Raises
    ------
    DataError
        If the sheet itself cannot be read, or names no samples.
    OutputError
        If the contact sheet exists already or cannot be written.

    Examples
    --------
    >>> from hypergene.pipeline.data_check import check_samples
    >>> check_samples("sections.csv").ok
    True
    """
    options = replace(options or DataCheckOptions(), **overrides)
    if isinstance(samples, str | Path):
        samples = read_samples(samples, must_exist=False)
    listed = list(samples)
    if not listed:
        raise DataError("There are no samples to check.", hint="Name at least one.")
    out = None if options.out is None else Path(options.out) / CONTACT_SHEET
    with nullcontext() if out is None else atomic_path(out, overwrite=options.overwrite) as draft:
        found = _look_at_all(listed, options, with_pictures=draft is not None)
        check = _conclude(found)
        if draft is not None:
            _contact_sheet(found, check).save(draft, format="PNG")
    return check


def _look_at_all(
    samples: Sequence[Sample], options: DataCheckOptions, *, with_pictures: bool
) -> list[SectionCheck]:
    number = sum(sample.slide is not None for sample in samples)
    picture_px = panel_size_px(number) if with_pictures else None
    # The verdicts say what the readers would log.
    with quiet("hypergene.st", logging.ERROR):
        return [
            check_section(sample, mpp=options.mpp, picture_px=picture_px)
            for sample in tqdm(samples, desc="data check", unit="sample", disable=None)
        ]


def _conclude(found: Sequence[SectionCheck]) -> DataCheck:
    """Compare the samples with each other, and sort what was found."""
    rows = [one.row for one in found]
    genes = check_genes({one.row.sample: one.genes for one in found if one.genes is not None})
    twins = find_twins({one.row.sample: one.sketch for one in found if one.sketch is not None})
    patients = {row.sample: row.patient for row in rows}
    verdicts = [
        *cohort_verdicts(rows),
        *genes.verdicts,
        *twin_verdicts(twins, patients),
        *same_slides({row.sample: row.slide for row in rows}),
        *(verdict for one in found for verdict in one.verdicts),
    ]
    order = ("fail", "warn")
    verdicts.sort(key=lambda verdict: order.index(verdict.level))
    return DataCheck(tuple(rows), tuple(verdicts), genes)


def _contact_sheet(found: Sequence[SectionCheck], check: DataCheck) -> Image.Image:
    """Draw the sections; samples without an image are only named."""
    cards = [_card(one, check.verdicts) for one in found if one.row.slide is not None]
    without = [one.row.sample for one in found if one.row.slide is None]
    note = f"{len(without)} without an image: {', '.join(without)}." if without else ""
    return draw_contact_sheet(cards, note)


def _card(found: SectionCheck, verdicts: Sequence[Verdict]) -> Card:
    """Caption a section with what concerns it, or it and one other; not the whole cohort."""
    row = found.row
    mine = [v for v in verdicts if row.sample in v.samples and len(v.samples) <= _PAIR]
    level: Level | None = mine[0].level if mine else None
    words = "; ".join(dict.fromkeys(v.code.replace("_", " ") for v in mine if v.level == level))
    facts = [
        "resolution unknown" if row.mpp is None else f"{row.mpp:.3g} µm/px ({row.mpp_source})",
        "not read" if row.spots is None else f"{row.spots:,} spots",
        *([] if row.on_tissue is None else [f"{row.on_tissue:.0%} on tissue"]),
    ]
    return Card(
        picture=found.picture,
        title=row.sample if row.patient is None else f"{row.sample}   patient {row.patient}",
        facts=" · ".join(facts),
        verdict={None: "ok", "warn": f"Look: {words}", "fail": f"FAIL: {words}"}[level],
        level=level or "ok",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
