"""The jobs behind ``hypergene models``."""
