"""PNG files byte by byte, for what Pillow does not write: 16-bit colours, greys of few bits, a colour that is transparent.

Not here: tests.
"""

import struct
import zlib


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(width, height, depth, colours, rows, transparent=None):
    """A file: depth in bits, colours 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA; rows each behind a zero byte."""
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))]
    if transparent is not None:
        parts.append(chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    return b"".join([b"\x89PNG\r\n\x1a\n", *parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])
