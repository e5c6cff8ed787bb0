"""Reading slides: OpenSlide, and the codecs of TIFF tiles."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypergene.errors import first_line
from hypergene.pipeline.doctor.finding import Finding

FORMATS = "Aperio, Hamamatsu, Leica, MIRAX, Philips, Sakura, Trestle, Ventana, generic TIFF"
CODECS = {"jpeg": 8, "jpeg2000": 8, "lzw": 0, "deflate": 0, "zstd": 0, "webp": 12}
"""Codecs of TIFF tiles, and by how many grey levels of 255 a smooth picture may come back off."""
_SIDE_PX = 256
_REINSTALL = "Reinstall them: pip install --force-reinstall"


def check_slides() -> Iterator[Finding]:
    """Open a small slide that was just written, by OpenSlide and by codec."""
    yield _openslide()
    with tempfile.TemporaryDirectory(prefix="hypergene-doctor-") as folder:
        yield _opens(Path(folder))
        yield _codecs(Path(folder))
    yield _fast_jpeg()


def _openslide() -> Finding:
    try:
        import openslide

        version = str(openslide.__library_version__)
    except Exception as error:  # the library is missing, or cannot be loaded
        return Finding(
            *("slides", "openslide", "fail", f"OpenSlide cannot be loaded: {first_line(error)}."),
            fix="Install it: pip install openslide-bin openslide-python.",
        )
    more = (
        ", DICOM" if version.split(".")[0].isdecimal() and int(version.split(".")[0]) >= 4 else ""
    )
    facts = {"version": version, "python_version": openslide.__version__}
    if not more:
        return Finding(
            *("slides", "openslide", "warn", f"OpenSlide {version} reads {FORMATS}, but no DICOM."),
            fix="Install a newer one: pip install --upgrade openslide-bin.",
            facts=facts,
        )
    told = f"OpenSlide {version} reads {FORMATS}{more}."
    return Finding("slides", "openslide", "pass", told, facts=facts)


def _opens(folder: Path) -> Finding:
    import openslide
    import tifffile

    path = folder / "tiny.tiff"
    tifffile.imwrite(path, picture(), tile=(128, 128), photometric="rgb", compression="deflate")
    try:
        with openslide.OpenSlide(path) as slide:
            pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    except Exception as error:  # OpenSlide's own errors, and those of what it stands on
        return Finding(
            *("slides", "open", "fail", f"OpenSlide opens no tiled TIFF: {first_line(error)}."),
            fix=f"{_REINSTALL} openslide-bin openslide-python.",
        )
    if not np.array_equal(pixels, picture()):
        return Finding(
            *("slides", "open", "fail", "OpenSlide gives back other pixels than were written."),
            fix=f"{_REINSTALL} openslide-bin openslide-python.",
        )
    return Finding("slides", "open", "pass", "OpenSlide opens a small tiled TIFF.")


def _codecs(folder: Path) -> Finding:
    """Write and read a tile with every codec that hypergene takes."""
    import tifffile

    lost = []
    for codec, most_off in CODECS.items():
        path = folder / f"{codec}.tiff"
        try:
            tifffile.imwrite(path, picture(), tile=(128, 128), photometric="rgb", compression=codec)
            off = np.abs(tifffile.imread(path).astype(int) - picture()).mean()
        except Exception:  # what is missing is said by name
            off = np.inf
        if off > most_off:
            lost.append(codec)
    if lost:
        return Finding(
            *("slides", "codecs", "fail", f"Tiles cannot be read in TIFF as {', '.join(lost)}."),
            fix=f"{_REINSTALL} imagecodecs tifffile.",
            facts={"missing": lost},
        )
    told = f"TIFF tiles are read in {', '.join(CODECS)}."
    return Finding("slides", "codecs", "pass", told, facts={"missing": []})


def _fast_jpeg() -> Finding:
    try:
        import simplejpeg

        sent = simplejpeg.encode_jpeg(np.ascontiguousarray(picture()))
        off = np.abs(simplejpeg.decode_jpeg(sent).astype(int) - picture()).mean()
    except Exception as error:
        return Finding(
            *("slides", "simplejpeg", "fail", f"simplejpeg does not work: {first_line(error)}."),
            fix=f"{_REINSTALL} simplejpeg.",
        )
    if off > CODECS["jpeg"]:
        return Finding(
            *(
                "slides",
                "simplejpeg",
                "fail",
                "simplejpeg gives back other pixels than it was given.",
            ),
            fix=f"{_REINSTALL} simplejpeg.",
        )
    return Finding("slides", "simplejpeg", "pass", "JPEG tiles are decoded by simplejpeg.")


def picture() -> NDArray[np.uint8]:
    """Return a smooth picture, which codecs with losses keep as well: uint8 (256, 256, 3)."""
    rows, columns = np.mgrid[:_SIDE_PX, :_SIDE_PX]
    channels = (rows, columns, (rows + columns) // 2)
    return np.stack(channels, axis=-1).astype(np.uint8)
