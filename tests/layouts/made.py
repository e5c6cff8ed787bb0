"""A made section: a painted picture, and counts that follow it. Every layout writes the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import sparse
from scipy.ndimage import gaussian_filter

SYMBOLS = (
    *("ERBB2", "GRB7", "KRT8", "KRT18", "EPCAM", "MUC1", "CD24", "ESR1", "COL1A1", "COL3A1"),
    *("DCN", "LUM", "VIM", "SPARC", "IGKC", "CD74", "ACTB", "GAPDH", "MALAT1", "B2M"),
)
IDS = tuple(f"ENSG{141736 + number:011}" for number in range(len(SYMBOLS)))
MPP = 4.0
"""µm per px of the picture."""
SIZE_PX = (400, 360)
_SLOPE = np.repeat([2.0, -2.0, 0.0], [8, 6, 6])


@dataclass(frozen=True, eq=False)
class MadeSection:
    """A section in memory, for a writer to put on disk.

    Attributes
    ----------
    name, patient
        The sample and whose it is.
    picture
        uint8 (360, 400, 3), H&E-like tissue on glass, `MPP` µm/px.
    purple
        float (360, 400), 0..1: what the counts follow.
    level
        float (genes,): the counts of a gene where `purple` is 0.5.
    """

    name: str
    patient: str
    picture: np.ndarray
    purple: np.ndarray
    level: np.ndarray
    seed: int

    def draw(self, xy_px: np.ndarray, half_px: int = 12) -> sparse.csr_matrix:
        """Draw int32 counts (spots, genes) at places (x, y) of the picture."""
        rng = np.random.default_rng(self.seed + 1000)
        here = np.array(
            [
                self.purple[
                    max(0, int(y) - half_px) : int(y) + half_px + 1,
                    max(0, int(x) - half_px) : int(x) + half_px + 1,
                ].mean()
                for x, y in np.atleast_2d(xy_px)
            ]
        )
        rate = self.level * np.exp(np.outer(here - 0.5, _SLOPE))
        return sparse.csr_matrix(rng.poisson(rate).astype(np.int32))

    def save_picture(self, folder: Path, name: str | None = None) -> Path:
        """Write the picture as the full-resolution PNG it is (no resolution inside)."""
        path = folder / (name or f"{self.name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.picture).save(path)
        return path


def made_section(name: str = "A1", patient: str | None = None, seed: int = 0) -> MadeSection:
    """Paint tissue at x 30..370, y 30..330 px and choose how much of each gene it expresses."""
    rng = np.random.default_rng(seed)
    width, height = SIZE_PX
    purple = gaussian_filter(rng.normal(size=(height, width)), 30)
    purple = (purple - purple.min()) / np.ptp(purple)
    tissue = np.zeros((height, width), bool)
    tissue[30:330, 30:370] = True
    pink, blue = np.array([225.0, 150.0, 190.0]), np.array([120.0, 70.0, 150.0])
    stain = pink + purple[..., None] * (blue - pink)
    picture = np.where(tissue[..., None], stain, 243.0) + rng.normal(0, 3, (height, width, 3))
    return MadeSection(
        name=name,
        patient=name[0] if patient is None else patient,
        picture=picture.clip(0, 255).astype(np.uint8),
        purple=purple,
        level=rng.uniform(10, 60, len(SYMBOLS)),
        seed=seed,
    )
