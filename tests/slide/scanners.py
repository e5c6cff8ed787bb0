"""Slides as the scanners' own software writes them, small enough for a test."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

_PHILIPS = """<?xml version="1.0" encoding="UTF-8" ?>
<DataObject ObjectType="DPUfsImport">
  <Attribute Name="DICOM_MANUFACTURER" Group="0x0008" Element="0x0070" PMSVR="IString">PHILIPS</Attribute>
  <Attribute Name="PIM_DP_SCANNED_IMAGES" Group="0x301D" Element="0x1003" PMSVR="IDataObjectArray">
    <Array>
      <DataObject ObjectType="DPScannedImage">
        <Attribute Name="PIM_DP_IMAGE_TYPE" Group="0x301D" Element="0x1004" PMSVR="IString">WSI</Attribute>
        <Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">&quot;{mm}&quot; &quot;{mm}&quot;</Attribute>
        <Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" Group="0x1001" Element="0x8B01" PMSVR="IDataObjectArray">
          <Array>
            <DataObject ObjectType="PixelDataRepresentation">
              <Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">&quot;{mm}&quot; &quot;{mm}&quot;</Attribute>
              <Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_NUMBER" Group="0x2001" Element="0x1002" PMSVR="IUInt16">0</Attribute>
            </DataObject>
          </Array>
        </Attribute>
      </DataObject>
    </Array>
  </Attribute>
</DataObject>
"""  # noqa: E501


_LEICA = """<?xml version="1.0"?>
<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">
  <collection name="slide" sizeX="{all_x}" sizeY="{all_y}">
    <image name="image">
      <creationDate>2020-01-01</creationDate>
      <device model="Leica SCN400" version="1.5" />
      <pixels sizeX="{width}" sizeY="{height}">
        <dimension sizeX="{width}" sizeY="{height}" r="0" ifd="0" />
      </pixels>
      <view sizeX="{x}" sizeY="{y}" offsetX="0" offsetY="0" spacingZ="0" />
      <scanSettings>
        <objectiveSettings><objective>20</objective></objectiveSettings>
        <illuminationSettings>
          <numericalAperture>0.4</numericalAperture>
          <illuminationSource>brightfield</illuminationSource>
        </illuminationSettings>
      </scanSettings>
    </image>
  </collection>
</scn>
"""

_VENTANA = """<EncodeInfo Ver="2">
  <SlideStitchInfo>
    <ImageInfo AOIScanned="1" AOIIndex="0" Width="{side}" Height="{side}" NumRows="2" NumCols="2"
      Pos-X="0" Pos-Y="0">
      <TileJointInfo FlagJoined="1" Confidence="100" Direction="RIGHT" Tile1="1" Tile2="2"
        OverlapX="0" OverlapY="0" />
      <TileJointInfo FlagJoined="1" Confidence="100" Direction="RIGHT" Tile1="4" Tile2="3"
        OverlapX="0" OverlapY="0" />
      <TileJointInfo FlagJoined="1" Confidence="100" Direction="UP" Tile1="2" Tile2="3"
        OverlapX="0" OverlapY="0" />
      <TileJointInfo FlagJoined="1" Confidence="100" Direction="UP" Tile1="1" Tile2="4"
        OverlapX="0" OverlapY="0" />
    </ImageInfo>
  </SlideStitchInfo>
  <AoiOrigin><AOI0 OriginX="0" OriginY="0" /></AoiOrigin>
</EncodeInfo>
"""

_JPEG_TILES: dict[str, Any] = {
    "photometric": "rgb",
    "tile": (128, 128),
    "compression": "jpeg",
    "compressionargs": {"level": 95},
    "metadata": None,
}


def hamamatsu_ndpi(path: Path, pixels: NDArray[np.uint8], mpp: tuple[float, float]) -> Path:
    """A Hamamatsu NDPI: one JPEG as one strip, offsets of 64 bits in a TIFF of 32.

    Parameters
    ----------
    mpp
        Microns per px along x and along y.
    """
    height, width = pixels.shape[:2]
    jpeg = imagecodecs.jpeg8_encode(pixels, 95, subsampling="444")
    first = 16
    ratios = first + len(jpeg)
    directory = ratios + 16
    inline = {
        256: ("I", width),
        257: ("I", height),
        258: ("H", 8),
        259: ("H", 7),  # JPEG
        262: ("H", 6),  # YCbCr
        273: ("I", first),
        277: ("H", 3),
        278: ("I", height),
        279: ("I", len(jpeg)),
        282: ("R", ratios),
        283: ("R", ratios + 8),
        296: ("H", 3),  # centimetres
        65420: ("I", 1),  # this is NDPI
        65421: ("f", 20.0),  # magnification of the lens
        65424: ("i", 0),  # focal plane
    }
    kinds = {"H": 3, "I": 4, "R": 5, "i": 9, "f": 11}
    entries = b"".join(
        struct.pack("<HHI", tag, kinds[kind], 1)
        + struct.pack("<I" if kind == "R" else f"<{kind}", value).ljust(4, b"\0")
        for tag, (kind, value) in inline.items()
    )
    path.write_bytes(
        b"II*\0"
        + struct.pack("<Q4x", directory)
        + jpeg
        + b"".join(struct.pack("<II", round(10_000_000 / um), 1000) for um in mpp)
        + struct.pack("<H", len(inline))
        + entries
        + bytes(8 + 4 * len(inline))  # no next directory; the upper halves of all values
    )
    return path


def hamamatsu_vms(path: Path, pixels: NDArray[np.uint8], mpp: tuple[float, float]) -> Path:
    """A Hamamatsu VMS: an index beside JPEG files with restart markers, in whole tiles of 64 px.

    Parameters
    ----------
    mpp
        Microns per px along x and along y.
    """
    height, width = pixels.shape[:2]
    for name, step in {"whole": 1, "map": 4}.items():
        Image.fromarray(pixels[::step, ::step]).save(
            path.with_name(f"{name}.jpg"), quality=95, subsampling=0, restart_marker_blocks=8
        )
    path.write_text(
        "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=1\nNoJpegRows=1\n"
        "ImageFile=whole.jpg\nMapFile=map.jpg\nMacroImage=map.jpg\nSourceLens=20\n"
        f"PhysicalWidth={width * mpp[0] * 1000:.0f}\nPhysicalHeight={height * mpp[1] * 1000:.0f}\n"
    )
    return path


def leica(path: Path, pixels: NDArray[np.uint8], mpp: float) -> Path:
    """A Leica SCN whose scan fills the top left quarter of what it calls the collection."""
    height, width = pixels.shape[:2]
    x, y = round(width * mpp * 1000), round(height * mpp * 1000)
    about = _LEICA.format(width=width, height=height, x=x, y=y, all_x=2 * x, all_y=2 * y)
    per_cm = (10_000 / mpp, 10_000 / mpp)
    options = {**_JPEG_TILES, "resolution": per_cm, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, bigtiff=True, description=about, **options)
    return path


def ventana(path: Path, pixels: NDArray[np.uint8], mpp: float) -> Path:
    """A Ventana BIF of two by two tiles that do not overlap; `pixels` are (256, 256, 3)."""
    xmp = 700
    scan = f'<iScan Z-layers="1" Magnification="20" ScanRes="{mpp}" UnitNumber="1" />'.encode()
    joints = _VENTANA.format(side=128).encode()
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        tif.write(
            np.ascontiguousarray(pixels[::2, ::2]),
            photometric="rgb",
            description="Label Image",
            extratags=[(xmp, 7, len(scan), scan, True)],
            metadata=None,
        )
        tif.write(
            pixels,
            description="level=0 mag=20 quality=95",
            extratags=[(xmp, 7, len(joints), joints, True)],
            **_JPEG_TILES,
        )
    return path


def trestle(path: Path, pixels: NDArray[np.uint8], mpp: tuple[float, float]) -> Path:
    """A Trestle TIFF, which writes microns per px (x, y) where TIFF has px per unit."""
    tifffile.imwrite(
        path,
        pixels,
        software="MedScan",
        description="Background Color=FFFFFF;Objective Power=20;OverlapsXY= 0 0;",
        resolution=tuple((round(um * 10_000), 10_000) for um in mpp),
        resolutionunit="NONE",
        **_JPEG_TILES,
    )
    return path


def philips(path: Path, pixels: NDArray[np.uint8], mpp: float) -> Path:
    """A Philips TIFF: JPEG tiles, and the resolution in XML only."""
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb",
        tile=(128, 128),
        compression="jpeg",
        compressionargs={"level": 95},
        description=_PHILIPS.format(mm=mpp / 1000),
        software="Philips DP v1.0",
        metadata=None,
    )
    return path


def aperio(path: Path, pixels: NDArray[np.uint8], mpp: float, compression: str) -> Path:
    """An Aperio SVS; `compression` is tifffile's name, e.g. ``"aperio_jp2000_rgb"``."""
    height, width = pixels.shape[:2]
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb",
        tile=(128, 128),
        compression=compression,
        description=f"Aperio Image Library v11\n{width}x{height} (128x128)|MPP = {mpp}",
        metadata=None,
    )
    return path


def dicom(folder: Path, pixels: NDArray[np.uint8], mpp: tuple[float, float]) -> Path:
    """A DICOM whole-slide image of one level, JPEG frames in full tiling; return its file.

    Parameters
    ----------
    mpp
        Microns per px along x and along y.
    """
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.sequence import Sequence
    from pydicom.uid import JPEGBaseline8Bit, generate_uid

    side = 128
    height, width = pixels.shape[:2]
    down, across = -(-height // side), -(-width // side)
    padded = np.full((down * side, across * side, 3), 255, np.uint8)
    padded[:height, :width] = pixels
    frames = [
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(padded[y : y + side, x : x + side]), 95, subsampling="444"
        )
        for y in range(0, down * side, side)
        for x in range(0, across * side, side)
    ]
    vl_whole_slide = "1.2.840.10008.5.1.4.1.1.77.1.6"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = vl_whole_slide
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    said = Dataset()
    said.file_meta = meta
    said.SOPClassUID = vl_whole_slide
    said.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    said.StudyInstanceUID, said.SeriesInstanceUID = generate_uid(), generate_uid()
    said.Modality = "SM"
    said.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    said.Rows = said.Columns = side
    said.TotalPixelMatrixRows, said.TotalPixelMatrixColumns = height, width
    said.NumberOfFrames = len(frames)
    said.SamplesPerPixel, said.PhotometricInterpretation = 3, "YBR_FULL_422"
    said.PlanarConfiguration, said.PixelRepresentation = 0, 0
    said.BitsAllocated = said.BitsStored = 8
    said.HighBit = 7
    said.DimensionOrganizationType = "TILED_FULL"
    said.TotalPixelMatrixFocalPlanes = 1
    said.NumberOfOpticalPaths = 1
    said.ImagedVolumeWidth, said.ImagedVolumeHeight = (
        width * mpp[0] / 1000,
        height * mpp[1] / 1000,
    )
    measures = Dataset()
    # DICOM says the distance between rows first.
    measures.PixelSpacing = [mpp[1] / 1000, mpp[0] / 1000]
    measures.SliceThickness = 0.001
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    said.SharedFunctionalGroupsSequence = Sequence([shared])
    said.PixelData = encapsulate(frames)
    said["PixelData"].VR = "OB"
    path = folder / "slide.dcm"
    pydicom.dcmwrite(path, said, enforce_file_format=True)
    return path
