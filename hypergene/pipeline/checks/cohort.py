"""Whether the samples can be trained on together: patients, names, platforms."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from hypergene.pipeline.checks.row import SampleRow
from hypergene.pipeline.checks.verdict import Verdict
from hypergene.st.mangled_names import some

# As pipeline.configure judges: a lattice of another kind, or a pitch that differs by more.
_OTHER_PITCH = 0.1


def cohort_verdicts(rows: Sequence[SampleRow]) -> list[Verdict]:
    """Judge the rows together.

    Parameters
    ----------
    rows
        All samples, also those that could not be read.

    Returns
    -------
    list of Verdict
        ``duplicate_sample``, ``no_layout``, ``mixed_platforms``, ``no_patient``, ``one_patient``,
        ``counts_only``.
    """
    with_slide = [row for row in rows if row.slide is not None]
    return [
        *_named_twice(rows),
        *_layouts([row for row in with_slide if row.read]),
        *_patients(with_slide),
        *_counts_only(rows),
    ]


def _named_twice(rows: Sequence[SampleRow]) -> list[Verdict]:
    names, pairs = (
        _together(rows, key)
        for key in (
            lambda row: row.sample,
            lambda row: (row.slide and row.slide.resolve(), row.data.resolve()),
        )
    )
    verdicts = [
        Verdict(
            "fail",
            "duplicate_sample",
            (twice[0].sample,),
            f"{len(twice)} samples are called {twice[0].sample}.",
            "Give each sample a name of its own.",
        )
        for twice in names
    ]
    for twice in pairs:
        called = tuple(dict.fromkeys(row.sample for row in twice))
        if len(called) > 1:
            verdicts.append(
                Verdict(
                    "fail",
                    "duplicate_sample",
                    called,
                    f"{' and '.join(called)} are the same files ({twice[0].data}).",
                    "Name each pair once, or one of them could be tested on the other.",
                )
            )
    return verdicts


def _together(rows: Sequence[SampleRow], key: Any) -> list[list[SampleRow]]:
    """Return the rows that share a key with another."""
    groups: dict[Hashable, list[SampleRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def _layouts(rows: Sequence[SampleRow]) -> list[Verdict]:
    """Judge what the model's own lattice would be: training needs one that all samples share."""
    verdicts = []
    if without := [row for row in rows if row.layout is None]:
        platforms = sorted({row.platform or "unknown" for row in without})
        verdicts.append(
            Verdict(
                "fail",
                "no_layout",
                tuple(row.sample for row in without),
                f"Nothing says how large and how far apart the spots of "
                f"{some([row.sample for row in without])} are ({', '.join(platforms)} by their "
                "looks).",
                "Give it in the recipe, e.g. [layout] name='visium' lattice='hexagon' "
                "shape='circle' diameter_um=55 pitch_um=100; for h5ad the mpp and "
                "spot_diameter_fullres do.",
            )
        )
    known = [row for row in rows if row.layout is not None]
    kinds: list[list[SampleRow]] = []
    for row in known:
        alike = next((kind for kind in kinds if _alike(kind[0], row)), None)
        if alike is None:
            kinds.append([row])
        else:
            alike.append(row)
    if len(kinds) > 1:
        told = "; ".join(
            f"{_platforms(kind)} ({_lattice(kind[0])}): {some([row.sample for row in kind])}"
            for kind in kinds
        )
        verdicts.append(
            Verdict(
                "fail",
                "mixed_platforms",
                tuple(row.sample for row in known),
                f"The samples differ in platform: {told}.",
                "Train one model a platform, or give one [layout] in the recipe.",
            )
        )
    return verdicts


def _alike(one: SampleRow, other: SampleRow) -> bool:
    (lattice, pitch_um), (others, other_um) = _laid(one), _laid(other)
    return lattice == others and abs(other_um / pitch_um - 1) <= _OTHER_PITCH


def _laid(row: SampleRow) -> tuple[str, float]:
    """Return the lattice and its pitch, µm, that a model would take from this sample."""
    assert row.layout is not None
    # Spots on no known lattice are laid as squares.
    lattice = str(row.layout.get("lattice", "given")).replace("given", "square")
    return lattice, float(row.layout["pitch_um"])


def _lattice(row: SampleRow) -> str:
    lattice, pitch_um = _laid(row)
    return f"{lattice} lattice, {pitch_um:.4g} µm apart"


def _platforms(rows: Sequence[SampleRow]) -> str:
    return " / ".join(sorted({row.platform or "unknown" for row in rows}))


def _patients(rows: Sequence[SampleRow]) -> list[Verdict]:
    """Judge what can be held out: warnings only, as the model is right, but its scores flatter."""
    without = tuple(row.sample for row in rows if not row.patient)
    patients = {row.patient for row in rows if row.patient}
    if without:
        who = "No sample has" if len(without) == len(rows) else f"{some(without)} have"
        return [
            Verdict(
                "warn",
                "no_patient",
                without,
                f"{who} a patient, so sections of one patient may be on both sides of a split."
                if len(without) == len(rows)
                else f"{who} no patient, so their tissue may be on both sides of a split.",
                "Fill in the column 'patient'; until then every score is optimistic.",
            )
        ]
    if len(patients) == 1 and len(rows) > 1:
        return [
            Verdict(
                "warn",
                "one_patient",
                tuple(row.sample for row in rows),
                f"All {len(rows)} samples with an image are of one patient ({patients.pop()}), so "
                "none can be held out.",
                "Add sections of other patients; until then every score is optimistic.",
            )
        ]
    return []


def _counts_only(rows: Sequence[SampleRow]) -> list[Verdict]:
    names = tuple(row.sample for row in rows if row.slide is None)
    if not names:
        return []
    return [
        Verdict(
            "warn",
            "counts_only",
            names,
            f"{len(names)} sample{' has' if len(names) == 1 else 's have'} no image and serve"
            f"{'s' if len(names) == 1 else ''} the gene side only: {some(names)}.",
            "Name the full-resolution image in the column 'slide' if there is one (Space Ranger's "
            "outs does not hold it); for gene modules the counts will do.",
        )
    ]
