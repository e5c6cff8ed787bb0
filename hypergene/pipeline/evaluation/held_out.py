"""What of each scored sample was kept out of training, and how that is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from hypergene.evaluation.optimism import HeldOut
from hypergene.pipeline.checks.twins import Sketch, Twin, find_twins
from hypergene.st import Sample


class Standing(NamedTuple):
    """How a scored sample stands to what was trained on.

    Attributes
    ----------
    held_out
        What was kept out.
    reason
        One sentence that says how that is known.
    """

    held_out: HeldOut
    reason: str


def standings(
    scored: Sequence[Sample],
    train: Sequence[Sample],
    sketches: Mapping[str, Sketch],
    *,
    trained_on: Collection[str] = (),
) -> dict[str, Standing]:
    """Tell for each scored sample what was kept out of training.

    Parameters
    ----------
    scored
        Samples that are scored.
    train
        Samples that were trained on, as far as the user gives them.
    sketches
        Of scored and training samples, by name; the same tissue under another name counts as
        trained on.
    trained_on
        Names that the model itself says it was trained on.

    Returns
    -------
    dict
        Sample -> its standing.
    """
    seen = {*trained_on, *(sample.sample for sample in train)}
    files = {
        path.resolve(): sample.sample
        for sample in train
        for path in (sample.slide, sample.data)
        if path is not None
    }
    twins = _twins_of_seen(sketches, seen)
    patients = {sample.patient for sample in train}
    found = {}
    for sample in scored:
        own = [path.resolve() for path in (sample.slide, sample.data) if path is not None]
        same_file = next((files[path] for path in own if path in files), None)
        if sample.sample in seen:
            found[sample.sample] = Standing("trained on", f"{sample.sample} was trained on.")
        elif same_file is not None:
            found[sample.sample] = Standing(
                "trained on", f"{sample.sample} has a file of {same_file}, which was trained on."
            )
        elif sample.sample in twins:
            other, twin = twins[sample.sample]
            what = "data" if twin.what == "data" else "tissue"
            found[sample.sample] = Standing(
                "trained on",
                f"{sample.sample} is the same {what} as {other}, which was trained on (likeness "
                f"{twin.likeness:.3f} over {twin.spots:,} spots).",
            )
        elif not train:
            found[sample.sample] = Standing(
                "unknown",
                f"Nothing says whether {sample.sample}'s patient was trained on; give the training "
                "samples with --train.",
            )
        elif sample.patient is None or None in patients:
            found[sample.sample] = Standing(
                "section", f"The patient of {sample.sample}, or of a training sample, is not known."
            )
        elif sample.patient in patients:
            found[sample.sample] = Standing(
                "section", f"Other sections of {sample.sample}'s patient were trained on."
            )
        else:
            found[sample.sample] = Standing(
                "patient", f"Nothing of {sample.sample}'s patient was trained on."
            )
    return found


def _twins_of_seen(
    sketches: Mapping[str, Sketch], seen: Collection[str]
) -> dict[str, tuple[str, Twin]]:
    """Return samples that are the tissue of one that was trained on, which one, and how alike."""
    twins: dict[str, tuple[str, Twin]] = {}
    for twin in find_twins(sketches):
        for one, other in (twin.samples, twin.samples[::-1]):
            if other in seen and one not in seen:
                twins.setdefault(one, (other, twin))
    return twins
