"""Files of a run folder that were packed once nothing is written into them any more: ``NAME.gz`` instead of ``NAME``.

Whoever reads evidence opens it here by its own name and sees the same bytes either way, at any place. A packed file is
an ordinary gzip file (RFC 1952: ``zcat`` and ``gunzip`` read it) of members of BLOCK_BYTES each; the extra field of a
member's header says how long the member is, so that a reader finds every block without unpacking those before it. Every
block is held against its checksum as it is read: what is damaged raises OSError, and never gives other bytes.
"""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from array import array
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PACKED_SUFFIX: Final = ".gz"
BLOCK_BYTES: Final = 64 * 1024
"""What has to be unpacked to read one byte."""
KEPT_BLOCKS: Final = 8
"""So many unpacked blocks are kept: whoever goes through a file reads no block twice."""
LEVEL: Final = 6
"""Of zlib: packs 40 to 80 MB/s of what a run leaves into a tenth (2 cores, measured)."""
BUFFER_BYTES: Final = 64 * 1024

_HEADER: Final = struct.Struct("<10sH2sHI")
_BEGINS: Final = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"
"""Gzip, deflated, with an extra field; no time, no operating system."""
_EXTRA_BYTES: Final = 8
_FIELD: Final = b"SF"
_TRAILER: Final = struct.Struct("<II")


def packed_path(path: Path) -> Path:
    """Where a file of this name lies once it is packed."""
    return path.with_name(path.name + PACKED_SUFFIX)


def open_evidence(path: Path) -> io.BufferedReader:
    """The bytes of a file, packed or not; raises OSError. Of two the one that is not packed counts."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        if not packed_path(path).exists():
            raise
    return io.BufferedReader(PackedFile(packed_path(path)), BUFFER_BYTES)


def read_evidence(path: Path) -> bytes:
    """All bytes of a file, packed or not; raises OSError."""
    with open_evidence(path) as file:
        return file.read()


def evidence_bytes(path: Path) -> int:
    """How long a file is, or was before it was packed; raises OSError."""
    with open_evidence(path) as file:
        return file.seek(0, os.SEEK_END)


def has_evidence(path: Path) -> bool:
    """Whether there is such a file, packed or not."""
    return path.is_file() or packed_path(path).is_file()


def pack(path: Path, packed: Path) -> None:
    """Write a packed copy of a file; raises OSError."""
    with path.open("rb") as source, packed.open("wb") as target:
        block = source.read(BLOCK_BYTES)
        target.write(_member(block))
        while block := source.read(BLOCK_BYTES):
            target.write(_member(block))


def _member(block: bytes) -> bytes:
    deflating = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflating.compress(block) + deflating.flush()
    size_bytes = _HEADER.size + len(body) + _TRAILER.size
    header = _HEADER.pack(_BEGINS, _EXTRA_BYTES, _FIELD, 4, size_bytes)
    return header + body + _TRAILER.pack(zlib.crc32(block), len(block))


class PackedFile(io.RawIOBase):
    """The unpacked bytes of a packed file; raises OSError for what is none, or is damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb")
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        try:
            self._starts = self._find_members()
            self.size_bytes = (len(self._starts) - 2) * BLOCK_BYTES + self._last_block_bytes()
        except BaseException:
            self._file.close()
            raise

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        number, within = divmod(self._position, BLOCK_BYTES)
        if self._position >= self.size_bytes:
            return 0
        view = memoryview(buffer).cast("B")
        found = self._block(number)[within : within + len(view)]
        view[: len(found)] = found
        self._position += len(found)
        return len(found)

    def readall(self) -> bytes:
        """The rest, block by block."""
        first, within = divmod(min(self._position, self.size_bytes), BLOCK_BYTES)
        rest = [self._unpacked(number) for number in range(first, len(self._starts) - 1)]
        self._position = self.size_bytes
        return b"".join(rest)[within:]

    def close(self) -> None:
        self._file.close()
        super().close()

    def _find_members(self) -> array[int]:
        """Where members begin, and behind the last one the end of the file."""
        end = self._file.seek(0, os.SEEK_END)
        starts = array("q", [0])
        while not (len(starts) > 1 and starts[-1] == end):
            self._file.seek(starts[-1])
            header = self._file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                raise self._damaged(starts[-1])
            begins, extra_bytes, field, field_bytes, size_bytes = _HEADER.unpack(header)
            known = (begins, extra_bytes, field, field_bytes) == (_BEGINS, _EXTRA_BYTES, _FIELD, 4)
            if not known or size_bytes < _HEADER.size + _TRAILER.size or starts[-1] + size_bytes > end:
                raise self._damaged(starts[-1])
            starts.append(starts[-1] + size_bytes)
        return starts

    def _last_block_bytes(self) -> int:
        self._file.seek(self._starts[-1] - _TRAILER.size)
        _, length = _TRAILER.unpack(self._file.read(_TRAILER.size))
        if length > BLOCK_BYTES:
            raise self._damaged(self._starts[-2])
        return int(length)

    def _block(self, number: int) -> bytes:
        known = self._blocks.get(number)
        if known is None:
            known = self._blocks[number] = self._unpacked(number)
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return known

    def _unpacked(self, number: int) -> bytes:
        start, end = self._starts[number], self._starts[number + 1]
        self._file.seek(start + _HEADER.size)
        body = self._file.read(end - start - _HEADER.size - _TRAILER.size)
        checksum, length = _TRAILER.unpack(self._file.read(_TRAILER.size))
        inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            block = inflating.decompress(body, BLOCK_BYTES + 1)
        except zlib.error:
            raise self._damaged(start) from None
        whole = length == len(block) and (length == BLOCK_BYTES or number == len(self._starts) - 2)
        if not whole or not inflating.eof or zlib.crc32(block) != checksum:
            raise self._damaged(start)
        return block

    def _damaged(self, offset: int) -> OSError:
        return OSError(errno.EIO, f"it is damaged, or not packed by us, at byte {offset:,}", str(self._path))
