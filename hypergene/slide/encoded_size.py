"""How large a picture an encoded tile claims to be, read from its first bytes.

Decoders allocate what the header claims before they look at the data: a tile of 100 bytes can ask
for 12 GB.
"""

from __future__ import annotations

import struct

_JPEG = b"\xff\xd8"
#: Start of frame, of all kinds of JPEG: C0..CF but the tables C4 (Huffman), C8 and CC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Markers that stand alone: restarts, start of image, and a byte for temporary use.
_BARE = frozenset(range(0xD0, 0xD9)) | {0x01}
#: Start of a JPEG 2000 code stream and its size segment, at once or after the boxes of a JP2.
_JPEG2000 = b"\xff\x4f\xff\x51"
_BOXES = 4096


def encoded_size(data: bytes) -> tuple[int, int] | None:
    """Find the (width, height) in px that a JPEG, JPEG 2000 or WebP claims; None for all else.

    Sources: ITU-T T.81, table B.1 and B.2.2; ITU-T T.800, A.5.1; RFC 9649, section 2.
    """
    if data.startswith(_JPEG):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    start = data.find(_JPEG2000, 0, _BOXES)
    if start >= 0 and len(data) >= start + 24:
        right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
        return right - left, bottom - top
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _BARE:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        width, height = (int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
        return width + 1, height + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None
