"""Folds of a cross-validation: whole patients, or single sections where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hypergene.errors import UsageError
from hypergene.st import Sample
from hypergene.training.splits import Split, split_samples

Cv = Literal["patient", "section"]


@dataclass(frozen=True)
class Fold:
    """One fold.

    Attributes
    ----------
    name
        The patient or section that is held out.
    split
        ``test`` is held out entirely; validation is chosen among what is left, as every training
        run chooses it.
    """

    name: str
    split: Split

    @property
    def inner(self) -> str:
        """One sentence on what chooses epoch and blend, all of it inside the training samples."""
        chosen = ", ".join(sample.sample for sample in self.split.validation)
        fold = f"Without {self.name}"
        match self.split.level:
            case "patient":
                return f"{fold}: epoch and blend are chosen on another patient ({chosen})."
            case "section":
                return (
                    f"{fold}: no second patient is known to be left to train on, so epoch and "
                    f"blend are chosen on a section of the one that is learnt from ({chosen}); "
                    "patients choose better."
                )
            case _:
                return (
                    f"{fold}: one section is left to train on, so nothing chooses epoch and blend."
                )


def folds_of(samples: Sequence[Sample], cv: Cv, only: Sequence[str] = ()) -> list[Fold]:
    """Divide samples into folds.

    Parameters
    ----------
    samples
        All samples; those without a slide are never held out.
    cv
        Leave out one patient at a time, or one section.
    only
        Names: folds that hold none of them out are left out. A patient is held out whole all the
        same.

    Raises
    ------
    UsageError
        Patients are asked for, and one is not known, or there is but one; or there is but one
        section; or a name is of no sample with a slide.
    """
    seen = [sample for sample in samples if sample.slide is not None]
    unknown = sorted(set(only) - {sample.sample for sample in seen})
    if unknown:
        raise UsageError(
            f"--only names {', '.join(unknown)}, which is none of the samples with a slide.",
            hint=f"They are {', '.join(sample.sample for sample in seen)}.",
        )
    groups: dict[str, list[Sample]] = {}
    for sample in seen:
        if cv == "patient" and sample.patient is None:
            raise UsageError(
                f"The patient of {sample.sample} is not known, so patients cannot be held out.",
                hint="Name patients in the samples sheet, or say --cv section (optimistic).",
            )
        groups.setdefault(str(sample.patient) if cv == "patient" else sample.sample, []).append(
            sample
        )
    if len(groups) < 2:
        more = ", or say --cv section (optimistic)" if cv == "patient" and len(seen) > 1 else ""
        raise UsageError(
            f"There is only one {cv} to cross-validate on, and what is held out needs another.",
            hint=f"Add samples of another {cv}{more}.",
        )
    return [
        Fold(name, split_samples(samples, test=[sample.sample for sample in group]))
        for name, group in groups.items()
        if not only or any(sample.sample in only for sample in group)
    ]
