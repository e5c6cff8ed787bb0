"""The parts of ``hypergene evaluate``."""
