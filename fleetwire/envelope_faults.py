"""What is wrong with an envelope, in words for whoever sent it: an empty or missing value is called missing, and what to
add stands beside it with an example. Nothing here decides; each function makes the BadPayload of one fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fleetwire.errors import BadPayload
from fleetwire.quoted import quoted

PROPERTY: Final = "user property"
MEMBER: Final = "member"
_EXAMPLES: Final = {
    "source": "taco.west.s0042.r01",
    "sequence": "317",
    "specversion": "1.0",
    "id": "taco.west.s0042.r01.317",
    "type": "storefleet.transaction.retail.v1",
}
REQUIRED: Final = tuple(_EXAMPLES)
"""The required attributes, in the order in which they are asked for."""


def are_missing(names: Sequence[str], where: str) -> str:
    """Which are missing: the first by itself, since one is mended after the other."""
    first, *others = names
    also = f" ({'so are' if len(others) > 1 else 'so is'} {', '.join(others)})" if others else ""
    return f"{where} {first!r} is missing{also}"


def missing(reason: str, attributes: Mapping[str, str], where: str) -> BadPayload:
    """Required attributes that are not there: the first by name with an example, the others behind it."""
    lacking = [name for name in _EXAMPLES if not attributes.get(name)]
    first = lacking[0]
    near = next((name for name in attributes if name != first and name.strip().lower() == first), None)
    other_name = f"; {quoted(near)} is another name" if near is not None else ""
    return BadPayload(reason, f"{are_missing(lacking, where)}{other_name}: add {_example(first, where)}")


def no_terminal(source: str, where: str) -> BadPayload:
    """A ``source`` that is no terminal's id."""
    said = f"{where} source={quoted(source, 100)}: expected a terminal's id such as {_EXAMPLES['source']}"
    return BadPayload("no_key", said)


def no_number(reason: str, name: str, text: str, maximum: int, where: str) -> BadPayload:
    """A number that is none, or is beyond its range."""
    return BadPayload(reason, f"{where} {name}={quoted(text, 40)}: expected a number from 1 to {maximum}")


def nothing_said() -> BadPayload:
    """No content type, no user property, and a payload that is no structured CloudEvent."""
    fault = missing("no_key", {}, PROPERTY)
    structured = f'{{"specversion":"1.0","source":"{_EXAMPLES["source"]}", ... ,"data":{{...}}}}'
    return BadPayload(fault.reason, f"{fault.detail}; without MQTT 5, send a structured CloudEvent: {structured}")


def unversioned(attributes: Mapping[str, str], where: str) -> BadPayload:
    """No ``id``, or a ``specversion`` that is not ours."""
    version = attributes.get("specversion")
    if version and version != "1.0":
        return BadPayload("schema", f"{where} specversion={quoted(version, 40)}: only CloudEvents 1.0 is read")
    return missing("schema", attributes, where)


def unknown_type(attributes: Mapping[str, str], where: str) -> BadPayload:
    """A ``type`` that is none of the contract's."""
    if not attributes.get("type"):
        return missing("unknown_type", attributes, where)
    said = f"{where} type={quoted(attributes['type'], 100)}: expected an event type such as {_EXAMPLES['type']}"
    return BadPayload("unknown_type", said)


def twice(names: Iterable[str]) -> BadPayload:
    """A name that stands there more than once: two readers would take two values."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return BadPayload("ambiguous", f"attribute {quoted(name)} is given twice; leave one out")
        seen.add(name)
    return BadPayload("ambiguous", "an attribute is given twice")


def two_values(name: str, outside: str, inside: str) -> BadPayload:
    """A user property and the payload of a structured event that do not say the same."""
    said = f"attribute {quoted(name)}: the user property says {quoted(outside)}, the payload {quoted(inside)}"
    return BadPayload("ambiguous", said)


def no_text(name: str) -> BadPayload:
    """A member whose value is none of the types that an attribute may have."""
    return BadPayload(
        "schema", f"member {quoted(name)}: expected a text without control characters, an integer, true or false"
    )


def _example(name: str, where: str) -> str:
    value = _EXAMPLES[name]
    if where == PROPERTY:
        return f"mosquitto_pub -V 5 -D publish user-property {name} {value}"
    return f'"{name}":"{value}"'
