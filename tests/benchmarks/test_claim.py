"""The arms of the claim differ in what their names say, and a stopped run goes on where it was."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from benchmarks.claim import report
from benchmarks.claim.arms import ANCHOR_ALONE, CLOSED, RIDGE_PROBE, SAYS, TRAINED
from benchmarks.claim.dose import DOSES, gene_offset, stain_deviation, stain_shift
from benchmarks.claim.fit import within_slides
from benchmarks.claim.plan import DOSED, FOLDS, OF_C, Job, jobs
from benchmarks.claim.results import KEPT, Results, Score
from benchmarks.claim.sections import stained

from hypergene.evaluation.metrics import METRICS

ARMS = {arm.name: arm for arm in TRAINED}


def flat(values, prefix=""):
    found = {}
    for key, value in values.items():
        found |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


def changed(one, other):
    left, right = (flat(ARMS[name].recipe(2, 16).model_dump()) for name in (one, other))
    return {key: right[key] for key in left if left[key] != right[key]}


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ("H1", "H2", {"loss.hea.weight": 0.08}),
        ("C4", "H1", {"geometry.kind": "lorentz"}),
        ("B3", "C4", {"loss.pairs.weight": 0.2}),
        ("C2", "C3", {"loss.contrast.soft": 0.3}),
        ("C1", "C2", {"loss.contrast.same_slide": True, "loss.contrast.apart_pitch": 2.0}),
        ("C0", "C0 shuffled", {}),
        ("C0", "C0 centred", {}),
        ("H2", "H2 random", {}),
        ("B3", "B3 twice", {}),
    ],
)
def test_an_arm_differs_from_the_one_before_in_what_its_name_says(one, other, difference):
    assert changed(one, other) == difference


def test_only_probes_leave_the_embedding_alone():
    for name, arm in ARMS.items():
        regression = arm.recipe(2, 16).loss.regression
        assert regression.probe == name.startswith("C0")


def test_no_section_is_trained_on_and_tested():
    for fold in FOLDS:
        assert not set(fold.train) & set(fold.test)
    assert {section for fold in FOLDS for section in fold.test} == {"B4", *OF_C}


def test_runs_come_seed_by_seed_and_each_once():
    wanted = list(jobs(("real", "dose", "simulation"), 3, 2))
    assert len(set(wanted)) == len(wanted)
    real = [job.seed for job in wanted if job.part == "real" and job.arm is not None]
    assert real == sorted(real)
    assert max(job.seed for job in wanted if job.part == "simulation") == 1


def test_a_key_changes_with_all_that_matters(tmp_path):
    encoder = tmp_path / "encoder.safetensors"
    encoder.write_bytes(b"weights")
    job = Job("real", "without-C3", 0.0, ARMS["H2"], 0)
    others = [
        Job("dose", "without-C3", 0.5, ARMS["H2"], 0),
        Job("real", "without-C4", 0.0, ARMS["H2"], 0),
        Job("real", "without-C3", 0.0, ARMS["H1"], 0),
        Job("real", "without-C3", 0.0, ARMS["H2 random"], 0),
        Job("real", "without-C3", 0.0, ARMS["H2"], 1),
    ]
    keys = {one.key(encoder, 240) for one in (job, *others)} | {job.key(encoder, 480)}
    assert len(keys) == 7
    assert job.key(encoder, 240) in keys


def test_shuffled_pairs_stay_on_their_slide():
    slide = torch.tensor([0, 0, 0, 0, 3, 3, 3, 7])
    torch.manual_seed(0)
    orders = torch.stack([within_slides(slide) for _ in range(20)])
    assert (slide[orders] == slide).all()
    assert (orders.sort(dim=1).values == torch.arange(8)).all()
    assert (orders != torch.arange(8)).any()


def test_a_dose_is_a_length_along_one_direction():
    assert not gene_offset("C3", 0.0, 40).any()
    np.testing.assert_allclose(gene_offset("C3", 2.0, 40), 4 * gene_offset("C3", 0.5, 40))
    assert (gene_offset("C3", 1.0, 40) != gene_offset("C4", 1.0, 40)).all()
    shift = stain_shift("C3", 1.0, np.array([0.1, 0.2, 0.3], np.float32))
    assert shift[2] == 0
    assert shift[:2].all()


def test_a_shift_of_eosin_is_seen_as_one_of_eosin():
    rng = np.random.default_rng(0)
    tiles = rng.integers(90, 180, (6, 1, 8, 8, 3)).astype(np.uint8)
    moved = stained(tiles, np.array([0.0, 0.2, 0.0], np.float32))
    assert (moved[..., 1] < tiles[..., 1]).mean() > 0.9  # eosin takes away green
    assert np.abs(moved[..., 0].astype(int) - tiles[..., 0]).mean() < 3
    assert (stained(tiles, np.zeros(3, np.float32)) == tiles).all()
    assert (stain_deviation([tiles]) > 0).all()


def made_run(results, job, key, rng, gain):
    """Scores of one run, as if its arms had predicted two sections."""
    arms = list(CLOSED) if job.arm is None else [job.arm.name, *filter(None, [job.arm.also])]
    scores = []
    for arm in arms:
        for section in ("C3", "C4"):
            value = 0.2 + gain * (arm == "H2") - 0.01 * job.dose * (arm == "C0")
            seen = value + 0.0001 * job.seed
            figures = dict(zip(KEPT, (seen, seen, 1 - seen), strict=True))
            by_set = pd.DataFrame([figures] * 3, index=report.SETS)
            noise = rng.normal(value, 0.001, (50, len(METRICS)))
            slide = SimpleNamespace(
                slide=section, patient="C", by_set=by_set, spots=9, blocks=4,
                replicates=dict.fromkeys(report.SETS, noise),
            )  # fmt: skip
            scores.append(Score(arm, "measured", slide))
    what = {"part": job.part, "task": job.task, "dose": job.dose, "seed": job.seed}
    results.add(key, what | {"seconds": 1.0}, scores)


def made_results(folder, gain):
    results, rng, keys = Results(folder), np.random.default_rng(0), {}
    fold = FOLDS[0].name
    wanted = [Job("real", fold, 0.0, arm, seed) for arm in (None, *TRAINED) for seed in (0, 1)]
    for dose in DOSES[1:]:
        wanted += [Job("dose", fold, dose, None, 0)]
        wanted += [Job("dose", fold, dose, ARMS[name], 0) for name in DOSED]
    for number, job in enumerate(wanted):
        if job.arm is not None or job.seed == 0:
            keys[f"{number:016d}"] = job
            made_run(results, job, f"{number:016d}", rng, gain)
    return results, keys


@pytest.mark.parametrize(("gain", "said"), [(0.02, "Yes"), (-0.02, "No")])
def test_the_report_says_what_came_of_it(tmp_path, gain, said):
    results, keys = made_results(tmp_path, gain)
    page = tmp_path / "claim.md"
    places = [report.marks(name) for name in report.PLACES]
    marks = "".join(f"{begin}\nwhat stood here\n{end}\n" for begin, end in places)
    page.write_text(f"Before.\n\n{marks}\nAfter.\n")
    report.write(page, results, keys, 99)
    text = page.read_text()
    assert f"**{said}**: H2 helps" in text
    assert text.startswith("Before.\n")
    assert text.endswith("\nAfter.\n")
    assert "what stood here" not in text
    assert f"{len(keys)} of 99 runs" in text
    assert "2 sections (18 spots) of 1 patient(s), 2 seed(s)" in text
    for arm in SAYS:
        assert f"| {arm} |" in text
    assert "**Yes**: C0's slope is negative" in text
    assert text.count("Not run yet.") == 5
    report.write(page, results, keys, 99)
    assert page.read_text() == text


def test_a_run_that_was_killed_while_it_wrote_is_run_again(tmp_path):
    results, keys = made_results(tmp_path, 0.0)
    last = max(results.done())
    (tmp_path / "replicates" / f"{last}.npz").unlink()
    with (tmp_path / "results.csv").open("a") as file:
        file.write("half a row,real")
    again = Results(tmp_path)
    assert again.done() == set(keys) - {last}
    rows = again.read("dose", list(keys)).rows
    assert len(rows)
    assert last not in set(rows["key"])
    assert {ANCHOR_ALONE, RIDGE_PROBE} <= set(again.read("real", list(keys)).rows["arm"])
