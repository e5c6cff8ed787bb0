"""A training run from its sheet to a model that predicts, and what must not decide it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from hypergene import __version__
from hypergene.errors import DataError, HypergeneError, OutputError, UsageError
from hypergene.features.context import Context
from hypergene.pipeline import finetune as finetune_module
from hypergene.pipeline.finetune import FinetuneOptions, finetune
from hypergene.pipeline.metrics_log import MetricsLog
from hypergene.pipeline.predict import predict
from hypergene.st import read_samples
from hypergene.zoo import load_model, read_config

TEST = "B2"


@dataclass(frozen=True)
class Run:
    """A finished run, and the model it made."""

    folder: Path
    model: Path

    def weights(self) -> dict[str, np.ndarray]:
        return load_file(self.model / "model.safetensors")


@pytest.fixture(scope="module")
def train(tiny_cohort: Any, tiny_recipe: Path) -> Callable[..., Run]:
    def run(out: Path, samples: Any = None, **options: Any) -> Run:
        wanted = {"recipe": tiny_recipe, "test": TEST, "device": "cpu", "workers": 0, **options}
        source = tiny_cohort.sheet if samples is None else samples
        return Run(out, finetune(source, out, **wanted))

    return run


@pytest.fixture(scope="module")
def trained(train: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained on A1, A2 and (after it chose the epoch) B1; tested on B2."""
    return train(tmp_path_factory.mktemp("run") / "mine")


@pytest.fixture
def own_cohort(tiny_cohort: Any, tmp_path: Path) -> Any:
    """A copy of the cohort that a test may change."""
    folder = tmp_path / "cohort"
    shutil.copytree(tiny_cohort.folder, folder)
    return type(tiny_cohort)(folder, folder / "samples.csv", tiny_cohort.samples)


def assert_identical(left: Run, right: Run) -> None:
    ours, theirs = left.weights(), right.weights()
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()]
    assert different == []


# What comes out


def test_a_run_writes_its_model_its_course_and_its_scores(trained: Run) -> None:
    assert trained.model == trained.folder / "model"
    assert {path.name for path in trained.folder.iterdir()} == {
        *("model", "metrics.csv", "scores.csv", "genes-B2.csv", "hierarchy.png"),
        *("checkpoints", "cache"),
    }
    assert {path.name for path in trained.model.iterdir()} == {
        *("config.json", "model.safetensors", "README.md", "SHA256SUMS"),
    }
    course = pd.read_csv(trained.folder / "metrics.csv")
    assert course.groupby("phase")["epoch"].max()["select"] == 4
    watched = course.dropna(subset=["validation"])
    assert watched["epoch"].tolist() == [2, 4]
    assert np.isfinite(course["total"]).all()

    scores = pd.read_csv(trained.folder / "scores.csv")
    assert set(scores["sample"]) == {TEST}
    assert set(scores["held_out"]) == {"section"}  # B1, of the same patient, was learnt from
    assert {"gene_set", "pearson", "pearson_beyond_depth", "mse"} <= set(scores)
    by_gene = pd.read_csv(trained.folder / "genes-B2.csv", index_col="gene")
    assert tuple(by_gene.index) == read_config(trained.model).genes


def test_the_configuration_says_what_the_model_is_made_of(trained: Run) -> None:
    config = read_config(trained.model)
    about = config.provenance
    assert about.name == "mine"
    assert about.trained_on == ("A1", "A2", "B1")
    assert about.validated_on == ("B1",)
    assert (about.validation, about.patients) == ("patient", 2)
    assert (about.licence, about.tissue) == ("CC-BY-4.0", "painted")
    assert about.hypergene == __version__
    assert (config.layout.name, config.layout.pitch_um) == ("st", 200)
    assert config.genes[:2] == ("ERBB2", "GRB7")


def test_what_was_held_out_says_how_far_and_at_which_scale(trained: Run) -> None:
    how, model = read_config(trained.model).held_out, load_model(trained.model)
    assert how is not None and how.distances == "patient"
    assert how.scales == ("1 ring", "2 rings")
    assert model.held_out is not None and model.held_out.coarse is not None
    assert model.held_out.coarse.pearson.isfinite().any(dim=1).all()
    assert model.reference.held_out is not None and (model.reference.held_out.diff() >= 0).all()
    card = (trained.model / "README.md").read_text()
    assert "Finest scale at which they may be read" in card
    assert "percentile of the distances of patients that were held out" in card


def test_the_picture_is_learnt(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(tmp_path / "longer", epochs=12, set="train.assess_every=4")
    scores = pd.read_csv(run.folder / "genes-B2.csv", index_col="gene")
    # 14 genes follow the picture, the last 6 are noise.
    assert scores["pearson"][:14].mean() > 0.4
    model = load_model(run.model)
    assert model.heldout_pcc[:14].mean() > model.heldout_pcc[14:].mean() + 0.2
    assert model.reliable[:14].sum() > 6


def test_the_model_predicts_what_training_saw(trained: Run, tiny_cohort: Any) -> None:
    # The same spots through the slide as through the training section: one way of the data.
    sample = next(s for s in read_samples(tiny_cohort.sheet) if s.sample == TEST)
    spots = pd.read_csv(tiny_cohort.folder / "ST-spotfiles" / "B2_selection.tsv", sep="\t")
    table = trained.folder.parent / "spots.csv"
    spots[["pixel_x", "pixel_y"]].set_axis(["x", "y"], axis=1).to_csv(table, index=False)
    adata = predict(sample.slide, model=trained.model, coords=table, mpp=4.0)
    assert adata.shape == (30, 20)
    counts = pd.read_csv(tiny_cohort.counts(TEST), sep="\t", index_col=0).to_numpy()
    truth = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    pearson = [np.corrcoef(truth[:, gene], adata.X[:, gene])[0, 1] for gene in range(20)]
    scores = pd.read_csv(trained.folder / "genes-B2.csv", index_col="gene")
    np.testing.assert_allclose(pearson, scores["pearson"], atol=1e-4)
    assert adata.uns["hypergene"]["model"]["name"] == "mine"


def test_training_tissue_looks_usual_and_other_tissue_does_not(
    trained: Run, tiny_cohort: Any, painted_slide: Path
) -> None:
    known = predict(tiny_cohort.folder / "ST-imgs/A/A1/he.png", model=trained.model, mpp=4.0)
    assert 0.2 < known.obs["ood_score"].mean() < 0.8
    assert predict(painted_slide, model=trained.model).obs["ood_score"].mean() > 0.95


# What decides it


def test_test_expression_and_runs_before_change_neither_weights_nor_predictions(
    train: Callable[..., Run], trained: Run, own_cohort: Any, tmp_path: Path
) -> None:
    path = own_cohort.counts(TEST)
    table = pd.read_csv(path, sep="\t", index_col=0)
    shuffled = np.random.default_rng(0).permutation(table.to_numpy().ravel()) * 3 + 1
    table[:] = shuffled.reshape(table.shape)
    table.to_csv(path, sep="\t")
    other = train(tmp_path / "mine", own_cohort.sheet)
    assert_identical(trained, other)
    slide = own_cohort.folder / "ST-imgs/B/B2/he.png"
    look = {"mpp": 4.0, "tissue": "none"}
    before, after = (predict(slide, model=run.model, **look) for run in (trained, other))
    assert np.array_equal(before.X, after.X)
    # But the scores are those of the new truth.
    files = [run.folder / "genes-B2.csv" for run in (trained, other)]
    assert not pd.read_csv(files[0]).equals(pd.read_csv(files[1]))


def test_another_seed_trains_another_model(
    train: Callable[..., Run], trained: Run, tmp_path: Path
) -> None:
    other = train(tmp_path / "mine", seed=1).weights()
    assert any(not np.array_equal(other[name], value) for name, value in trained.weights().items())


class Killed(Exception):
    """Stands for a power cut."""


def kill_at(monkeypatch: pytest.MonkeyPatch, phase: str, epoch: int) -> None:
    log = MetricsLog.__call__

    def log_or_die(self: MetricsLog, row: dict[str, Any]) -> None:
        if (self.phase, row["epoch"]) == (phase, epoch):
            raise Killed
        log(self, row)

    monkeypatch.setattr(MetricsLog, "__call__", log_or_die)


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    train: Callable[..., Run], trained: Run, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    for phase, epoch in (("select", 3), ("refit", 3)):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, phase, epoch)
            with pytest.raises(Killed):
                train(out)
        assert (out / "checkpoints" / f"{phase}.pt").is_file()
        assert not (out / "model").exists()
    whole = train(out)
    assert_identical(trained, whole)
    assert (out / "scores.csv").read_text() == (trained.folder / "scores.csv").read_text()
    ours, theirs = (pd.read_csv(folder / "metrics.csv") for folder in (out, trained.folder))
    seconds = ["data_s", "epoch_s"]
    pd.testing.assert_frame_equal(ours.drop(columns=seconds), theirs.drop(columns=seconds))


def test_a_run_with_another_recipe_is_not_resumed(
    train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "mine"
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, "select", 3)
        with pytest.raises(Killed):
            train(out)
    with pytest.raises(OutputError, match="another recipe, seed, samples") as error:
        train(out, set="train.lr=0.001")
    assert "--no-resume" in (error.value.hint or "")
    assert not (out / "model").exists()
    kill_at(monkeypatch, "select", 1)  # it starts at the beginning
    with pytest.raises(Killed):
        train(out, set="train.lr=0.001", resume=False)


def test_a_run_whose_counts_changed_is_not_resumed(
    train: Callable[..., Run], own_cohort: Any, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, "select", 3)
        with pytest.raises(Killed):
            train(out, own_cohort.sheet)
    path = own_cohort.counts("A1")
    table = pd.read_csv(path, sep="\t", index_col=0)
    table.iloc[0, 0] += 1
    table.to_csv(path, sep="\t")
    with pytest.raises(OutputError, match="samples"):
        train(out, own_cohort.sheet)


def test_gene_sets_are_not_chosen_on_what_they_are_scored_on(
    train: Callable[..., Run], tiny_cohort: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    choose = finetune_module.sets_to_score

    def total(sample: str) -> int:
        return int(pd.read_csv(tiny_cohort.counts(sample), sep="\t", index_col=0).to_numpy().sum())

    by_total = {total(sample): sample for sample in tiny_cohort.samples}

    def remember(train: Any, genes: Any) -> Any:
        seen.append([by_total[int(one.counts().sum())] for one in train])
        return choose(train, genes)

    monkeypatch.setattr(finetune_module, "sets_to_score", remember)
    kill_at(monkeypatch, "select", 1)
    with pytest.raises(Killed):
        train(tmp_path / "mine")
    assert seen == [["A1", "A2"], ["A1", "A2", "B1"]]


# Other ways to train


def test_a_frozen_encoder_is_kept_as_it_is(
    train: Callable[..., Run], tiny_cohort: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts: list[Context] = []
    make = finetune_module.encode_sections

    def remember(*arguments: Any) -> Any:
        encoded = make(*arguments)
        contexts.extend(one.context for one in encoded)
        return encoded

    monkeypatch.setattr(finetune_module, "encode_sections", remember)
    run = train(tmp_path / "mine", set=("train.encoder=frozen",), test=())
    course = pd.read_csv(run.folder / "metrics.csv")
    assert np.isfinite(course["total"]).all()
    # The features it was trained on are those of the encoder in the model folder.
    seen: list[Context] = []
    of = Context.of
    monkeypatch.setattr(Context, "of", staticmethod(lambda *a: seen.append(of(*a)) or seen[-1]))
    predict(tiny_cohort.folder / "ST-imgs/A/A1/he.png", model=run.model, mpp=4.0)
    assert any(np.allclose(seen[0].mean, context.mean, atol=1e-5) for context in contexts)


def test_a_single_sample_is_trained_without_validation_and_the_card_says_so(
    train: Callable[..., Run], tiny_cohort: Any, tmp_path: Path
) -> None:
    run = train(tmp_path / "one", read_samples(tiny_cohort.sheet)[:1], test=(), epochs=2)
    config = read_config(run.model)
    assert config.provenance.validation == "none"
    assert not load_model(run.model).reliable.any()
    card = (run.model / "README.md").read_text()
    assert "nothing was held out" in card
    assert "1 section (A1) of 1 patient." in card
    assert not (run.folder / "scores.csv").exists()
    assert predict(tiny_cohort.folder / "ST-imgs/B/B2/he.png", model=run.model, mpp=4.0).n_obs


def test_without_refitting_the_validation_sample_is_not_learnt(
    train: Callable[..., Run], trained: Run, tmp_path: Path
) -> None:
    run = train(tmp_path / "mine", set="train.refit=false")
    about = read_config(run.model).provenance
    assert about.trained_on == ("A1", "A2")
    assert about.patients == 1
    course = pd.read_csv(run.folder / "metrics.csv")
    assert set(course["phase"]) == {"select"}
    same = pd.read_csv(trained.folder / "metrics.csv").query("phase == 'select'")
    assert course["total"].tolist() == same["total"].tolist()


def test_a_gene_that_some_sections_did_not_measure_is_learnt_from_the_others(
    train: Callable[..., Run], own_cohort: Any, tmp_path: Path
) -> None:
    for sample, gene in (("A1", "KRT8"), (TEST, "ERBB2")):
        path = own_cohort.counts(sample)
        pd.read_csv(path, sep="\t", index_col=0).drop(columns=gene).to_csv(path, sep="\t")
    short = train(tmp_path / "short" / "mine", own_cohort.sheet, epochs=2)
    assert "KRT8" not in read_config(short.model).genes
    run = train(tmp_path / "mine", own_cohort.sheet, set=("genes.space=union",), epochs=2)
    model = load_model(run.model)
    assert "KRT8" in model.config.genes
    place = model.config.genes.index("KRT8")
    assert model.modules_to_genes.loadings[:, place].abs().sum() > 0
    scored = pd.read_csv(run.folder / f"genes-{TEST}.csv", index_col="gene").index
    assert "KRT8" in scored and "ERBB2" not in scored  # what was not measured is not scored


def with_counts_alone(cohort: Any, **patients: str) -> Path:
    """Add samples without a slide to the sheet: name -> patient; counts are A1's, thinned."""
    lines = cohort.sheet.read_text().splitlines()
    table = pd.read_csv(cohort.counts("A1"), sep="\t", index_col=0)
    for seed, (name, patient) in enumerate(patients.items()):
        thinned = np.random.default_rng(seed).binomial(table.to_numpy(), 0.7)
        pd.DataFrame(thinned, table.index, table.columns).to_csv(cohort.counts(name), sep="\t")
        places = cohort.folder / "ST-spotfiles"
        shutil.copy(places / "A1_selection.tsv", places / f"{name}_selection.tsv")
        lines.append(f"{name},{patient},,ST-cnts/{name}.tsv,her2st,")
    cohort.sheet.write_text("\n".join(lines) + "\n")
    return cohort.sheet


def test_counts_without_a_slide_serve_gene_modules_if_nobody_held_out_is_in_them(
    train: Callable[..., Run], trained: Run, own_cohort: Any, tmp_path: Path
) -> None:
    sheet = with_counts_alone(own_cohort, C1="C", B3="B")
    # By default they are not even read.
    plain = train(tmp_path / "plain" / "mine", sheet)
    assert_identical(trained, plain)
    own_cohort.counts("B3").write_text("of the patient who is tested: never read\n")
    run = train(tmp_path / "mine", sheet, set=("targets.counts_only=true",), epochs=2)
    assert read_config(run.model).provenance.counts_of == ("C1",)
    assert "counts of C1" in (run.model / "README.md").read_text()
    loadings = "modules_to_genes.loadings"
    assert not np.allclose(run.weights()[loadings], trained.weights()[loadings])


@pytest.mark.parametrize("kind", ["neighbours", "completion"])
def test_denoised_targets_train_and_scores_are_those_of_what_was_measured(
    train: Callable[..., Run], tiny_cohort: Any, tmp_path: Path, kind: str
) -> None:
    run = train(tmp_path / "mine", set=(f"targets.denoise={kind}",), epochs=2)
    adata = predict(
        tiny_cohort.folder / "ST-imgs/B/B2/he.png",
        model=run.model,
        coords=tiny_cohort.folder / "ST-spotfiles/B2_selection.tsv",
        mpp=4.0,
    )
    counts = pd.read_csv(tiny_cohort.counts(TEST), sep="\t", index_col=0).to_numpy()
    truth = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    pearson = [np.corrcoef(truth[:, gene], adata.X[:, gene])[0, 1] for gene in range(20)]
    scores = pd.read_csv(run.folder / "genes-B2.csv", index_col="gene")
    np.testing.assert_allclose(pearson, scores["pearson"], atol=1e-4)


# What is refused


def test_a_finished_run_is_not_trained_again(
    train: Callable[..., Run], trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune_module, "read_sample", lambda _: pytest.fail("data were read"))
    with pytest.raises(OutputError, match="exists") as error:
        train(trained.folder)
    assert "--overwrite" in (error.value.hint or "")


def test_overwriting_trains_anew_and_leaves_no_old_scores(
    train: Callable[..., Run], trained: Run, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    shutil.copytree(trained.folder, out)
    run = train(out, test=(), overwrite=True, epochs=2, seed=3)
    assert set(read_config(run.model).provenance.trained_on) == {"A1", "A2", "B1", "B2"}
    assert not (out / "scores.csv").exists()
    assert not list(out.glob("genes-*.csv"))
    assert pd.read_csv(out / "metrics.csv")["epoch"].max() == 2


def test_a_folder_that_is_no_model_is_never_replaced(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not a model"):
        train(tmp_path, overwrite=True)
    assert (tmp_path / "model" / "thesis.txt").read_text() == "years of work"


def test_a_tissue_that_is_held_out_under_another_name_is_refused(
    train: Callable[..., Run], own_cohort: Any, tmp_path: Path
) -> None:
    # B2 becomes A1 with counts thinned and other gene names, as a second archive would have it.
    table = pd.read_csv(own_cohort.counts("A1"), sep="\t", index_col=0)
    thinned = np.random.default_rng(0).binomial(table.to_numpy(), 0.97)
    pd.DataFrame(thinned, table.index, table.columns).to_csv(own_cohort.counts(TEST), sep="\t")
    with pytest.raises(DataError, match="A1 is trained on and B2 is tested on") as error:
        train(tmp_path / "mine", own_cohort.sheet)
    assert "same tissue" in error.value.message
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"test": "Z9"}, UsageError),
        ({"test": "B2", "validation": "B2"}, UsageError),
        ({"test": ("A1", "A2", "B1", "B2")}, UsageError),
        ({"epochs": 0}, UsageError),
        ({"set": "train.speed=9"}, UsageError),
        ({"recipe": Path("no-such-recipe.toml")}, UsageError),
        ({"device": "abacus"}, UsageError),
        ({"set": "genes.panel=no-such-panel.txt"}, DataError),
        ({"set": 'encoder.name="no-such-network"'}, HypergeneError),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_refused_at_once(
    train: Callable[..., Run], tmp_path: Path, options: dict[str, Any], kind: type[HypergeneError]
) -> None:
    with pytest.raises(kind) as error:
        train(tmp_path / "mine", **options)
    assert "\n" not in error.value.message
    assert not (tmp_path / "mine" / "model").exists()


def test_counts_that_cannot_be_read_leave_no_folder(
    train: Callable[..., Run], own_cohort: Any, tmp_path: Path
) -> None:
    path = own_cohort.counts("B1")
    path.write_text(path.read_text().replace("\t", "\t0.", 25))
    with pytest.raises(DataError, match=r"B1\.tsv"):
        train(tmp_path / "mine", own_cohort.sheet)
    assert not (tmp_path / "mine").exists()


def test_options_may_come_as_plain_texts() -> None:
    options = FinetuneOptions(test="A1", set=["train.lr=1"])  # type: ignore[arg-type]
    assert (options.test, options.set) == (("A1",), ("train.lr=1",))
