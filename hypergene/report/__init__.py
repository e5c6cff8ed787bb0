"""Pictures of what was done: spots over a slide, genes over spots."""
