"""One tissue under two names must not be learnt from and held out in one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypergene.errors import DataError
from hypergene.pipeline.checks.twins import Sketch, find_twins, twin_verdicts
from hypergene.st import Sample
from hypergene.training.splits import Split


def refuse_twins_across(
    split: Split, counts_only: Sequence[Sample], sketches: Mapping[str, Sketch]
) -> None:
    """Refuse a split that has the same data or the same tissue on both sides.

    HER2ST's patients E to H, for instance, are four of STNet's: held out under one name and learnt
    from under the other, they would flatter every score.

    Parameters
    ----------
    split
        Samples by their part.
    counts_only
        Samples without slide that are learnt from, too.
    sketches
        Of all these samples, by name.

    Raises
    ------
    DataError
        Naming the two, and how alike they are.
    """
    side = {
        sample.sample: part
        for part, samples in (
            ("trained on", (*split.train, *counts_only)),
            ("validated on", split.validation),
            ("tested on", split.test),
        )
        for sample in samples
    }
    for twin in find_twins(sketches):
        one, other = twin.samples
        if side[one] != side[other]:
            (verdict,) = twin_verdicts([twin])
            raise DataError(
                f"{verdict.message[:-1]}; but {one} is {side[one]} and {other} is {side[other]}.",
                hint="Keep one of them, or both on one side by --test and --validation.",
            )
