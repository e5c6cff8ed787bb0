"""How good a prediction is: metrics, gene choice, noise ceiling and the controls beside a model.

Numpy, scipy, pandas and scikit-learn. What is measured, and why, is the protocol's; the traps it
names are avoided by construction: genes are chosen from training spots, correlations run over the
spots of one slide, and a gene without variance is counted instead of vanishing from a mean.
"""

from __future__ import annotations

from hypergene.evaluation.ceiling import noise_ceiling
from hypergene.evaluation.controls import RidgeControl, ridge_loo, training_mean
from hypergene.evaluation.fold import FoldScores, score_fold
from hypergene.evaluation.genes import GeneMoments, expressed, gene_sets, most_variable
from hypergene.evaluation.metrics import (
    mae_per_gene,
    mse_per_gene,
    partial_mse_per_gene,
    partial_pearson_per_gene,
    partial_spearman_per_gene,
    pearson_per_gene,
    r2_per_gene,
    score_slide,
    spearman_per_gene,
    summarise,
    variance_distance_per_gene,
)
from hypergene.evaluation.slide_scores import MeasuredSlide, Prediction, score_prediction

__all__ = [
    "FoldScores",
    "GeneMoments",
    "MeasuredSlide",
    "Prediction",
    "RidgeControl",
    "expressed",
    "gene_sets",
    "mae_per_gene",
    "most_variable",
    "mse_per_gene",
    "noise_ceiling",
    "partial_mse_per_gene",
    "partial_pearson_per_gene",
    "partial_spearman_per_gene",
    "pearson_per_gene",
    "r2_per_gene",
    "ridge_loo",
    "score_fold",
    "score_prediction",
    "score_slide",
    "spearman_per_gene",
    "summarise",
    "training_mean",
    "variance_distance_per_gene",
]
