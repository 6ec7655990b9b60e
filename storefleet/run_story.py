"""What was done to a lab while it ran, in plain words: its faults, and what people told it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from storefleet.run_record import FaultRecord
from storefleet.verdict import lab_record


def describe(fault: FaultRecord) -> str:
    """One fault in one line: what, where, how long, and whether it took effect by the hop's own word."""
    (account,) = lab_record.account_faults([msgspec.convert(fault, lab_record.LabFault, from_attributes=True)])
    return lab_record.describe(account)


def plain_command(what: str, params: Mapping[str, Any]) -> str:
    """What a person told the lab, in a line: ``trade rate_per_s 50``."""
    return " ".join([what, *(f"{name} {value}" for name, value in params.items())])
