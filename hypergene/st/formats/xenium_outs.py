"""The small files of a Xenium output folder: manifest, gene panel, and where the H&E image lies.

The slide is an H&E image taken after the run. Xenium Explorer registers it to the morphology (DAPI)
image and exports a 3x3 matrix without header, which maps pixels of the H&E image to pixels of the
morphology image, whose side is ``pixel_size`` µm (10x Genomics, "How can I convert coordinates
between H&E image and Xenium data"; spatialdata-io reads it in the same direction).
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hypergene.errors import DataError
from hypergene.slide.resolution import PLAUSIBLE_MPP
from hypergene.st.table import read_lines

_log = logging.getLogger(__name__)

EXPERIMENT, PANEL = "experiment.xenium", "gene_panel.json"
# Beyond these a number in a file is a mistake.
_PIXEL_UM = (0.01, 10.0)
_LARGEST_PX = 1e9
# Stretch along one direction over stretch along the other.
_UNEQUAL = 1.05


def read_experiment(outs: Path) -> tuple[float, dict[str, str]]:
    """Read the manifest, ``experiment.xenium``.

    Parameters
    ----------
    outs
        The output folder.

    Returns
    -------
    pixel_size_um
        Side of a pixel of the morphology image, µm (0.2125 on every instrument so far).
    about
        What is stated of ``panel_name``, ``panel_organism``, ``panel_tissue_type`` and
        ``analysis_sw_version``.

    Raises
    ------
    DataError
        No manifest, not JSON, or without a ``pixel_size`` between 0.01 and 10 µm.
    """
    path = outs / EXPERIMENT
    if not path.is_file():
        raise DataError(
            f"There is no {path}, which states the pixel size of the run.",
            hint="Copy experiment.xenium of the same run there.",
        )
    stated = _json(path)
    size: Any = stated.get("pixel_size") if isinstance(stated, dict) else None
    is_number = isinstance(size, int | float) and not isinstance(size, bool)
    if not (is_number and _PIXEL_UM[0] < size < _PIXEL_UM[1]):
        raise DataError(
            f"{path} states no pixel_size of a microscope.",
            hint="It must be the manifest of a Xenium run: copy it again.",
        )
    keys = ("panel_name", "panel_organism", "panel_tissue_type", "analysis_sw_version")
    return float(size), {key: str(stated[key]) for key in keys if stated.get(key)}


def read_gene_panel(outs: Path) -> dict[str, str] | None:
    """Read which genes were measured from ``gene_panel.json``.

    Parameters
    ----------
    outs
        The output folder.

    Returns
    -------
    dict or None
        Gene name -> Ensembl identifier ("" where none is stated), in the panel's order; controls
        and other codewords are left out. None if there is no such file.

    Raises
    ------
    DataError
        If the file is damaged or names no gene.
    """
    path = outs / PANEL
    if not path.exists():
        return None
    panel: dict[str, str] = {}
    stated = _json(path)
    try:
        for target in stated["payload"]["targets"]:
            if target["type"]["descriptor"] == "gene":
                gene = target["type"]["data"]
                if not isinstance(gene["name"], str):
                    raise TypeError
                panel.setdefault(gene["name"], str(gene.get("id") or ""))
    except (AttributeError, KeyError, TypeError):
        panel = {}
    if not panel:
        raise DataError(
            f"{path} lists no genes as payload, targets, type.",
            hint="It must be the panel of the run: copy it again.",
        )
    return panel


def find_alignment(outs: Path) -> Path:
    """Find the one file that aligns the H&E image, in the output folder or beside it.

    Beside it only where no other run lies, whose file it might be. Files for an
    immunofluorescence image (``*if_imagealignment.csv``) are never taken.

    Parameters
    ----------
    outs
        The output folder.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    DataError
        If there is none, or more than one.
    """
    found = _alignments(outs)
    if not found and not _has_other_runs(outs):
        found = _alignments(outs.resolve().parent)
    if not found:
        raise DataError(
            f"There is no alignment of the H&E image (*_he_imagealignment.csv) for {outs}.",
            hint="Align the image in Xenium Explorer, export its transformation matrix (CSV), and "
            "name it in the samples sheet's column 'spots'. For an image that lies pixel on pixel "
            "on the morphology image say so by a file with the 3x3 identity.",
        )
    if len(found) > 1:
        raise DataError(
            f"{found[0].parent} holds {len(found)} alignments of images "
            f"({', '.join(path.name for path in found)}).",
            hint="Name the one of the slide in the samples sheet's column 'spots'.",
        )
    _log.info("%s: the H&E image is aligned by %s", outs, found[0])
    return found[0]


def read_alignment(path: Path, pixel_size_um: float) -> npt.NDArray[np.float64]:
    """Read the matrix that maps pixels of the H&E image to pixels of the morphology image.

    Parameters
    ----------
    path
        Three lines of three numbers, separated by commas, without header.
    pixel_size_um
        Side of a pixel of the morphology image, µm.

    Returns
    -------
    numpy.ndarray
        float64 (3, 3): ``[x', y', 1] = matrix @ [x, y, 1]``, columns of level 0 being x.

    Raises
    ------
    DataError
        If it is no such matrix, not affine, singular, stretches the image by more than 5 % in one
        direction, or gives the H&E image a resolution that no slide has.
    """
    again = "Export the transformation matrix from Xenium Explorer again."
    matrix = _matrix(path, again)
    if not np.allclose(matrix[2], [0, 0, 1], atol=1e-6):
        raise DataError(
            f"{path} is not affine: its last line is {', '.join(f'{x:g}' for x in matrix[2])}, "
            "not 0, 0, 1.",
            hint=again,
        )
    # The singular values are the largest and smallest stretch, whatever the rotation.
    long, short = np.linalg.svd(matrix[:2, :2], compute_uv=False)
    if short <= 1e-9 * long:
        raise DataError(f"{path} is singular: it maps the image onto a line.", hint=again)
    if long > _UNEQUAL * short:
        raise DataError(
            f"{path} stretches the H&E image by {100 * (long / short - 1):.0f} % more in one "
            "direction than in another.",
            hint="Align it again with keypoints all over the tissue.",
        )
    mpp = image_mpp(matrix, pixel_size_um)
    low, high = PLAUSIBLE_MPP
    if not all(low <= side <= high for side in mpp):
        raise DataError(
            f"{path} gives the H&E image {mpp[0]:.3g} µm/px, which no slide has.",
            hint="It must map pixels of the H&E image to pixels of the morphology image, not to µm "
            "and not the other way round.",
        )
    return matrix


def image_mpp(matrix: npt.NDArray[np.float64], pixel_size_um: float) -> list[float]:
    """Return µm per level-0 px of the H&E image, [x, y].

    ``pixel_size`` times the length of the matrix's columns; both are ``pixel_size sqrt|det|`` for
    a rotation with one scale.
    """
    return [float(side * pixel_size_um) for side in np.hypot(matrix[0, :2], matrix[1, :2])]


def image_positions(
    xy_um: npt.NDArray[np.float64], matrix: npt.NDArray[np.float64], pixel_size_um: float
) -> npt.NDArray[np.float64]:
    """Place points of the run on the H&E image: ``inverse(matrix) @ (xy_um / pixel_size)``.

    Parameters
    ----------
    xy_um
        (x, y) in µm of the run, shape (n, 2).
    matrix
        As :func:`read_alignment` gives it.
    pixel_size_um
        Side of a pixel of the morphology image, µm.

    Returns
    -------
    numpy.ndarray
        float64 (n, 2): (x, y), level-0 px of the H&E image.
    """
    moved = xy_um / pixel_size_um - matrix[:2, 2]
    return np.linalg.solve(matrix[:2, :2], moved.T).T.astype(np.float64)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # ValueError: not JSON, or not UTF-8
        raise DataError(f"{path} is not a whole JSON file.", hint="Copy it again.") from None


def _matrix(path: Path, again: str) -> npt.NDArray[np.float64]:
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            rows.append([float(cell) for cell in line.split(",")])
        except ValueError:
            raise DataError(
                f"{path} holds {line[:40]!r} on line {number}, where three numbers are needed.",
                hint=again,
            ) from None
    if [len(row) for row in rows] != [3, 3, 3]:
        raise DataError(
            f"{path} is no 3x3 matrix: its {len(rows)} lines hold "
            f"{', '.join(str(len(row)) for row in rows[:9])} numbers.",
            hint=again,
        )
    matrix = np.array(rows)
    if not (np.abs(matrix) < _LARGEST_PX).all():
        raise DataError(f"{path} holds numbers that are missing or beyond all slides.", hint=again)
    return matrix


def _alignments(folder: Path) -> list[Path]:
    try:
        names = [path.name for path in folder.iterdir() if path.is_file()]
    except OSError:
        return []
    return sorted(
        folder / name
        for name in names
        if name.lower().endswith("imagealignment.csv")
        and not f"_{name.lower()}".endswith("_if_imagealignment.csv")
        and not name.startswith(".")
    )


def _has_other_runs(outs: Path) -> bool:
    here = outs.resolve()
    try:
        return any(path != here and (path / EXPERIMENT).is_file() for path in here.parent.iterdir())
    except OSError:
        return True
