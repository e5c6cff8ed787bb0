"""Plain PNG and JPEG pictures: decoded once, whole, and shared by every handle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin

from hypergene.errors import SlideError
from hypergene.slide.reader import MAX_PIECE_BYTES, Level, pyramid
from hypergene.slide.resolution import Mpp
from hypergene.slide.rgb import as_rgb

_STRIP_PX = 512
_EXIF_ORIENTATION = 0x0112
_PNG_DEPTH_AT = 24
#: Neither deflate nor JPEG's one bit a coefficient block packs more than this into a byte
#: (zlib, technical details: 1032:1; ITU-T T.81, F.1.2: a code has at least one bit).
_DENSEST = 1032
_TILE_IT = "Convert it to a tiled pyramidal TIFF (vips tiffsave --tile --pyramid)."
_TURNED = "The picture asks to be shown turned (EXIF); its pixels are used as they are stored."


class ImageReader:
    """A :class:`~hypergene.slide.reader.Reader` over decoded pixels.

    It never states a resolution: the dots per inch of a JPEG or PNG are a print setting (72 in
    every picture a photo editor saved), and a microscope's would not look different.
    """

    def __init__(
        self, pixels: NDArray[np.uint8], vendor: str, warnings: tuple[str, ...] = ()
    ) -> None:
        height, width = pixels.shape[:2]
        self._pixels = pixels
        self.vendor = vendor
        self.warnings = warnings
        self.levels: tuple[Level, ...] = pyramid([(width, height)])
        self.resolutions: tuple[Mpp, ...] = ()

    @classmethod
    def open(cls, path: Path) -> ImageReader:
        """Decode a PNG or JPEG file.

        Raises
        ------
        SlideError
            If it is damaged, has 16 bits a channel, or is too large to decode whole.
        """
        depth = _png_depth(path)
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error or zlib.error on
        # a damaged file, as the damage may fall: whatever they raise means the same here.
        try:
            # The plugins, not Image.open: its limit on pixels is global, and ours is larger.
            picture = (
                JpegImagePlugin.JpegImageFile(path)
                if depth is None
                else PngImagePlugin.PngImageFile(path)
            )
            with picture:
                _refuse(picture, depth, path)
                pixels = _decode(picture)
                warnings = (_TURNED,) if _is_turned(picture) else ()
        except SlideError:
            raise
        except MemoryError as error:
            raise SlideError(
                f"{path} is too large for the memory of this machine to decode in one piece.",
                hint=_TILE_IT,
            ) from error
        except Exception as error:
            raise SlideError(
                f"{path} is damaged or truncated and cannot be decoded ({error}).",
                hint="Copy or export it again.",
            ) from error
        return cls(pixels, "jpeg" if depth is None else "png", warnings)

    def shrinks(self, level: int) -> tuple[int, ...]:
        """Offer the picture as it is only, since all of it is decoded."""
        return (1,)

    def read(
        self, level: int, column: int, row: int, width: int, height: int, shrink: int = 1
    ) -> NDArray[np.uint8]:
        """Read a rectangle inside the picture (px) as uint8 (height, width, 3)."""
        return self._pixels[row : row + height, column : column + width].copy()

    def reopen(self) -> ImageReader:
        """Share the decoded pixels with another thread."""
        return ImageReader(self._pixels, self.vendor, self.warnings)

    def close(self) -> None:
        """Nothing to close; the pixels go with the last handle."""


def _png_depth(path: Path) -> int | None:
    """Bits a channel of a PNG, from its header, as Pillow hides 16-bit colour; None for a JPEG."""
    with path.open("rb") as file:
        head = file.read(_PNG_DEPTH_AT + 1)
    if not head.startswith(b"\x89PNG"):
        return None
    return head[-1] if len(head) > _PNG_DEPTH_AT else 0


def _refuse(picture: Image.Image, depth: int | None, path: Path) -> None:
    if depth == 16 or picture.mode.startswith(("I", "F")):
        raise SlideError(
            f"{path} has 16 bits a channel; slides have 8.", hint="Export it with 8 bits."
        )
    width, height = picture.size
    held = width * height * len(picture.getbands()) * min(depth or 8, 8) / 8
    if held > _DENSEST * path.stat().st_size:
        raise SlideError(
            f"{path} is damaged: it claims to be {width} x {height} px, more than a file of its "
            f"size can hold.",
            hint="Copy or export it again.",
        )
    if width * height * 3 > MAX_PIECE_BYTES:
        raise SlideError(
            f"{path} is {width} x {height} px, too large to decode in one piece.",
            hint=_TILE_IT,
        )


def _is_turned(picture: Image.Image) -> bool:
    try:
        return picture.getexif().get(_EXIF_ORIENTATION, 1) not in (0, 1)
    except Exception:
        # Broken EXIF, of which there is much, says nothing about the pixels.
        return False


def _decode(picture: Image.Image) -> NDArray[np.uint8]:
    picture.load()
    see_through = picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info
    width, height = picture.size
    pixels = np.empty((height, width, 3), np.uint8)
    # In strips: a conversion of the whole would hold the picture three times.
    for top in range(0, height, _STRIP_PX):
        bottom = min(top + _STRIP_PX, height)
        strip = picture.crop((0, top, width, bottom)).convert("RGBA" if see_through else "RGB")
        pixels[top:bottom] = as_rgb(np.asarray(strip))
    return pixels
