"""What is wrong with an envelope, in words for whoever sent it: an empty or missing value is called missing, and what to
add stands beside it with an example. Nothing here decides; each function makes the BadPayload of one fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from fleetwire.errors import BadPayload
from fleetwire.shown import shown

PROPERTY: Final = "user property"
MEMBER: Final = "member"
_EXAMPLES: Final = {
    "source": "taco.west.s0042.r01",
    "sequence": "317",
    "specversion": "1.0",
    "id": "taco.west.s0042.r01.317",
    "type": "storefleet.transaction.retail.v1",
}
"""The required attributes, in the order in which they are asked for."""


def missing(reason: str, attributes: Mapping[str, str], where: str) -> BadPayload:
    """Required attributes that are not there: the first by name with an example, the others behind it."""
    lacking = [name for name in _EXAMPLES if not attributes.get(name)]
    first, *others = lacking
    also = f" (so are {', '.join(others)})" if others else ""
    return BadPayload(reason, f"{where} '{first}' is missing{also}: add {_example(first, where)}")


def nothing_said() -> BadPayload:
    """No content type, no user property, and a payload that is no structured CloudEvent."""
    fault = missing("no_key", {}, PROPERTY)
    structured = f'{{"specversion":"1.0","source":"{_EXAMPLES["source"]}", ... ,"data":{{...}}}}'
    return BadPayload(fault.reason, f"{fault.detail}; without MQTT 5, send a structured CloudEvent: {structured}")


def unversioned(attributes: Mapping[str, str], where: str) -> BadPayload:
    """No ``id``, or a ``specversion`` that is not ours."""
    version = attributes.get("specversion")
    if version and version != "1.0":
        return BadPayload("schema", f"{where} specversion={shown(version, 40)}: only CloudEvents 1.0 is read")
    return missing("schema", attributes, where)


def unknown_type(attributes: Mapping[str, str], where: str) -> BadPayload:
    """A ``type`` that is none of the contract's."""
    if not attributes.get("type"):
        return missing("unknown_type", attributes, where)
    return BadPayload("unknown_type", f"event type {shown(attributes['type'], 100)}; one is {_EXAMPLES['type']}")


def twice(names: Iterable[str]) -> BadPayload:
    """A name that stands there more than once: two readers would take two values."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return BadPayload("ambiguous", f"attribute {shown(name)} is given twice; leave one out")
        seen.add(name)
    return BadPayload("ambiguous", "an attribute is given twice")


def two_values(name: str, one: str, other: str | None) -> BadPayload:
    """Two places that do not say the same."""
    return BadPayload("ambiguous", f"attribute {name}: {shown(one)} in the properties, but also {shown(other)}")


def no_text(name: str) -> BadPayload:
    """A member whose value is none of the types that an attribute may have."""
    return BadPayload("schema", f"member {shown(name)}: expected a text, an integer, true or false")


def _example(name: str, where: str) -> str:
    value = _EXAMPLES[name]
    if where == PROPERTY:
        return f"mosquitto_pub -V 5 -D publish user-property {name} {value}"
    return f'"{name}":"{value}"'
