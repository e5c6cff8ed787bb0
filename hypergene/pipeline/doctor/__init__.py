"""``hypergene doctor``: what works on this machine, and what to do about what does not."""

from hypergene.pipeline.doctor.examine import examine
from hypergene.pipeline.doctor.finding import Finding

__all__ = ["Finding", "examine"]
