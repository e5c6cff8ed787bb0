"""What is held out must not have been learnt from: not under another name, not as pixels alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from hypergene.errors import DataError
from hypergene.features.cache import file_fingerprint
from hypergene.pipeline.checks.twins import Sketch, find_twins, twin_verdicts
from hypergene.st import Sample
from hypergene.training.splits import Split
from hypergene.zoo.own_weights import about_weights

log = logging.getLogger(__name__)


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


def refuse_seen_pixels(split: Split, weights: str | None) -> None:
    """Refuse to test on slides that the encoder learnt from by itself.

    An encoder that has seen the pixels of a slide flatters every score on it. ``hypergene
    pretrain`` leaves in its weights which files it saw; of other weights nothing is known. Of
    validation samples it is only said.

    Parameters
    ----------
    split
        Samples by their part.
    weights
        The safetensors file that the encoder starts from; None = another start.

    Raises
    ------
    DataError
        Naming the test samples it saw.
    """
    seen = frozenset(() if weights is None else about_weights(Path(weights)).files)
    if not seen:
        return
    tested, validated = (
        ", ".join(s.sample for s in part if s.slide is not None and _print_of(s.slide) in seen)
        for part in (split.test, split.validation)
    )
    if tested:
        raise DataError(
            f"The encoder in {weights} was trained on the pixels of {tested}, to be tested on.",
            hint="Train it again with hypergene pretrain --without, or test on other samples.",
        )
    if validated:
        log.warning(
            "The encoder in %s saw the pixels of %s: what validation says is optimistic.",
            weights,
            validated,
        )


def _print_of(slide: Path) -> str | None:
    try:
        return str(file_fingerprint(slide)["sha256_of_samples"])
    except OSError:
        return None  # whoever opens the slide says so
