"""10x count matrices: the HDF5 files and Matrix Market folders of Cell Ranger and Space Ranger.

Both store features x barcodes, barcode by barcode. ``scanpy.read_10x_h5`` and ``read_10x_mtx`` read
them too, but hold the whole matrix (gigabytes, of 2 µm bins), let pass indices beyond the features
and values that are no counts, and answer a damaged file with a traceback of h5py; nor is scanpy a
dependency of hypergene. Here the matrix is streamed in blocks, which are checked and summed over
groups of barcodes as they come.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from hypergene.errors import DataError, first_line
from hypergene.st.normalise import check_counts
from hypergene.st.table import read_lines, separator_in, stream_lines

GENES = "Gene Expression"
"""The type of the features that are kept; antibodies and controls are counted and left out."""

MTX = re.compile(r"(?P<prefix>.*?)matrix\.mtx(\.gz)?")
"""Name of the values of a Matrix Market folder; uploads carry the sample's name in front."""

_BARCODES = ("barcodes.tsv.gz", "barcodes.tsv")
_FEATURES = ("features.tsv.gz", "features.tsv", "genes.tsv.gz", "genes.tsv")
_COPY_AGAIN = "Copy or download it again."

_BLOCK = 8_000_000
"""Stored values that are in memory at a time."""

_MOST_DEFLATED = 1032
"""A byte of deflate holds at most this many: an array that claims more is a damaged header."""

_LARGEST = int(np.iinfo(np.int32).max)

Blocks = Iterator[tuple[int, sparse.csr_matrix]]


@dataclass(frozen=True, eq=False)
class TenxMatrix:
    """A count matrix on disk; its genes and barcodes are in memory.

    Attributes
    ----------
    path
        The file that holds the values.
    barcodes
        bytes (n,), as the file has them, such as ``AAACAAGTATCTCCCA-1``; not checked for twins.
    symbols, ids
        One a gene, in the file's order: the features of type "Gene Expression" (all of them in
        files of Cell Ranger 2, which have no types).
    left_out
        Number of the other features by type.
    blocks
        Opens the file and yields (number of the first barcode, int32 CSR (barcodes of the block,
        genes)); blocks may overlap, their values add up.
    """

    path: Path
    barcodes: npt.NDArray[np.bytes_]
    symbols: list[str]
    ids: list[str]
    left_out: dict[str, int]
    blocks: Callable[[], Blocks]

    def left_out_text(self) -> str:
        """Say how many features are no genes: ``"31 Antibody Capture"``; empty without any."""
        return ", ".join(f"{number} {kind}" for kind, number in self.left_out.items())

    def counts(self) -> sparse.csr_matrix:
        """Read all counts, int32 CSR (n, genes); raise as :meth:`summed`."""
        return self.summed(np.arange(len(self.barcodes)), len(self.barcodes))

    def summed(self, group: npt.NDArray[np.int64], groups: int) -> sparse.csr_matrix:
        """Sum the counts of the barcodes of each group, block by block.

        Parameters
        ----------
        group
            int64 (n,): which group a barcode belongs to, -1 for none.
        groups
            How many groups there are.

        Returns
        -------
        scipy.sparse.csr_matrix
            int32, shape (groups, genes), no stored zeros, sorted indices.

        Raises
        ------
        DataError
            If the file is damaged, or holds values that are no counts or too large for int32.
        """
        total = sparse.csr_matrix((groups, len(self.symbols)), dtype=np.int32)
        for first, block in self.blocks():
            to = group[first : first + block.shape[0]]
            taken = np.flatnonzero(to >= 0)
            pool = sparse.csr_matrix(
                (np.ones(taken.size, dtype=np.int64), (to[taken], taken)),
                shape=(groups, block.shape[0]),
            )
            total = total + pool @ block
            if total.nnz and total.data.max() > _LARGEST:
                raise DataError(f"{self.path} holds values too large for counts.", hint=_COPY_AGAIN)
            total.data = total.data.astype(np.int32)
        total.sort_indices()
        return total


def as_text(barcodes: npt.NDArray[np.bytes_]) -> list[str]:
    """Return barcodes as text; bytes that are no UTF-8 are written as hexadecimal."""
    return [barcode.decode(errors="backslashreplace") for barcode in barcodes.tolist()]


def open_matrix(path: Path) -> TenxMatrix:
    """Open a 10x count matrix: HDF5, or by its name the values of a Matrix Market folder.

    Parameters
    ----------
    path
        ``filtered_feature_bc_matrix.h5``, ``matrix.mtx.gz`` or ``matrix.mtx``, with any prefix.
        Barcodes and features of the latter lie beside it, with the same prefix.

    Returns
    -------
    TenxMatrix
        With at least one barcode and one gene.

    Raises
    ------
    DataError
        No such file; neither of the two; damaged, incomplete or inconsistent; no genes.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}.", hint="Check the path.")
    matrix = _open_mtx(path) if MTX.fullmatch(path.name) else _open_h5(path)
    if not matrix.symbols:
        raise DataError(
            f"{path} has no features of type '{GENES}' "
            f"(found: {matrix.left_out_text() or 'none'}).",
            hint="Give the matrix of a gene expression run.",
        )
    if not len(matrix.barcodes):
        raise DataError(f"{path} has no barcodes.", hint="Was any spot found under the tissue?")
    return matrix


def _open_h5(path: Path) -> TenxMatrix:
    with _reading(path), h5py.File(path, "r") as file:
        group, features = _groups(file, path)
        untyped = features == group  # Cell Ranger 2 has its genes beside the values
        ids = _texts(features, "genes" if untyped else "id", path)
        symbols = _texts(features, "gene_names" if untyped else "name", path)
        kinds = [GENES] * len(ids) if untyped else _texts(features, "feature_type", path)
        values = _dataset(group, "barcodes", path)[()]
        if values.dtype.kind == "O":
            values = np.array([bytes(value) for value in values])
        barcodes = values.astype(np.bytes_)
        indptr, shape = (
            _whole(group, name, path)[()].astype(np.int64) for name in ("indptr", "shape")
        )
        stored = [_dataset(group, "data", path).size, _whole(group, "indices", path).size]
        place = group.name
    if not len(symbols) == len(kinds) == len(ids) or shape.tolist() != [len(ids), len(barcodes)]:
        raise DataError(
            f"{path} says that it is {' x '.join(map(str, shape))} (features x barcodes), but has "
            f"{len(ids)} ids, {len(symbols)} names, {len(kinds)} types and {len(barcodes)} "
            "barcodes.",
            hint=_COPY_AGAIN,
        )
    divides = len(indptr) == len(barcodes) + 1 and indptr[0] == 0 and (np.diff(indptr) >= 0).all()
    if not divides or indptr[-1] != stored[0] or stored[0] != stored[1]:
        raise DataError(
            f"{path} has an indptr that does not divide its {stored[0]} values and {stored[1]} "
            f"indices among {len(barcodes)} barcodes.",
            hint=_COPY_AGAIN,
        )
    genes, left_out = _genes(kinds)

    def blocks() -> Blocks:
        with _reading(path), h5py.File(path, "r") as file:
            data, indices = file[place]["data"], file[place]["indices"]
            first = 0
            while first < len(barcodes):
                reach = np.searchsorted(indptr, indptr[first] + _BLOCK, side="right")
                end = max(first + 1, int(reach) - 1)
                part = slice(int(indptr[first]), int(indptr[end]))
                block = sparse.csr_matrix(
                    (
                        data[part],
                        indices[part].astype(np.int64),
                        indptr[first : end + 1] - part.start,
                    ),
                    shape=(end - first, len(kinds)),
                )
                block = check_counts(block, str(path))
                yield first, block[:, genes] if left_out else block
                first = end

    symbols, ids = [symbols[i] for i in genes], [ids[i] for i in genes]
    return TenxMatrix(path, barcodes, symbols, ids, left_out, blocks)


def _groups(file: h5py.File, path: Path) -> tuple[h5py.Group, h5py.Group]:
    """Return the groups of values and of features; files of Cell Ranger 2 have them in one."""
    group = file.get("matrix")
    if isinstance(group, h5py.Group) and isinstance(group.get("features"), h5py.Group):
        return group, group["features"]
    genomes = [
        name
        for name, item in file.items()
        if isinstance(item, h5py.Group) and "gene_names" in item and "barcodes" in item
    ]
    if len(genomes) > 1:
        raise DataError(
            f"{path} holds one matrix a genome ({', '.join(genomes)}).",
            hint="Write the one that is meant to a file of its own.",
        )
    if not genomes:
        raise DataError(
            f"{path} is no 10x count matrix: it has no group matrix/features "
            f"(found: {', '.join(islice(file, 8)) or 'nothing'}).",
            hint="Give filtered_feature_bc_matrix.h5.",
        )
    return file[genomes[0]], file[genomes[0]]


def _dataset(group: h5py.Group, name: str, path: Path) -> h5py.Dataset:
    item = group.get(name)
    if not isinstance(item, h5py.Dataset):
        raise DataError(f"{path} has no dataset {group.name}/{name}.", hint=_COPY_AGAIN)
    stored = item.id.get_storage_size()
    if item.ndim != 1 or item.size > _MOST_DEFLATED * stored:
        raise DataError(
            f"{path} has {group.name}/{name} of shape {item.shape} in {stored} bytes.",
            hint=f"The file is damaged or was cut off. {_COPY_AGAIN}",
        )
    return item


def _whole(group: h5py.Group, name: str, path: Path) -> h5py.Dataset:
    item = _dataset(group, name, path)
    if item.dtype.kind not in "iu":
        raise DataError(f"{path} has no integers in {group.name}/{name}.", hint=_COPY_AGAIN)
    return item


def _texts(group: h5py.Group, name: str, path: Path) -> list[str]:
    return [str(text) for text in _dataset(group, name, path).asstr()[()]]


def _open_mtx(path: Path) -> TenxMatrix:
    prefix = path.name[: path.name.rindex("matrix.mtx")]
    barcode_file, feature_file = (_beside(path, prefix, names) for names in (_BARCODES, _FEATURES))
    names = [line.split("\t", 1)[0].strip() for line in read_lines(barcode_file)]
    barcodes = np.array([name.encode() for name in names])
    ids, symbols, kinds = _read_features(feature_file)
    header, sizes = _read_header(path)
    if sizes[:2] != [len(ids), len(names)]:
        raise DataError(
            f"{path} is of {sizes[0]} features x {sizes[1]} barcodes, but {feature_file} has "
            f"{len(ids)} lines and {barcode_file} has {len(names)}.",
            hint="The three files must be of one folder.",
        )
    genes, left_out = _genes(kinds)

    def blocks() -> Blocks:
        found = 0
        with _reading(path):
            for values in _read_triplets(path, header) if sizes[2] else ():
                found += len(values)
                at = (values[1].to_numpy() - 1, values[0].to_numpy() - 1)
                block = sparse.csr_matrix((values[2].to_numpy(), at), (len(names), len(ids)))
                block = check_counts(block, str(path))
                yield 0, block[:, genes] if left_out else block
        if found != sizes[2]:
            raise DataError(
                f"{path} holds {found} values, but its header says {sizes[2]}.",
                hint=f"It is cut off or damaged. {_COPY_AGAIN}",
            )

    symbols, ids_of_genes = [symbols[i] for i in genes], [ids[i] for i in genes]
    return TenxMatrix(path, barcodes, symbols, ids_of_genes, left_out, blocks)


def _beside(path: Path, prefix: str, names: tuple[str, ...]) -> Path:
    for name in names:
        if (path.parent / (prefix + name)).is_file():
            return path.parent / (prefix + name)
    raise DataError(
        f"There is no {' or '.join(prefix + name for name in names)} beside {path}.",
        hint="A Matrix Market folder holds matrix.mtx, barcodes.tsv and features.tsv.",
    )


def _read_features(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Return ids, symbols and types; the genes.tsv of Cell Ranger 2 has no types."""
    rows = [[cell.strip() for cell in line.split("\t")] for line in read_lines(path)]
    typed = len(rows[0]) > 2
    for number, row in enumerate(rows, start=1):
        if len(row) < 2 + typed or not row[1]:
            other = separator_in(row[0]) if len(row) == 1 else None
            raise DataError(
                f"{path} has no {'type' if len(row) == 2 else 'gene name'} on line {number}"
                + (f": its cells are separated by {other}." if other else "."),
                hint="A line is an identifier, a name and mostly a type, separated by tabs.",
            )
    kinds = [row[2] if typed else GENES for row in rows]
    return [row[0] for row in rows], [row[1] for row in rows], kinds


def _read_header(path: Path) -> tuple[int, list[int]]:
    """Return the number of lines before the values, and how many features, barcodes, values."""
    with closing(stream_lines(path)) as lines:
        banner = next(lines)
        words = banner.lower().split()
        if words[:3] != ["%%matrixmarket", "matrix", "coordinate"] or words[3:] not in (
            ["integer", "general"],
            ["real", "general"],
        ):
            raise DataError(
                f"{path} is no Matrix Market file of counts: it begins with {banner[:60]!r}.",
                hint="It must begin with '%%MatrixMarket matrix coordinate integer general'.",
            )
        for number, line in enumerate(lines, start=2):
            if line.strip() and not line.startswith("%"):
                sizes = [int(word) if word.isdecimal() else -1 for word in line[:200].split()]
                if len(sizes) == 3 and min(sizes) >= 0:
                    return number, sizes
                break
    raise DataError(
        f"{path} does not say how many features, barcodes and values it has.", hint=_COPY_AGAIN
    )


def _read_triplets(path: Path, header: int) -> Iterator[pd.DataFrame]:
    """Yield feature (from 1), barcode (from 1) and value of at most `_BLOCK` lines at a time."""
    with path.open("rb") as file:
        compression = "gzip" if file.read(2) == b"\x1f\x8b" else None
    with pd.read_csv(
        path,
        sep=r"\s+",
        header=None,
        skiprows=header,
        dtype={0: np.int64, 1: np.int64, 2: np.float64},
        chunksize=_BLOCK,
        quoting=csv.QUOTE_NONE,
        compression=compression,
    ) as chunks:
        for chunk in chunks:
            if chunk.shape[1] != 3:
                raise ValueError(f"lines of {chunk.shape[1]} numbers where 3 are needed")
            yield chunk


def _genes(kinds: list[str]) -> tuple[npt.NDArray[np.int64], dict[str, int]]:
    """Return the places of the genes among the features, and the number of others by type."""
    genes = np.flatnonzero(np.array(kinds, dtype=object) == GENES)
    return genes, dict(Counter(kind for kind in kinds if kind != GENES))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a library throws at a damaged file into one sentence."""
    try:
        yield
    except DataError:
        raise
    except Exception as reason:  # h5py, zlib, pandas and scipy fail in many ways
        line = first_line(reason)
        raise DataError(
            f"{path} cannot be read as a 10x count matrix: {line}.",
            hint=f"Is it whole? {_COPY_AGAIN}",
        ) from None
