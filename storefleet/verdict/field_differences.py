"""Two bodies side by side: the fields that differ, by path, with both values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from storefleet.verdict.result import FieldDifference

LIMIT: Final = 20
"""So many fields of one event are shown."""
TEXT_LIMIT: Final = 200
_ABSENT: Final = object()


def field_differences(expected: object, found: object) -> list[FieldDifference]:
    """At most LIMIT fields that differ, as ``data.line_items[0].item_id``; plain JSON values on both sides."""
    result: list[FieldDifference] = []
    for difference in _walk("", expected, found):
        result.append(difference)
        if len(result) == LIMIT:
            break
    return result


def _walk(path: str, expected: object, found: object) -> Iterator[FieldDifference]:
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in [*expected, *(name for name in found if name not in expected)]:
            below = f"{path}.{name}" if path else str(name)
            yield from _walk(below, expected.get(name, _ABSENT), found.get(name, _ABSENT))
    elif isinstance(expected, list) and isinstance(found, list):
        for index in range(max(len(expected), len(found))):
            pair = (values[index] if index < len(values) else _ABSENT for values in (expected, found))
            yield from _walk(f"{path}[{index}]", *pair)
    elif type(expected) is not type(found) or expected != found:
        yield FieldDifference(path=path, expected=_text(expected), found=_text(found))


def _text(value: object) -> str:
    """As JSON, so that the text ``1`` and the number 1 differ to the eye, too."""
    text = "absent" if value is _ABSENT else msgspec.json.encode(value).decode()
    return text if len(text) <= TEXT_LIMIT else f"{text[: TEXT_LIMIT - 3]}..."
