"""HEST-1k: ``st/<id>.h5ad`` (an AnnData), ``wsis/<id>.tif`` and ``metadata/<id>.json``.

The metadata are one row of HEST's table as JSON; ``pixel_size_um_estimated`` is µm per pixel of the
image, which HEST derives from the distance of the spots (``pixel_size_um_embedded``, what the
source file claimed, is often wrong by orders of magnitude). Xenium and Visium HD are pooled into
squares in ``st``, mostly of 100 and 128 µm, although the metadata state the platform's own bins or
nothing: so the squares are measured. HEST's own library reads the same files, but brings along
a whole image stack, and is under a licence that forbids commercial use.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from hypergene.errors import DataError, HypergeneError, first_line
from hypergene.spots import Layout, layout_named
from hypergene.st.formats import h5ad
from hypergene.st.formats.xenium_pooling import CONTROL_PREFIXES
from hypergene.st.sample import Sample

_log = logging.getLogger(__name__)

_MPP_KEY = "pixel_size_um_estimated"
_PRINTED = {"visium": "visium", "spatial transcriptomics": "st", "st": "st"}
_POOLED = {"xenium": "xenium", "visium hd": "visium-hd"}
_SLIDES = (".tif", ".tiff")


def recognises(data: Path) -> bool:
    """Tell whether a file is ``st/<id>.h5ad`` beside a folder ``metadata``."""
    is_st = data.suffix.lower() == ".h5ad" and data.parent.name == "st"
    return is_st and (data.parent.parent / "metadata").is_dir()


def recognises_folder(folder: Path) -> bool:
    """Tell whether a folder is in HEST's layout: ``st`` beside ``metadata`` or ``wsis``."""
    return (folder / "st").is_dir() and any((folder / n).is_dir() for n in ("metadata", "wsis"))


def read(data: Path, spots: Path | None = None) -> AnnData:
    """Read one section.

    Parameters
    ----------
    data
        ``st/<id>.h5ad``; its metadata are ``../metadata/<id>.json``.
    spots
        Has no meaning here: positions are in the file.

    Returns
    -------
    AnnData
        As :func:`hypergene.st.formats.h5ad.read`, and in ``uns["hypergene"]`` platform, layout,
        mpp, mpp_source and spot_diameter_px by the metadata, organ and patient where stated.
        Controls of Xenium's panels are left out and counted in features_left_out.

    Raises
    ------
    DataError
        If the AnnData is bad, the metadata are missing or damaged, or a number in them is none.
    """
    metadata = _metadata_of(data)
    if not metadata.is_file():
        raise DataError(
            f"There is no metadata file {metadata} for {data}.",
            hint="Download it from HEST, or give the format h5ad and an mpp.",
        )
    stated = _read_metadata(metadata)
    adata = h5ad.read(data, spots)
    about: dict[str, Any] = adata.uns["hypergene"]
    for key in ("organ", "patient"):
        if (text := _text(stated, key)) is not None:
            about[key] = text
    mpp = _positive(stated, _MPP_KEY, metadata)
    if mpp is not None:
        about["mpp"], about["mpp_source"] = [mpp, mpp], f"HEST metadata {_MPP_KEY}"
    technology = _text(stated, "st_technology") or ""
    platform = (_PRINTED | _POOLED).get(technology.lower())
    if platform is None:
        _warn(about, f"{metadata} names no technology that is known ({technology or 'none'}).")
    else:
        about["platform"] = platform
    if platform == "xenium":
        adata = _without_controls(adata)
        about = adata.uns["hypergene"]
    layout = _layout(about, technology.lower(), stated, metadata)
    about.pop("layout", None)
    if layout is not None:
        about["layout"] = asdict(layout)
        if mpp is not None:  # HEST writes 55 µm into the scale factors of pooled squares, too
            about["spot_diameter_px"] = layout.diameter_um / mpp
    return adata


def samples_of(folder: Path) -> list[Sample]:
    """List the sections of a folder in HEST's layout.

    Parameters
    ----------
    folder
        With ``st``, and if wanted ``wsis`` and ``metadata``; any part of HEST may be there.

    Returns
    -------
    list of Sample
        One a file in ``st``, by name. Its slide is None if ``wsis`` has none of its name; mpp and
        patient are None if the metadata lack them. HEST numbers patients study by study, so if the
        sections are of several studies a patient's name is followed by the study's.

    Raises
    ------
    DataError
        If there is no ``st`` or nothing in it, or metadata are damaged.
    """
    st = folder / "st"
    files = sorted(p for p in st.glob("*.h5ad") if not p.name.startswith("."))
    if not files:
        raise DataError(
            f"{folder} is not in HEST's layout: it has no st/<id>.h5ad.",
            hint="Give the folder that holds st, wsis and metadata, or a samples sheet (CSV).",
        )
    metadata = {file.stem: _metadata_of(file) for file in files}
    stated = {name: _read_metadata(p) for name, p in metadata.items() if p.is_file()}
    studies = {_text(about, "dataset_title") for about in stated.values()}
    samples = [
        Sample(
            sample=name,
            patient=_patient(stated.get(name, {}), many=len(studies) > 1),
            slide=_slide_of(folder, name),
            data=file,
            format="hest",
            mpp=_positive(stated.get(name, {}), _MPP_KEY, metadata[name]),
            section=None,
        )
        for file, name in zip(files, metadata, strict=True)
    ]
    _say_what_lacks(folder, samples, stated)
    return samples


def _metadata_of(data: Path) -> Path:
    return data.parent.parent / "metadata" / f"{data.stem}.json"


def _slide_of(folder: Path, name: str) -> Path | None:
    places = (folder / "wsis" / f"{name}{suffix}" for suffix in _SLIDES)
    return next((place for place in places if place.is_file()), None)


def _patient(stated: Mapping[str, Any], *, many: bool) -> str | None:
    patient, study = _text(stated, "patient"), _text(stated, "dataset_title")
    return f"{patient} ({study})" if patient and study and many else patient


def _say_what_lacks(
    folder: Path, samples: list[Sample], stated: Mapping[str, Mapping[str, Any]]
) -> None:
    lacks: dict[str, list[str]] = {
        "no slide in wsis": [s.sample for s in samples if s.slide is None],
        "no metadata": [s.sample for s in samples if s.sample not in stated],
        f"no {_MPP_KEY}": [s.sample for s in samples if s.sample in stated and s.mpp is None],
        "no patient": [s.sample for s in samples if s.sample in stated and s.patient is None],
    }
    for what, names in lacks.items():
        if names:
            listed = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
            _log.warning("%s: %s for %d sections (%s)", folder, what, len(names), listed)
    known = {sample.sample for sample in samples}
    alone = sorted({p.stem for p in (folder / "wsis").glob("*.tif")} - known)
    if alone:
        _log.info("%s: %d slides have no file in st and are not taken", folder, len(alone))


def _read_metadata(path: Path) -> Mapping[str, Any]:
    try:
        stated = json.loads(path.read_bytes())
    except Exception as reason:  # OSError, no UTF-8, no JSON, brackets nested beyond reason
        line = first_line(reason)
        raise DataError(
            f"{path} cannot be read as JSON: {line}.", hint="Download it from HEST again."
        ) from None
    if not isinstance(stated, dict):
        raise DataError(f"{path} holds no metadata.", hint="Download it from HEST again.")
    return stated


def _text(stated: Mapping[str, Any], key: str) -> str | None:
    """Return a text of the metadata on one line; null, NaN and blanks are none."""
    value = stated.get(key)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return " ".join(str(value).split()) or None


def _positive(stated: Mapping[str, Any], key: str, path: Path) -> float | None:
    """Return a number of the metadata, None if it is missing."""
    text = _text(stated, key)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise DataError(
            f"{path} has {text[:40]!r} as {key}, where a number above 0 is needed.",
            hint="Download it from HEST again, or correct it.",
        )
    return value


def _layout(
    about: dict[str, Any], technology: str, stated: Mapping[str, Any], path: Path
) -> Layout | None:
    """Return the layout: as stated of printed spots, as measured of squares without gaps."""
    if technology in _POOLED:
        mpp, pitch_px = about.get("mpp"), about.get("pitch_px")
        if mpp is None or pitch_px is None:
            _warn(about, f"{path} states no {_MPP_KEY}, so the size of its squares is not known.")
            return None
        return layout_named("grid", diameter_um=pitch_px * mpp[0])
    diameter = _positive(stated, "spot_diameter", path)
    pitch = _positive(stated, "inter_spot_dist", path)
    try:
        if technology in _PRINTED:
            return layout_named(_PRINTED[technology], diameter_um=diameter, pitch_um=pitch)
        if diameter is not None and pitch is not None:
            return Layout("given", "given", diameter, pitch, "circle")
    except HypergeneError as reason:
        _warn(
            about,
            f"{path} cannot be right, so its layout is not used, and {_MPP_KEY}, which rests on "
            f"inter_spot_dist, is doubtful: {reason.message}",
        )
    return None


def _without_controls(adata: AnnData) -> AnnData:
    is_gene = np.array([not name.startswith(CONTROL_PREFIXES) for name in adata.var_names])
    if is_gene.all():
        return adata
    names = adata.var_names[~is_gene]
    controls = Counter(
        next(p for p in CONTROL_PREFIXES if name.startswith(p)).rstrip("_") for name in names
    )
    left_out = ", ".join(f"{number} {kind}" for kind, number in controls.items())
    adata = adata[:, is_gene].copy()
    adata.uns["hypergene"]["features_left_out"] = left_out
    return adata


def _warn(about: dict[str, Any], sentence: str) -> None:
    about.setdefault("warnings", []).append(sentence)
    _log.warning("%s", sentence)
