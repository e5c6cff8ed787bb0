"""What came of it: tables and verdicts as Markdown, written by rule and not by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hypergene.evaluation.bootstrap import Interval
from hypergene.evaluation.decisions import (
    Paired,
    Verdict,
    credited,
    falls,
    flat,
    harmless,
    helps,
    mean_of,
    paired,
    slope,
)

from .arms import ANCHOR_ALONE, CLOSED, RIDGE_PROBE, SAYS, SHARED, TRAINED
from .dose import DOSES
from .plan import DOSE_FOLDS, DOSED, TO_B4, TO_C, WITHIN, Job
from .results import Results, Scores

SETS = ("expressed", "HVG-50", "HVG-250")
PLACES = ("arms", "results")
"""What is written, each between `<!-- NAME: written by the command -->` and its end."""
BARS = ("B1c", "B3")
PAIRS = (
    ("H2", "B1c"), ("H2", "B3"), ("H2", ANCHOR_ALONE), ("H2", "H1"), ("H1", "C4"), ("C4", "B3"),
    ("C1", "C0"), ("C2", "C1"), ("C3", "C2"), ("C4", "C3"), ("C0", "B1"), ("C0", RIDGE_PROBE),
    ("C0", "C0 shuffled"), ("C0 centred", "C0"), ("H2", "H2 random"), ("B3 twice", "B3"),
    ("B1c", "B1"), ("B2", "B1c"), ("B3", ANCHOR_ALONE),
)  # fmt: skip


@dataclass(frozen=True)
class Design:
    """One question asked of one part of the results."""

    title: str
    part: str
    tasks: tuple[str, ...] = ()
    truth: str = "measured"


DESIGNS = (
    Design("Within patient C: one section left out", "real", tuple(f.name for f in WITHIN)),
    Design("Across patients: trained on C3-C6, tested on B4", "real", (TO_B4.name,)),
    Design("Across patients: trained on B4, tested on C3-C6", "real", (TO_C.name,)),
    Design("Simulation, scored against the known truth", "simulation", (), "known"),
    Design("Simulation, scored against the counts drawn from it", "simulation"),
)


def write(path: Path, results: Results, keys: Mapping[str, Job], wanted: int) -> None:
    """Put arms and results between their marks in a Markdown file."""
    done = len(results.done() & set(keys))
    lines = [f"{done} of {wanted} runs are in.", ""]
    for design in DESIGNS:
        scores = results.read(design.part, list(keys)).where(truth=design.truth)
        if design.tasks:
            scores = scores.where(task=design.tasks)
        lines += [f"### {design.title}", "", *_design(complete(scores)), ""]
    lines += ["### Dose of synthetic slide effects", "", *_dose(results, list(keys))]
    text = path.read_text(encoding="utf-8")
    for name, found in zip(PLACES, (_arms(), lines), strict=True):
        text = _put(text, name, "\n".join(found).strip())
    path.write_text(text, encoding="utf-8")


def marks(name: str) -> tuple[str, str]:
    """Return the lines between which a part of the page is written."""
    return f"<!-- {name}: written by the command -->", f"<!-- end of {name} -->"


def _put(text: str, name: str, new: str) -> str:
    begin, end = marks(name)
    before, rest = text.split(begin)
    return f"{before}{begin}\n\n{new}\n\n{end}{rest.split(end)[1]}"


def _arms() -> Iterator[str]:
    yield "All arms: `--preset clip` with " + ", ".join(f"`{value}`" for value in SHARED) + "."
    yield ""
    yield "| arm | what it is | values of the recipe | centred on |"
    yield "|---" * 4 + "|"
    for arm in TRAINED:
        values = "<br>".join(f"`{value}`" for value in arm.more)
        centred = "slide" if arm.centred else "training cohort"
        yield f"| {arm.name} | {arm.says} | {values} | {centred} |"
    for name in (RIDGE_PROBE, ANCHOR_ALONE, *CLOSED):
        yield f"| {name} | {SAYS[name]} | closed form | {_closed_on(name)} |"


def complete(scores: Scores, arms: Sequence[str] = tuple(arm.name for arm in TRAINED)) -> Scores:
    """Keep the sections and seeds that all trained arms have; closed forms have no seeds."""
    rows = scores.rows
    trained = rows[rows["arm"].isin(arms) & (rows["set"] == SETS[0])]
    counts = trained.groupby(["section", "seed", "dose"])["arm"].nunique()
    whole = set(counts[counts == len(arms)].index)
    sections = {section for section, _, _ in whole}
    found = zip(rows["section"], rows["seed"], rows["dose"], strict=True)
    with_seed = np.array([place in whole for place in found], bool)
    fixed = (rows["arm"].isin(CLOSED) & rows["section"].isin(sections)).to_numpy()
    return Scores(rows[with_seed | fixed], scores.folder)


def _closed_on(name: str) -> str:
    return "training cohort" if name in ("B1", RIDGE_PROBE) else "slide"


def _design(scores: Scores) -> Iterator[str]:
    if scores.rows.empty:
        yield "Not run yet."
        return
    first = scores.where(set=SETS[0])
    cohort = first.cohort()
    seeds = first.rows[first.rows["arm"] == "H2"].groupby("section")["seed"].nunique()
    count = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    spots = first.rows.drop_duplicates("section")["spots"].sum()
    yield (
        f"{len(seeds)} sections ({spots} spots) of {len(set(cohort.patients.values()))} "
        f"patient(s), {count} seed(s)."
    )
    yield ""
    verdicts = list(_verdicts(scores))
    yield from verdicts
    yield ""
    yield "| arm | | all genes [95 %] | HVG-50 | HVG-250 | all, beyond depth | MSE | sd of seeds |"
    yield "|---" * 8 + "|"
    for arm in SAYS:
        by_set = [mean_of(scores.where(set=name).metric(arm, "pearson"), cohort) for name in SETS]
        beyond = mean_of(first.metric(arm, "pearson_beyond_depth"), cohort)
        mse = mean_of(first.metric(arm, "mse"), cohort)
        cells = [_with_range(by_set[0].interval)]
        cells += [f"{one.interval.value:.3f}" for one in (*by_set[1:], beyond)]
        cells += [f"{mse.interval.value:.4f}", _spread(first, arm)]
        yield f"| {arm} | {SAYS[arm]} | " + " | ".join(cells) + " |"
    yield ""
    patients = len(set(cohort.patients.values()))
    more = "| patients below 0 | sign-flip p " if patients > 1 else ""
    yield f"| difference | all genes [95 %] | HVG-50 [95 %] | HVG-250 [95 %] | MSE {more}|"
    yield "|---" * (5 + (2 if more else 0)) + "|"
    for main, other in PAIRS:
        yield _difference_row(scores, main, other, several=patients > 1)
    if patients == 1 and len(seeds) > 1:
        yield ""
        yield from _by_section(scores, best_bar(scores)[0])


def best_bar(scores: Scores) -> tuple[str, Paired]:
    """Return the better of B1c and B3 on all genes: the bar."""
    first = scores.where(set=SETS[0])
    means = {name: mean_of(first.metric(name, "pearson"), first.cohort()) for name in BARS}
    name = max(BARS, key=lambda bar: means[bar].interval.value)
    return name, means[name]


def differences(scores: Scores, main: str, other: str, metric: str, name: str) -> Paired:
    """Return the paired difference of two arms on one gene set."""
    own = scores.where(set=name)
    return paired(own.metric(main, metric), own.metric(other, metric), own.cohort())


def _verdicts(scores: Scores) -> Iterator[str]:
    bar, of_bar = best_bar(scores)
    gain = differences(scores, "H2", bar, "pearson", SETS[0])
    mse = differences(scores, "H2", bar, "mse", SETS[0])
    yield f"- The bar is {bar} ({of_bar.interval.value:.4f}), the better of B1c and B3."
    yield _sentence(f"H2 helps (H2 - {bar})", helps(gain, mse))
    yield _sentence(f"H2 is harmless (H2 - {bar})", harmless(gain))
    for title, main, other in (
        ("entailment is credited (H2 - H1)", "H2", "H1"),
        ("hyperbolic geometry is credited (H1 - C4)", "H1", "C4"),
        ("alignment without it is credited (C4 - B3)", "C4", "B3"),
        ("C0 learned more than slides (C0 - C0 shuffled)", "C0", "C0 shuffled"),
        ("the mask of negatives does something (H2 - H2 random)", "H2", "H2 random"),
    ):
        found = differences(scores, main, other, "pearson", SETS[0])
        yield _sentence(title, credited(found))


def _sentence(what: str, verdict: Verdict) -> str:
    return f"- **{'Yes' if verdict.holds else 'No'}**: {what}: {verdict.why}."


def _difference_row(scores: Scores, main: str, other: str, *, several: bool) -> str:
    found = [differences(scores, main, other, "pearson", name) for name in SETS]
    mse = differences(scores, main, other, "mse", SETS[0])
    cells = [_signed(one.interval) for one in found] + [f"{mse.interval.value:+.4f}"]
    if several:
        below = sum(value < 0 for value in found[0].by_patient.values())
        cells += [f"{below} of {len(found[0].by_patient)}", f"{found[0].p:.3f}"]
    return f"| {main} - {other} | " + " | ".join(cells) + " |"


def _by_section(scores: Scores, bar: str) -> Iterator[str]:
    yield f"| section | H2 - {bar} [95 %] | H2 - H1 [95 %] | H1 - C4 [95 %] |"
    yield "|---" * 4 + "|"
    for section in sorted(scores.rows["section"].unique()):
        own = scores.where(section=section)
        pairs = (("H2", bar), ("H2", "H1"), ("H1", "C4"))
        cells = [_signed(differences(own, *pair, "pearson", SETS[0]).interval) for pair in pairs]
        yield f"| {section} | " + " | ".join(cells) + " |"


def _dose(results: Results, keys: Sequence[str]) -> Iterator[str]:
    real = results.read("real", keys).rows
    dosed = results.read("dose", keys)
    for fold in DOSE_FOLDS:
        rows = dosed.rows[dosed.rows["task"] == fold.name]
        rows = _joined(real[real["task"] == fold.name], rows)
        both = Scores(rows[rows["set"] == SETS[0]], dosed.folder)
        seeds = _common_seeds(both)
        yield f"**{fold.name}**" + (f", {len(seeds)} seed(s)" if seeds else "")
        yield ""
        if not seeds:
            yield "Not run yet."
            yield ""
            continue
        yield "| arm | " + " | ".join(f"{dose:g} sd" for dose in DOSES) + " | slope [95 %] |"
        yield "|---" * (len(DOSES) + 2) + "|"
        slopes = {}
        for arm in (*DOSED, RIDGE_PROBE, "B1", "B1c", "B2"):
            own = both.where(seed=[0] if arm in CLOSED else seeds)
            by_dose = [own.where(dose=dose).metric(arm, "pearson") for dose in DOSES]
            slopes[arm] = slope(DOSES, by_dose, own.cohort())
            values = [f"{np.mean(list(one.values.values())):.4f}" for one in by_dose]
            cells = [*values, _signed(slopes[arm].interval)]
            yield f"| {arm} | " + " | ".join(cells) + " |"
        yield ""
        yield _sentence("H2's slope is flat", flat(slopes["H2"]))
        yield _sentence("C0's slope is negative", falls(slopes["C0"]))
        yield ""


def _joined(real: pd.DataFrame, dosed: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([real, dosed], ignore_index=True)


def _common_seeds(both: Scores) -> list[int]:
    """Seeds that every dosed arm has at every dose."""
    rows = both.rows[both.rows["arm"].isin(DOSED)]
    runs = rows[["seed", "arm", "dose"]].drop_duplicates()["seed"].value_counts()
    return sorted(int(seed) for seed in runs[runs == len(DOSED) * len(DOSES)].index)


def _with_range(found: Interval) -> str:
    return f"{found.value:.4f} [{found.low:.3f}, {found.high:.3f}]"


def _signed(found: Interval) -> str:
    return f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def _spread(scores: Scores, arm: str) -> str:
    """Standard deviation over seeds of the mean over sections."""
    own = scores.rows[scores.rows["arm"] == arm]
    by_seed = own.groupby("seed")["pearson"].mean()
    return f"{by_seed.std():.4f}" if len(by_seed) > 1 else "–"
