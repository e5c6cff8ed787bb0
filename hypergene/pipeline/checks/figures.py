"""What the figures of a sample's row say by themselves: too few, too shallow, beside the tissue."""

from __future__ import annotations

from hypergene.pipeline.checks.row import SampleRow
from hypergene.pipeline.checks.verdict import Verdict

#: Fewer spots than this give no correlation worth reporting: its standard error is above 0.14.
FEW_SPOTS = 50
#: Counts. The shallowest HER2ST section has a median of 648 and a noise ceiling of 0.69.
LOW_DEPTH = 200
#: Share of the spots on tissue; the five HER2ST sections have 1.00, their swapped copies 0.80.
ON_TISSUE = 0.9
#: Share of the spots.
MANY_DROPPED = 0.1


def figure_verdicts(row: SampleRow) -> list[Verdict]:
    """Judge the figures of a row; what could not be found out is not judged.

    Parameters
    ----------
    row
        Of a sample whose data could be read.

    Returns
    -------
    list of Verdict
        All of level ``"warn"``: ``few_spots``, ``low_depth``, ``zero_counts``,
        ``counts_without_position``.
    """
    found: list[tuple[str, str, str]] = []
    if row.spots is not None and row.spots < FEW_SPOTS:
        found.append(
            (
                "few_spots",
                f"{row.data} has only {row.spots} spots with counts on tissue",
                "Scores of so few spots mean little: learn from it, but do not test on it.",
            )
        )
    if row.median_umi is not None and row.median_umi < LOW_DEPTH:
        found.append(
            (
                "low_depth",
                f"half of the spots of {row.data} have {row.median_umi:.0f} counts or fewer, "
                "most of which is noise",
                "Pool bins to larger spots (column 'spot_um'), or leave it out.",
            )
        )
    found += _dropped(row)
    return [
        Verdict("warn", code, (row.sample,), f"{row.sample}: {what}.", fix)
        for code, what, fix in found
    ]


def off_tissue(row: SampleRow) -> list[Verdict]:
    """Judge the share of spots on tissue, where no other check has said why it is low."""
    if row.on_tissue is None or row.on_tissue >= ON_TISSUE:
        return []
    return [
        Verdict(
            "warn",
            "off_tissue",
            (row.sample,),
            f"{row.sample}: only {row.on_tissue:.0%} of its spots lie on the tissue that is seen "
            f"on {row.slide}.",
            "Look at the contact sheet (--out): is it the image of this section, and whole?",
        )
    ]


def _dropped(row: SampleRow) -> list[tuple[str, str, str]]:
    """Judge the spots left out; those outside the tissue are left out as they should be."""
    reasons = {
        "zero_counts": ("have no counts at all", "Are these the raw counts of all genes?"),
        "counts_without_position": (
            "have counts but no position",
            "Are counts and positions of one section, and their spots named alike?",
        ),
    }
    everywhere = (row.spots or 0) + sum(row.dropped.get(reason, 0) for reason in reasons)
    return [
        (
            reason,
            f"{row.dropped[reason]:,} of the {everywhere:,} spots of {row.data} {what} and are "
            "left out",
            fix,
        )
        for reason, (what, fix) in reasons.items()
        if row.dropped.get(reason, 0) > MANY_DROPPED * everywhere
    ]
