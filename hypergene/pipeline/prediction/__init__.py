"""The steps of ``hypergene predict``: plan, encode, read out, say how it was made."""
