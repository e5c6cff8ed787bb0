"""Many slides: states, locks, and workers on this machine or on a Ray cluster."""

from hypergene.pipeline.cohort.run import CohortOptions, predict_cohort

__all__ = ["CohortOptions", "predict_cohort"]
