"""A packed file gives the same bytes at the same places as the file itself, and what is damaged gives none."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefleet.verdict import packed_file
from storefleet.verdict.packed_file import evidence_bytes, has_evidence, open_evidence, pack, packed_path, read_evidence

BLOCK = 64
SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 10 * BLOCK + 7]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a short file has many."""
    monkeypatch.setattr(packed_file, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(packed_file, "KEPT_BLOCKS", 2)
    monkeypatch.setattr(packed_file, "BUFFER_BYTES", 16)


def text(size: int) -> bytes:
    """So many bytes in lines of different lengths."""
    drawn = random.Random(size)
    lines = (bytes(drawn.choices(b"abc123", k=drawn.randrange(40))) + b"\n" for _ in range(size))
    return b"".join(lines)[:size]


def packed_only(folder: Path, content: bytes) -> Path:
    """The name of a file of which only the packed one is there."""
    path = folder / "file.jsonl"
    path.write_bytes(content)
    pack(path, packed_path(path))
    path.unlink()
    return path


@pytest.mark.parametrize("size", SIZES)
def test_the_same_bytes_by_every_way_of_reading(tmp_path: Path, size: int) -> None:
    """Whole, by line, and for any gzip reader, the machine's own among them."""
    content = text(size)
    path = packed_only(tmp_path, content)
    assert has_evidence(path)
    assert read_evidence(path) == content
    assert evidence_bytes(path) == size
    with open_evidence(path) as file:
        assert list(file) == content.splitlines(keepends=True)
    assert gzip.decompress(packed_path(path).read_bytes()) == content
    assert subprocess.run(["gzip", "-dc", packed_path(path)], check=True, capture_output=True).stdout == content


@given(places=st.lists(st.tuples(st.integers(0, 11 * BLOCK), st.integers(0, 3 * BLOCK)), max_size=12))
def test_the_same_bytes_at_every_place(tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int]]) -> None:
    """Forwards, backwards, over the borders of blocks and behind the end."""
    content = text(SIZES[-1])
    path = packed_only(tmp_path_factory.mktemp("packed"), content)
    with open_evidence(path) as file:
        for offset, length in places:
            file.seek(offset)
            assert file.read(length) == content[offset : offset + length]
            file.seek(offset)
            assert file.readline(length) == content[offset:].partition(b"\n")[0][:length] + (
                b"\n" if b"\n" in content[offset : offset + length] else b""
            )
        assert file.seek(-1, os.SEEK_END) == len(content) - 1
        assert file.read() == content[-1:]


def test_of_both_the_file_itself_counts(tmp_path: Path) -> None:
    """Whoever unpacks one, or packs one and dies, leaves both."""
    path = packed_only(tmp_path, b"packed")
    path.write_bytes(b"plain")
    assert read_evidence(path) == b"plain"


def test_what_is_not_there(tmp_path: Path) -> None:
    """The name of the file itself is in the error, as if nobody had ever packed one."""
    assert not has_evidence(tmp_path / "file.jsonl")
    with pytest.raises(FileNotFoundError) as refused:
        read_evidence(tmp_path / "file.jsonl")
    assert refused.value.filename == str(tmp_path / "file.jsonl")


def flipped(offset: int) -> Callable[[bytes], bytes]:
    """One byte is another."""

    def apply(content: bytes) -> bytes:
        spoiled = bytearray(content)
        spoiled[offset] ^= 0x10
        return bytes(spoiled)

    return apply


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in the middle": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "nothing": lambda _: b"",
    "something behind it": lambda content: content + b"\0",
    "another packed file behind it": lambda content: content + content,
    "no gzip": flipped(0),
    "a body that is another": flipped(25),
    "another checksum": flipped(-8),
    "another length": flipped(-3),
    "a member that is longer": flipped(17),
    "packed by somebody else": lambda content: gzip.compress(gzip.decompress(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_gives_no_other_bytes(tmp_path: Path, damage: str) -> None:
    """An OSError that names the file, wherever it is noticed."""
    path = packed_only(tmp_path, text(SIZES[-1]))
    packed = packed_path(path)
    packed.write_bytes(DAMAGES[damage](packed.read_bytes()))
    with pytest.raises(OSError, match="damaged, or not packed by us") as refused:
        read_evidence(path)
    assert refused.value.filename == str(packed)


def test_a_block_that_unpacks_to_more_than_a_block_is_refused_unread(tmp_path: Path) -> None:
    """However much a few bytes claim to be, no more than a block is unpacked."""
    path = tmp_path / "file.jsonl"
    bomb = packed_file._member(bytes(50_000_000))
    assert len(bomb) < 60_000
    packed_path(path).write_bytes(bomb)
    with pytest.raises(OSError, match="damaged"):
        read_evidence(path)
