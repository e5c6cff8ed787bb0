"""Slides as the scanners' own software writes them, small enough for a test."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

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
