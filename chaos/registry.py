"""Every fault there is, one row each: name on the wire, class, and the direction it works on unless told otherwise."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from chaos.down import Down
from chaos.fault import Fault
from chaos.latency import Latency
from chaos.noop import Noop
from chaos.partition import Partition
from fleetwire.errors import ControlError
from fleetwire.plain_words import plain


class FaultType(NamedTuple):
    """One row of the table; ``stream`` is ``upstream``, ``downstream`` or ``both``."""

    fault: type[Fault]
    stream: str


FAULT_TYPES: Final[dict[str, FaultType]] = {
    "noop": FaultType(Noop, "downstream"),
    "latency": FaultType(Latency, "downstream"),
    "partition": FaultType(Partition, "both"),
    "down": FaultType(Down, "both"),
}


def find(name: str) -> FaultType:
    """The row of this name; raises ControlError with the names there are."""
    found = FAULT_TYPES.get(name)
    if found is None:
        raise ControlError(f"no fault type {name[:60]!r}; known: {', '.join(sorted(FAULT_TYPES))}")
    return found


def make(name: str, attributes: dict[str, object]) -> Fault:
    """A fault of this type; raises ControlError that names the wrong attribute."""
    row = find(name)
    try:
        return msgspec.convert(attributes, row.fault)
    except msgspec.ValidationError as error:
        fields = ", ".join(getattr(row.fault, "__struct_fields__", ())) or "none"
        raise ControlError(f"attributes of {name}: {plain(error)} (attributes there are: {fields})") from error
