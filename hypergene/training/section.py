"""One training section: its tiles, its expression and who is next to whom."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from hypergene.features.cache import ArrayCache, array_fingerprint, file_fingerprint
from hypergene.features.context import Context, context_spots, vicinity
from hypergene.features.encode import encode_spots, encode_tiles
from hypergene.model.config import EncoderConfig, ModelConfig
from hypergene.model.encoder import TileEncoder
from hypergene.slide import Slide, find_tissue, read_tiles
from hypergene.slide.spectrum import tissue_spectrum
from hypergene.slide.stain import stain_vectors
from hypergene.spots import Layout, Nearest, Spots, rings
from hypergene.st import check_inside, open_image
from hypergene.st.pitch import pitch_contradicts
from hypergene.training.augment import MARGIN
from hypergene.training.expression import Expression, Measured, average_with
from hypergene.training.views import Views, encode_views

log = logging.getLogger(__name__)

Tiles = NDArray[np.uint8]
CACHE_VERSION = 2
_BATCH = 128


class SectionTiles(NamedTuple):
    """Tiles of a section, uint8.

    Attributes
    ----------
    spots
        (n, crops, px, px, 3), exactly as prediction reads them.
    wide
        The same, `MARGIN` times wider, to cut random views from.
    context
        (m, crops, px, px, 3) of the context lattice.
    """

    spots: Tiles
    wide: Tiles
    context: Tiles


@dataclass(frozen=True, eq=False)
class FrozenEncoder:
    """An encoder that is not trained, and the device it runs on."""

    encoder: TileEncoder
    device: torch.device

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of all weights; taken once, since a foundation encoder has gigabytes."""
        digest = hashlib.sha256()
        for weights in self.encoder.state_dict().values():
            digest.update(array_fingerprint(weights.float().cpu().numpy()).encode())
        return digest.hexdigest()


class SectionFeatures(NamedTuple):
    """Features of a section by a frozen encoder, float32.

    Attributes
    ----------
    spots
        (n, features), of the tiles as they are: what prediction sees.
    context
        (m, features), of the context lattice.
    views
        (v, n, features), of v further views of the spots to train on; None = none.
    """

    spots: NDArray[np.float32]
    context: NDArray[np.float32]
    views: NDArray[np.float32] | None = None

    def drawn(self, rows: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.float32]:
        """Features (b, features) of spots, of a view drawn for each of them."""
        features = np.array(self.spots[rows])
        if self.views is not None:
            number = torch.randint(len(self.views) + 1, (len(rows),), generator=generator)
            view = number.numpy() - 1
            other = view >= 0
            features[other] = self.views[view[other], rows[other]]
        return features


@dataclass(frozen=True, eq=False)
class Section:
    """A section as the trainer sees it: n measured spots, m spots of context.

    Attributes
    ----------
    name, patient
        The sample and whose it is.
    xy_um
        (n, 2) float64, spot centres in µm.
    expression
        log1p CP10k of the model's genes, and all counts; read from disk when asked for.
    log_depth
        (n,) float64, log of the total counts over all genes measured.
    context_xy_um
        (m, 2) float64, centres of the context lattice in µm.
    rings
        One (n, m) CSR a ring: averages the context around each spot.
    neighbours
        (n, n) CSR, averages a spot and the measured spots of its first ring: the gene niche.
    images
        Tiles for an encoder in training, or features of a frozen one.
    nearest
        Single neighbours of each spot in the context; None where the model reads rings alone.
    stains
        (2, 3) float64, the slide's dyes, see :func:`hypergene.slide.stain.stain_vectors`; None
        where there is too little tissue.
    spectrum
        (BANDS,) float64, the slide's fine structure, see
        :func:`hypergene.slide.spectrum.tissue_spectrum`; None likewise.
    """

    name: str
    patient: str | None
    xy_um: NDArray[np.float64]
    expression: Expression
    log_depth: NDArray[np.float64]
    context_xy_um: NDArray[np.float64]
    rings: tuple[sparse.csr_matrix, ...]
    neighbours: sparse.csr_matrix
    images: SectionTiles | SectionFeatures
    nearest: Nearest | None = None
    stains: NDArray[np.float64] | None = None
    spectrum: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Return the number of measured spots."""
        return len(self.xy_um)

    def encode(
        self, encoder: TileEncoder, config: ModelConfig, device: torch.device
    ) -> tuple[NDArray[np.float32], Context]:
        """Slide-centred features (n, features) and the context, as prediction makes them."""
        images = self.images
        if isinstance(images, SectionTiles):
            images = SectionFeatures(
                _encode(encoder, images.spots, device), _encode(encoder, images.context, device)
            )
        context = Context.of(self.context_xy_um, images.context, config)
        return images.spots - context.mean, context


def prepare_section(
    measured: Measured,
    columns: NDArray[np.int64],
    config: ModelConfig,
    cache: ArrayCache,
    *,
    frozen: FrozenEncoder | None = None,
    views: Views | None = None,
    mpp: float | None = None,
    workers: int = 2,
) -> Section:
    """Open a sample's slide and gather what training needs of it.

    Parameters
    ----------
    measured
        The sample's data.
    columns
        (genes,) where the model's genes are in its tables. One that this sample did not measure
        (-1) is taken at the mean (zero after centring) and never scored.
    config
        The model to be trained.
    cache
        Where tiles or features are kept between runs.
    frozen
        An encoder that will not be trained: its features are kept, no tiles.
    views
        Views of the spots to keep beside the untouched one, with a frozen encoder.
    mpp
        Microns per pixel, where neither sample nor slide says.
    workers
        Reading threads.

    Raises
    ------
    HypergeneError
        Whatever is wrong with slide or data, in one sentence.
    """
    sample = measured.sample
    with open_image(sample, measured, mpp=mpp) as slide:
        spots = _spots(measured, slide, config)
        check_inside(spots, slide.dimensions, sample.data)
        _check_pitch(measured.uns["hypergene"], slide)
        tissue = find_tissue(slide)
        context = context_spots(slide, tissue, config)
        stains, spectrum = stain_vectors(slide, tissue), tissue_spectrum(slide, tissue)
        images: SectionTiles | SectionFeatures
        if frozen is None:
            images = _tiles(cache, slide, spots, context, config.encoder, workers)
        else:
            run = partial(_cached_features, cache, slide, frozen, config.encoder, workers)
            images = SectionFeatures(run(spots), run(context))
            if views is not None and views.count > 1:
                further = _cached_views(cache, slide, frozen, config.encoder, workers, spots, views)
                images = images._replace(views=further)
        for warning in slide.warnings:
            log.warning("%s: %s", slide.path.name, warning)
    near = rings(spots.xy_um, spots.xy_um, (0.0, config.ring_edges_um[1]))[0]
    seen = vicinity(spots.xy_um, context.xy_um, config)
    return Section(
        name=sample.sample,
        patient=sample.patient,
        xy_um=spots.xy_um,
        expression=measured.expression(columns),
        log_depth=np.log(measured.obs["total_counts"].to_numpy(np.float64)),
        context_xy_um=context.xy_um,
        rings=seen.rings,
        neighbours=average_with(near),
        images=images,
        nearest=seen.nearest,
        stains=stains,
        spectrum=spectrum,
    )


def _spots(measured: Measured, slide: Slide, config: ModelConfig) -> Spots:
    return Spots(
        xy_px=measured.xy_px,
        array_row=measured.obs["array_row"].to_numpy(np.int32),
        array_col=measured.obs["array_col"].to_numpy(np.int32),
        names=measured.obs.index.to_numpy(str),
        layout=Layout(**config.layout.model_dump()),
        mpp=(slide.mpp.x, slide.mpp.y),
    )


def _check_pitch(about: dict[str, Any], slide: Slide) -> None:
    """Warn if the pitch contradicts the slide's mpp; a sheet's or the data's was read before."""
    mpp = (slide.mpp.x + slide.mpp.y) / 2
    known = "mpp" in about and math.isclose(float(np.mean(about["mpp"])), mpp)
    if known or "layout" not in about or not about.get("pitch_px"):
        return
    said = pitch_contradicts(about["pitch_px"], about["layout"]["pitch_um"], mpp, slide.mpp.source)
    slide.warnings += [] if said is None else [said]


def _tiles(
    cache: ArrayCache,
    slide: Slide,
    spots: Spots,
    context: Spots,
    encoder: EncoderConfig,
    workers: int,
) -> SectionTiles:
    """Tiles from the cache, or from the slide."""
    wide_px = math.ceil(encoder.tile_px * MARGIN)

    def read(where: Spots, size_px: int) -> Tiles:
        widths = tuple(um * size_px / encoder.tile_px for um in encoder.tile_um)
        tiles = np.empty((len(where), len(widths), size_px, size_px, 3), np.uint8)
        for crop, um in enumerate(widths):
            for rows, batch in read_tiles(
                slide, where.xy_px, width_um=um, size_px=size_px, workers=workers
            ):
                tiles[rows, crop] = batch
        return tiles

    def cached(where: Spots, size_px: int) -> Tiles:
        key = _key("tiles", slide, where, tile_um=encoder.tile_um, tile_px=encoder.tile_px)
        entry = cache.get(key | {"size_px": size_px}, lambda: {"tiles": read(where, size_px)})
        return entry.mapped("tiles")

    px = encoder.tile_px
    return SectionTiles(cached(spots, px), cached(spots, wide_px), cached(context, px))


def _cached_features(
    cache: ArrayCache,
    slide: Slide,
    frozen: FrozenEncoder,
    config: EncoderConfig,
    workers: int,
    spots: Spots,
) -> NDArray[np.float32]:
    """Features (n, features) of a frozen encoder, from the cache or from the slide."""
    key = _encoded_key("features", slide, spots, frozen, config)

    def compute() -> dict[str, NDArray[np.float32]]:
        encoding = encode_spots(
            slide,
            spots.xy_px,
            frozen.encoder.to(frozen.device).eval(),
            tile_um=config.tile_um,
            tile_px=config.tile_px,
            device=frozen.device,
            workers=workers,
        )
        return {"features": encoding.features}

    return cache.get(key, compute).mapped("features")


def _cached_views(
    cache: ArrayCache,
    slide: Slide,
    frozen: FrozenEncoder,
    config: EncoderConfig,
    workers: int,
    spots: Spots,
    views: Views,
) -> NDArray[np.float32]:
    """Features (v, n, features) of further views, from the cache or from the slide."""
    key = _encoded_key("views", slide, spots, frozen, config) | {"views": asdict(views)}

    def compute() -> dict[str, NDArray[np.float32]]:
        encoder = frozen.encoder.to(frozen.device).eval()
        encoded = encode_views(
            slide, spots.xy_px, encoder, config, views, device=frozen.device, workers=workers
        )
        return {"views": encoded}

    return cache.get(key, compute).mapped("views")


def _encoded_key(
    what: str, slide: Slide, spots: Spots, frozen: FrozenEncoder, config: EncoderConfig
) -> dict[str, Any]:
    """Everything that features depend on; not what the encoder is called, or where it lay."""
    names = {"name", "source", "licence"}
    network = config.model_dump(mode="json", exclude=names)
    return _key(what, slide, spots, encoder=network) | {"weights": frozen.fingerprint}


def _key(what: str, slide: Slide, spots: Spots, **more: Any) -> dict[str, Any]:
    """Everything an array cut from a slide depends on."""
    return {
        "what": what,
        "version": CACHE_VERSION,
        "slide": file_fingerprint(slide.path),
        "mpp": [slide.mpp.x, slide.mpp.y],
        "spots": array_fingerprint(spots.xy_px),
        **more,
    }


def _encode(encoder: TileEncoder, tiles: Tiles, device: torch.device) -> NDArray[np.float32]:
    parts = [
        encode_tiles(encoder, np.array(tiles[start : start + _BATCH]), device)
        for start in range(0, len(tiles), _BATCH)
    ]
    return np.concatenate(parts)
