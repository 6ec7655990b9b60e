"""The first line of ``witnesses.jsonl``: written once by the lab that begins a run, and read by whoever reads the others."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fleetwire import bounded_json
from fleetwire.errors import SettingsError
from storefleet.verdict.packed_file import open_evidence
from storefleet.verdict.run_format import RUN_VERSION, WITNESSES_FORMAT, WitnessesHeader

HEADER_LIMIT_BYTES = 64 * 1024


class _Head(msgspec.Struct):
    """What tells a header from a snapshot, which has no format."""

    format: str
    version: int = 0


def header_line(header: WitnessesHeader) -> bytes:
    """The line as it is written."""
    return msgspec.json.encode(header) + b"\n"


def is_header(line: bytes) -> bool:
    """Whether the first line of a file is its header."""
    try:
        return bounded_json.decode(line, type=_Head).format == WITNESSES_FORMAT
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def read_header(path: Path) -> WitnessesHeader | None:
    """The header of a file; None where it has none. Raises SettingsError for a newer version, OSError."""
    with open_evidence(path) as file:
        line = file.readline(HEADER_LIMIT_BYTES)
    if not is_header(line):
        return None
    version = bounded_json.decode(line, type=_Head).version
    if version > RUN_VERSION:
        raise SettingsError(
            f"{path} has format version {version}; this storefleet reads up to {RUN_VERSION}:"
            " use the storefleet that wrote it, or a newer one"
        )
    try:
        return bounded_json.decode(line, type=WitnessesHeader)
    except msgspec.ValidationError:
        return WitnessesHeader()
