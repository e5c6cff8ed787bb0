"""Colours that every reader tells apart."""

from __future__ import annotations

# Okabe and Ito's colours, apart for every kind of colour vision, without the yellow, which white
# paper swallows, and the black, which hides its neighbours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
# Two dark ones beside them are all that every reader still tells apart on a map.
NAMED = (*COLOURS, "#003959", "#6A2F00")
OTHER = "#D0D0D0"
UNKNOWN = "#9A9A9A"
INK = "#404040"
