"""What a figure flatters itself with, in words that stand beside it in every table."""

from __future__ import annotations

from typing import Literal

HeldOut = Literal["patient", "section", "trained on", "unknown"]
"""What of a scored sample was kept out of training: its patient, only itself, nothing; or nobody
knows."""
Picked = Literal["training", "test", "given", "listed"]
"""Where a gene set comes from: the training samples, the very samples it is scored on, the user, a
list that may have been made on any samples."""

_HELD_OUT: dict[HeldOut, str] = {
    "patient": "",
    "section": "OPTIMISTIC: slide-level",
    "trained on": "OPTIMISTIC: trained on",
    "unknown": "unknown whether this patient was trained on",
}
TEST_PICKED = "OPTIMISTIC: test-picked genes"
LISTED = "listed genes, which may have been picked on these samples"
COARSE = "averages of neighbouring spots, not comparable with single spots"
ORACLE = "oracle: reads the test counts"

_WORST_FIRST: tuple[HeldOut, ...] = ("trained on", "section", "unknown", "patient")


def worse(one: HeldOut, other: HeldOut) -> HeldOut:
    """Return which of two flatters more: a method is as honest as the worst of its parts."""
    return min(one, other, key=_WORST_FIRST.index)


def optimism(held_out: HeldOut, picked: Picked = "training", *more: str) -> str:
    """Say what is optimistic about a figure; empty where nothing is.

    Parameters
    ----------
    held_out
        Of the sample.
    picked
        Of the gene set.
    *more
        Further sentences, such as :data:`ORACLE`.
    """
    where = {"test": TEST_PICKED, "listed": LISTED}.get(picked, "")
    parts = [_HELD_OUT[held_out], where, *more]
    return "; ".join(part for part in parts if part)
