"""Options that several commands share, written once.

Every option can be given as an environment variable too: ``--min-tissue`` as
``HYPERGENE_MIN_TISSUE``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from hypergene.cli.config import read_config
from hypergene.cli.console import show_tracebacks
from hypergene.errors import UsageError


def option(*flags: str, help: str, **settings: Any) -> Any:
    """Return a Typer option whose environment variable is named after its long flag."""
    long = next(flag for flag in flags if flag.startswith("--")).split("/")[0]
    variable = "HYPERGENE_" + long[2:].replace("-", "_").upper()
    return typer.Option(*flags, help=help, envvar=variable, show_envvar=False, **settings)


def parse_offset(text: str | None) -> tuple[float, float] | None:
    """Return the two numbers of ``--offset X,Y``, µm.

    Raises
    ------
    UsageError
        If they are not two finite numbers with a comma between them.
    """
    if text is None:
        return None
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise UsageError(
            f"--offset {text!r} is not two numbers with a comma between them.",
            hint="Give X,Y in µm from the slide's top left corner, e.g. --offset 500,800.",
        )
    return x, y


def _debug(value: bool) -> bool:
    if value:
        show_tracebacks()
    return value


Slides = Annotated[
    list[Path],
    typer.Argument(metavar="SLIDE", help="Slide files.", show_default=False),
]
Out = Annotated[
    Path | None,
    option("--out", "-o", help="Folder for the results.  [default: beside the slide]"),
]
Mpp = Annotated[
    float | None,
    option("--mpp", help="Microns per pixel of level 0, over what the file says."),
]
Coords = Annotated[
    Path | None,
    option(
        "--coords",
        help="Spot centres in px: CSV or TSV with x,y, Parquet, GeoJSON, h5ad, *.spots.zarr, or "
        "Space Ranger's tissue_positions or outs folder.",
    ),
]
Diameter = Annotated[
    float | None, option("--diameter", help="Spot diameter in µm.  [default: the layout's]")
]
Pitch = Annotated[
    float | None,
    option("--pitch", help="Distance between spot centres in µm.  [default: the layout's]"),
]
Orientation = Annotated[
    float,
    option("--orientation", help="Degrees by which the lattice is turned, clockwise."),
]
Offset = Annotated[
    str | None,
    option(
        "--offset",
        metavar="X,Y",
        help="Where the lattice starts, in µm from the top left corner.  [default: centred]",
    ),
]
Tissue = Annotated[
    str,
    option(
        "--tissue",
        help="auto, none (every spot counts), a mask (PNG, TIFF, or GeoJSON, as "
        "drawn.geojson#Tumor), or the name of an installed plugin.",
    ),
]
MinTissue = Annotated[
    float, option("--min-tissue", help="Least share of a laid spot's area on tissue, 0 to 1.")
]
Qc = Annotated[
    bool,
    option(
        "--qc",
        help="Write each spot's focus, pen ink, saturation and brightness, and <stem>.qc.png.",
    ),
]
Device = Annotated[str, option("--device", help="auto, cpu or cuda.")]
Workers = Annotated[int, option("--workers", help="Threads that read the slide.", min=0)]
Seed = Annotated[int, option("--seed", help="Seed of everything random.")]
Json = Annotated[bool, option("--json", help="Print one JSON object a slide.")]
Overwrite = Annotated[bool, option("--overwrite", help="Replace results that exist.")]
Config = Annotated[
    Path | None,
    option(
        "--config",
        help="TOML file with options; flags and environment variables go before it.",
        is_eager=True,
        callback=read_config,
    ),
]
Debug = Annotated[
    bool,
    option("--debug", help="Show tracebacks.", callback=_debug, hidden=True, is_eager=True),
]
