"""gzip in both directions, off the caller's thread: Intel's ISA-L through python-isal (ADR 12).

What comes out is ordinary gzip. While one thread compresses and seals, the other reads the server.
"""

import zlib
from typing import BinaryIO, cast

from isal import igzip_threaded

from sealwire.sidecars.backup.sealed.chunk_io import ChunkReader, ChunkWriter

# ISA-L's levels are 0 to 3. On dumps of encrypted collections, 3 saves 1 % more and takes twice as long.
LEVEL = 2
BLOCK_BYTES = 1 << 20
THREADS = 1

DECOMPRESSION_ERRORS = (EOFError, zlib.error, OSError)
"""What reading a gzip stream raises when it is none; BadGzipFile is an OSError."""


def compressor(target: ChunkWriter) -> BinaryIO:
    """Write into it; closing it ends the gzip stream in `target`, which stays open.

    An exception of `target.write` comes out of a later write, or of close. Memory: a few blocks.
    """
    return _open(target, "wb")


def decompressor(source: ChunkReader) -> BinaryIO:
    """Read from it. What `source` raises comes out of the read that would have needed the bytes."""
    return _open(source, "rb")


def _open(stream: ChunkWriter | ChunkReader, mode: str) -> BinaryIO:
    opened = igzip_threaded.open(  # type: ignore[no-untyped-call]
        stream, mode, compresslevel=LEVEL, threads=THREADS, block_size=BLOCK_BYTES
    )
    return cast(BinaryIO, opened)
