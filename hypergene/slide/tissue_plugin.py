"""Tissue masks of other packages: a learned model, say, installed beside this one."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypergene.errors import HypergeneError, TissueError
from hypergene.slide.slide import Slide
from hypergene.slide.tissue import TissueMask, mask_scale

#: Entry points of this group are functions from a :class:`~hypergene.slide.Slide` to a mask:
#: bool (height, width), or numbers of which those above 0.5 are tissue, of the whole slide at any
#: scale.
GROUP = "hypergene.tissue"

MaskModel = Callable[[Slide], ArrayLike]


def tissue_plugins() -> dict[str, EntryPoint]:
    """Entry points of :data:`GROUP` by name. Nothing is imported yet.

    Only packages that the user installed have entry points, so no model or data file can bring
    code along.
    """
    return {point.name: point for point in entry_points(group=GROUP)}


def plugin_tissue(name: str, slide: Slide) -> TissueMask:
    """Let an installed plugin find the tissue.

    Parameters
    ----------
    name
        One of :func:`tissue_plugins`.
    slide
        The slide; it stays open.

    Returns
    -------
    TissueMask
        With the plugin's name as its source.

    Raises
    ------
    TissueError
        If the plugin cannot be loaded, fails, or returns what is no mask of the slide.
    """
    point = tissue_plugins()[name]
    try:
        model: MaskModel = point.load()
        values = np.asarray(model(slide))
    except HypergeneError:
        raise
    except Exception as error:
        # Foreign code may raise anything; whose fault it is must be plain.
        raise TissueError(
            f"The tissue plugin {name} ({point.value}) failed on {slide.path}: "
            f"{type(error).__name__}: {error}.",
            hint="Ask those who made it, or use --tissue auto.",
        ) from error
    if values.ndim != 2 or not values.size or values.dtype.kind not in "buif":
        raise TissueError(
            f"The tissue plugin {name} ({point.value}) returned no mask, but an array of "
            f"{values.dtype} of shape {values.shape}.",
            hint="It has to return bool (height, width), or the probability of tissue.",
        )
    mask: NDArray[np.bool_] = values > 0.5
    scale = mask_scale(mask, slide, f"of the plugin {name}")
    return TissueMask(mask, scale, name)
