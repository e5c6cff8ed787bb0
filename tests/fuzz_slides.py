"""Damage a slide again and again, and count what tiling it comes to.

    python tests/fuzz_slides.py --mutants 2000 --seed 1 --slide CMU-1-Small-Region.svs
    python tests/fuzz_slides.py --mutants 100 --made

Each mutant is opened, its tissue found and some of its tiles read, in a child process of its own
with a time limit and a memory limit, so that crashes and hangs are counted as well. Mutant number
i is damaged with the seed ``--seed`` + i, so one failure is repeated by its own seed and
``--mutants 1``. Ctrl-C ends it with the table so far. Half of the mutants of an SVS have lost
the name of their vendor, so that both readers of TIFF are met; the second table counts which one
was. The exit code is 1 if anything but clean errors and tiles came out.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # threads outlive no fork

import argparse
import contextlib
import io
import re
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import openslide  # noqa: F401
import scipy.ndimage
import skimage.filters
import skimage.morphology  # noqa: F401
import tifffile
from child import in_child

import hypergene.slide.image_reader
import hypergene.slide.openslide_reader
import hypergene.slide.tiff_reader  # noqa: F401
from hypergene.errors import HypergeneError
from hypergene.slide import find_tissue, open_slide, read_tiles
from hypergene.slide.openslide_reader import vendor_of

CLEAN = ("clean error", "tiles")
OUTCOMES = (*CLEAN, "unclear error", "lost mpp", "invalid data", "traceback", "crash", "hang")
SVS = Path(__file__).resolve().parents[2] / "shared/data/slides/CMU-1-Small-Region.svs"

#: What a hostile or broken writer puts where a number should be.
ODD_NUMBERS = (0, 1, 2, 7, 255, 65_535, 10**6, 2**31 - 1, 2**31, 2**32 - 1)
#: Width, length, strip and tile sizes, offsets and byte counts, colours, compression, resolution.
TAGS = (256, 257, 258, 259, 262, 273, 277, 278, 279, 282, 283, 284, 296, 322, 323, 324, 325, 347)


def main() -> int:
    """Run all mutants; print a line a failure and a table of outcomes by kind of damage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=300, help="of each slide [300]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slide", type=Path, nargs="+", default=[SVS], help="any slides [the SVS]")
    parser.add_argument("--made", action="store_true", help="small files of all formats instead")
    parser.add_argument("--seconds", type=float, default=30, help="time limit of a mutant [30]")
    parser.add_argument("--memory-mb", type=int, default=1024, help="a mutant may take [1024]")
    parser.add_argument("--errors", action="store_true", help="list the clean errors, too")
    chosen = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    said: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = {}
    readers: dict[str, Counter[str]] = {}
    slowest, start = 0.0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        slides = made(Path(folder)) if chosen.made else chosen.slide
        for slide, seed in product(slides, range(chosen.seed, chosen.seed + chosen.mutants)):
            kind, done, data = damaged(slide.read_bytes(), seed)
            path = Path(folder) / f"mutant{slide.suffix}"
            path.write_bytes(data)
            # Pictures never say the resolution, and of an SVS only the vendor's own description.
            silent = b"Xperio" in data or slide.suffix in (".png", ".jpg")
            begun = time.monotonic()
            outcome, text = in_child(
                lambda path=path, mpp=0.5 if silent else None, kind=kind: witnessed(
                    path, mpp, cut=kind == "cut"
                ),
                seconds=chosen.seconds,
                memory_mb=chosen.memory_mb,
            )
            path.unlink()
            slowest = max(slowest, time.monotonic() - begun)
            reader, _, text = text.rpartition("\t")
            counts.setdefault(kind, Counter())[outcome] += 1
            readers.setdefault(f"{slide.suffix[1:]} {reader}", Counter())[outcome] += 1
            if outcome not in CLEAN:
                print(f"{slide.name} seed {seed} ({kind}: {done}): {outcome}: {text}", flush=True)
            elif text:
                said[re.sub(r"[-\d.,]+", "#", text.replace(str(path), "FILE"))] += 1
    if chosen.errors:
        print(*(f"{number:5} {text}" for text, number in said.most_common()), sep="\n")
    for what, table in {"damage": counts, "reader": readers}.items():
        print(f"{what:20}", *(f"{name:>13}" for name in OUTCOMES))
        for name, row in {
            **dict(sorted(table.items())),
            "all": sum(table.values(), Counter()),
        }.items():
            print(f"{name:20}", *(f"{row[outcome]:13}" for outcome in OUTCOMES))
    print(f"{time.monotonic() - start:.0f} s in all, the slowest mutant {slowest:.1f} s")
    return int(any(set(row) - set(CLEAN) for row in counts.values()))


def made(folder: Path) -> list[Path]:
    """Small slides of every format that the tests can write, in a folder of their own."""
    from PIL import Image
    from slide import scanners

    rng = np.random.default_rng(0)
    noise = scipy.ndimage.gaussian_filter(rng.normal(size=(256, 256, 3)), (3, 3, 0))
    pixels = np.clip(180 + 400 * noise, 0, 255).astype(np.uint8)
    folder /= "made"
    folder.mkdir()
    both, tiles = (0.5, 0.52), {"photometric": "rgb", "tile": (64, 64)}
    tiles |= {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    slides = [
        scanners.hamamatsu_ndpi(folder / "a.ndpi", pixels, both),
        scanners.leica(folder / "a.scn", pixels, 0.5),
        scanners.ventana(folder / "a.bif", pixels, 0.5),
        scanners.trestle(folder / "trestle.tif", pixels, both),
        scanners.philips(folder / "philips.tiff", pixels, 0.5),
        scanners.aperio(folder / "a.svs", pixels, 0.5, "aperio_jp2000_rgb"),
        scanners.dicom(folder, pixels, both),
    ]
    for compression in ("jpeg", "jpeg2000", "webp", "deflate", "lzw", "zstd"):
        slides.append(folder / f"{compression}.tif")
        tifffile.imwrite(slides[-1], pixels, compression=compression, **tiles)
    slides.append(folder / "pyramid.ome.tif")
    with tifffile.TiffWriter(slides[-1], bigtiff=True) as tif:
        size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        tif.write(pixels, subifds=1, metadata={"axes": "YXS", **size}, **tiles)
        tif.write(pixels[::2, ::2], subfiletype=1, **tiles)
    for suffix in ("png", "jpg"):
        slides.append(folder / f"a.{suffix}")
        Image.fromarray(pixels).save(slides[-1])
    return slides


def witnessed(path: Path, mpp: float | None, *, cut: bool) -> tuple[str, str]:
    """Tile a mutant; put the reader that meets it before what is to be said."""
    reader = vendor_of(path) or "no vendor"
    outcome, text = tiled(path, mpp, cut=cut)
    return outcome, f"{reader}\t{text}"


def tiled(path: Path, mpp: float | None, *, cut: bool) -> tuple[str, str]:
    """Tile a mutant as ``hypergene tile`` would; return the outcome and what is to be said."""
    try:
        with open_slide(path, mpp=mpp) as slide:
            width, height = slide.dimensions
            mask = find_tissue(slide, mpp=16)
            across = np.linspace(0, width, 6, endpoint=False)
            down = np.linspace(0, height, 6, endpoint=False)
            centres = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2)
            stream = read_tiles(slide, centres, width_um=112, size_px=64, workers=0)
            rows = [
                row for batch, tiles in stream for row in batch if tiles.shape[1:] == (64, 64, 3)
            ]
            if sorted(rows) != list(range(len(centres))) or not mask.mask.size:
                return "invalid data", f"{len(rows)} tiles"
    except HypergeneError as error:
        text = str(error)
        if cut and "does not say how many microns" in text:
            return "lost mpp", text
        one_sentence = "\n" not in text and str(path) in error.message
        return ("clean error" if one_sentence else "unclear error"), text
    return "tiles", ""


def damaged(sound: bytes, seed: int) -> tuple[str, str, bytes]:
    """Return the kind of damage, what was done, and the damaged file."""
    rng = np.random.default_rng(seed)
    data = bytearray(sound)
    is_tiff = sound[:2] in (b"II", b"MM")
    if is_tiff and rng.random() < 0.5:
        # As long as before, so that every offset stays right.
        data = bytearray(bytes(data).replace(b"Aperio", b"Xperio"))
    kinds = ["cut", "bytes", "hole", "shift", "number"] + ["tag", "table", "tile", "text"] * is_tiff
    kind = str(rng.choice(kinds))
    where = int(rng.integers(len(data)))
    if kind == "cut":
        return kind, f"at {where}", bytes(data[: max(1, where)])
    if kind == "bytes":
        # Most of a slide is pixels; what breaks readers stands at either end.
        count = int(2 ** rng.integers(0, 8))
        near = int(rng.choice([256, 4096, len(data)]))
        places = (
            rng.integers(0, near, count) if rng.random() < 0.5 else -rng.integers(1, near, count)
        )
        for place in places:
            data[place] = int(rng.integers(256))
        return kind, f"{count} within {near} of an end", bytes(data)
    if kind == "hole":
        length = int(2 ** rng.integers(1, 18))
        data[where : where + length] = bytes(len(data[where : where + length]))
        return kind, f"{length} zeros at {where}", bytes(data)
    if kind == "shift":
        length = int(rng.integers(1, 5000))
        if rng.random() < 0.5:
            del data[where : where + length]
        else:
            data[where:where] = rng.bytes(length)
        return kind, f"{length} at {where}", bytes(data)
    if kind == "number":
        at = int(rng.choice([where, rng.integers(0, 64), len(data) - 4 - rng.integers(0, 4096)]))
        odd = int(rng.choice(ODD_NUMBERS))
        data[at : at + 4] = struct.pack("<I", odd)
        return kind, f"{odd} at {at}", bytes(data)
    return kind, *_TIFF_DAMAGE[kind](data, sound, rng)


def _tag(data: bytearray, sound: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Another number of values, type or value in an entry of a directory, or another directory."""
    with _parsed(sound) as tif:
        page = tif.pages[int(rng.choice(len(tif.pages), p=_mostly_first(len(tif.pages))))]
        codes = [tag.code for tag in page.tags if tag.code in TAGS]
        tag = page.tags[int(rng.choice(codes))]
        order = tif.byteorder
        entry, size = tag.offset, tif.tiff.tagsize
        next_page = tif.tiff.offsetformat
        last = page.offset + tif.tiff.tagnosize + len(page.tags) * size
    what = str(rng.choice(["value", "value", "value", "count", "type", "loop"]))
    odd = int(rng.choice(ODD_NUMBERS))
    if what == "loop":
        data[last : last + struct.calcsize(next_page)] = struct.pack(next_page, page.offset)
    elif what == "type":
        data[entry + 2 : entry + 4] = struct.pack(order + "H", int(rng.integers(0, 20)))
    else:
        at = entry + (4 if what == "count" else size - struct.calcsize(next_page))
        data[at : at + 4] = struct.pack(order + "I", odd)
    return f"{what} of {tag.name} is {odd}", bytes(data)


def _table(data: bytearray, sound: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Offsets or sizes of some tiles that lie."""
    with _parsed(sound) as tif:
        page = _largest(tif)
        tags = ["TileOffsets", "TileByteCounts"] if page.is_tiled else ["StripOffsets"]
        tag = page.tags[str(rng.choice(tags))]
        number, at, order = tag.count, tag.valueoffset, tif.byteorder
    share = float(rng.choice([0.01, 0.1, 1.0]))
    for index in np.flatnonzero(rng.random(number) < share):
        odd = int(rng.choice([*ODD_NUMBERS, rng.integers(len(data))]))
        data[at + 4 * index : at + 4 * index + 4] = struct.pack(order + "I", odd)
    return f"{share:.0%} of {tag.name}", bytes(data)


def _tile(data: bytearray, sound: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """JPEG tiles whose own header promises another size, or that are broken within."""
    with _parsed(sound) as tif:
        page = _largest(tif)
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    share = float(rng.choice([0.02, 0.3, 1.0]))
    what = str(rng.choice(["size", "within"]))
    height, width = (int(side) for side in rng.choice([0, 1, 16, 4_000, 65_535], 2))
    for offset, count in places:
        if rng.random() > share:
            continue
        header = re.search(rb"\xff[\xc0\xc2]", bytes(data[offset : offset + count]))
        if what == "size" and header:
            at = offset + header.start() + 5
            data[at : at + 4] = struct.pack(">HH", height, width)
        else:
            data[offset + int(rng.integers(count))] ^= 0xFF
    return f"{share:.0%}, {what} {width} x {height}", bytes(data)


def _text(data: bytearray, sound: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """A description whose mpp, magnification or words are something else, as long as before."""
    odd = [b"MPP = 0.0000", b"MPP = -1.499", b"MPP = NaN   ", b"MPP = 1e-999", b"MPP = \xff\xfe   "]
    new = odd[int(rng.integers(len(odd)))]
    text = bytes(data)
    return f"{new!r}", re.sub(rb"MPP = [\d.]{6}", lambda _: new, text)


_TIFF_DAMAGE = {"tag": _tag, "table": _table, "tile": _tile, "text": _text}


def _parsed(sound: bytes) -> tifffile.TiffFile:
    return tifffile.TiffFile(io.BytesIO(sound))


def _largest(tif: tifffile.TiffFile) -> tifffile.TiffPage:
    return max(tif.pages, key=lambda page: page.imagewidth * page.imagelength)


def _mostly_first(count: int) -> np.ndarray:
    """Chances of `count` pages: the first is the slide, the others labels and thumbnails."""
    chances = np.full(count, 0.3 / max(count - 1, 1))
    chances[0] = 1 - chances[1:].sum()
    return chances


if __name__ == "__main__":
    sys.exit(main())
