"""``journeys.json``: what the rings of all stages remembered of their newest events at the final reads.

| level | holds |
|---|---|
| process | ``{stage}-{instance}`` |
| key | the text form of an event's key |
| step | :class:`fleetwire.witness.Step` |

The lab writes what stages say, and stages may be somebody else's: what cannot be is left out, be it the whole file.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Raw

from fleetwire import bounded_json
from fleetwire.envelope import MAXIMUM_ATTEMPT
from fleetwire.packed_times import END_OF_TIME_MS
from fleetwire.possible import LARGEST_NUMBER
from fleetwire.witness import Step
from storefleet.verdict.packed_file import evidence_bytes, read_evidence

JOURNEYS_FILE_NAME: Final = "journeys.json"
SIZE_LIMIT_BYTES: Final = 512 * 1024 * 1024
"""A larger file is not read: the 20,000 newest events of a hundred processes take half of it."""

_log = logging.getLogger(__name__)

Journeys = dict[str, dict[str, Step]]
"""Process -> key text -> what it did with the event."""

_decode_level = bounded_json.Decoder(dict[str, Raw]).decode
_decode_step = bounded_json.Decoder(Step).decode


def read_journeys(path: Path, keys: Collection[str]) -> Journeys:
    """What the file says of these keys; nothing where there is none, or none that can be read."""
    try:
        if evidence_bytes(path) > SIZE_LIMIT_BYTES:
            _log.warning("%s is larger than %d bytes, and is not read", path, SIZE_LIMIT_BYTES)
            return {}
        processes = _decode_level(read_evidence(path))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return {process: steps for process, raw in processes.items() if (steps := _steps(raw, keys))}


def possible_journeys(said: Mapping[str, object], key: str) -> Journeys:
    """The same of one event as running stages tell it: process -> step."""
    steps = {process: _step(msgspec.json.encode(step)) for process, step in said.items()}
    return {process: {key: step} for process, step in steps.items() if step is not None}


def instance_of(process: str) -> tuple[str, int] | None:
    """Stage and instance of a process; None for what is none."""
    stage, _, digits = process.rpartition("-")
    instance = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= len(str(LARGEST_NUMBER)) else 0
    return (stage, instance) if stage and 0 < instance <= LARGEST_NUMBER else None


def _steps(raw: Raw, keys: Collection[str]) -> dict[str, Step]:
    try:
        said = _decode_level(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    steps = {key: _step(said[key]) for key in keys if key in said}
    return {key: step for key, step in steps.items() if step is not None}


def _step(raw: Raw | bytes) -> Step | None:
    try:
        step = _decode_step(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    times = 0 < step.taken_ms < END_OF_TIME_MS and 0 <= step.handed_on_ms < END_OF_TIME_MS
    return step if times and 0 < step.attempt <= MAXIMUM_ATTEMPT else None
