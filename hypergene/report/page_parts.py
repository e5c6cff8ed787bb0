"""What pages that open from disk share: templates, data in them, and what a browser may do."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image


@cache
def environment() -> Environment:
    """Return the templates; what they are given is escaped."""
    return Environment(
        loader=PackageLoader("hypergene.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def asset(name: str) -> Markup:
    """Return a script or style sheet that stands beside the templates, to be put into a page."""
    return Markup((files("hypergene.report") / "templates" / name).read_text(encoding="utf-8"))


def json_in_script(value: Any) -> Markup:
    """Return JSON that no name in it can turn into markup: inside a script it ends nothing."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def content_policy(scripts: Sequence[str], *, evaluates: bool = False) -> str:
    """Return a Content-Security-Policy: no network at all, and these scripts and no others.

    Parameters
    ----------
    scripts
        Texts of the page's scripts, exactly as they stand between their tags.
    evaluates
        Whether they compile code: WebGL's shaders are wrapped in functions made of text.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {hashes}{chr(32) + chr(39) + 'unsafe-eval' + chr(39) if evaluates else ''}"
            if scripts
            else "script-src 'none'",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def jpeg_uri(pixels: NDArray[np.uint8], *, longest_px: int, quality: int = 85) -> str:
    """Return a picture (h × w × 3) as a data address, its longer side at most `longest_px`."""
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    picture.thumbnail((longest_px, longest_px))
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
