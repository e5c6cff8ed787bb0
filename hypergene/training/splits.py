"""Who is trained on, who is watched, who is never looked at: always whole patients if possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypergene.errors import UsageError
from hypergene.st import Sample


@dataclass(frozen=True)
class Split:
    """Samples by their part in a training run.

    Attributes
    ----------
    train, validation, test
        Samples that are learnt from; that choose epoch and blend; that are only scored at the end.
    level
        What separates training from validation: ``"patient"``, ``"section"`` (optimistic: the
        same patient is on both sides) or ``"none"`` (no validation).
    counts_only
        Samples without a slide: counts that may serve the gene side.
    """

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    level: str
    counts_only: tuple[Sample, ...] = ()

    @property
    def learnt(self) -> tuple[Sample, ...]:
        """Training and validation samples: everything but the test."""
        return self.train + self.validation

    def counts_apart_from(self, held_out: Sequence[Sample]) -> tuple[Sample, ...]:
        """Counts-only samples whose patient is known and is not one of those held out.

        A section without a slide is tissue all the same: what is held out of training must not
        come back through its neighbour's counts.
        """
        patients = {sample.patient for sample in held_out}
        if None in patients:
            return ()
        return tuple(
            sample
            for sample in self.counts_only
            if sample.patient is not None and sample.patient not in patients
        )


def split_samples(
    samples: Sequence[Sample],
    *,
    test: Sequence[str] = (),
    validation: Sequence[str] = (),
) -> Split:
    """Split samples for one run.

    The test samples are those named. The validation samples are those named, or else all samples
    of the patient with the fewest samples, or else, with a single patient, the last sample.
    Samples without a slide are in none of these.

    Raises
    ------
    UsageError
        A name is not in the sheet, in both lists, or of a sample without slide; or nothing is left
        to train on.
    """
    known = {sample.sample: sample for sample in samples}
    for name in (*test, *validation):
        if name not in known:
            raise UsageError(
                f"There is no sample {name!r}.", hint=f"The samples are {', '.join(known)}."
            )
        if known[name].slide is None:
            raise UsageError(
                f"The sample {name} has no slide, so nothing can be predicted for it.",
                hint="Name samples with a slide in --test and --validation.",
            )
    both = sorted(set(test) & set(validation))
    if both:
        raise UsageError(
            f"{', '.join(both)} cannot be test and validation at once.",
            hint="The test must not choose anything.",
        )
    tested = tuple(known[name] for name in dict.fromkeys(test))
    counts_only = tuple(sample for sample in samples if sample.slide is None)
    rest = [sample for sample in samples if sample not in tested + counts_only]
    watched = tuple(known[name] for name in dict.fromkeys(validation)) or _choose(rest)
    train = tuple(sample for sample in rest if sample not in watched)
    if not train:
        raise UsageError(
            "No sample with a slide is left to train on.",
            hint="Name fewer in --test and --validation.",
        )
    return Split(train, watched, tested, _level(train, watched), counts_only)


def _choose(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    if len(samples) < 2:
        return ()
    patients: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.patient is not None:
            patients.setdefault(sample.patient, []).append(sample)
    if len(patients) < 2:
        return (samples[-1],)
    return tuple(patients[min(patients, key=lambda name: len(patients[name]))])


def _level(train: Sequence[Sample], validation: Sequence[Sample]) -> str:
    if not validation:
        return "none"
    seen = {sample.patient for sample in train}
    apart = all(s.patient is not None and s.patient not in seen for s in validation)
    return "patient" if apart and None not in seen else "section"
