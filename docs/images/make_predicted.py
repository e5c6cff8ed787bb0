"""Draw the README's picture: predicted expression over the spots of a held-out section.

    python docs/images/make_predicted.py runs/held-out/C3-seed0/model C3.jpg predicted-C3.png

The spots are drawn alone: no pixel of the slide gets into the picture.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hypergene

GENES = ["GNAS", "CD74", "FASN", "FN1"]


def main(model: str, slide: str, picture: str) -> None:
    """Predict the section and draw the genes side by side."""
    adata = hypergene.predict(slide, model=model, mpp=0.69, genes=tuple(GENES))
    figure = hypergene.plot(adata, "genes", genes=GENES, image=False, title="HER2ST C3")
    figure.savefig(Path(picture), dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
