"""Training: recipes, sections, splits, the trainer, and the closed-form readout."""
