"""The brands' own ways to say the same business: :func:`encode` turns a draft into the raw payload of a dialect.

All business fields survive, in other names, units and nestings; every payload also says its store, terminal and number
in the dialect's own fields, so that a payload can contradict the topic on which it came. Nothing here is shared with
PARM, which reads the dialects with mapping tables of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from emulator.business_day import Draft
from emulator.dialects import burger, pizza, taco
from emulator.fleet import DialectName, TerminalPlan

DIALECTS: Final[dict[DialectName, Callable[[TerminalPlan, int, Draft], dict[str, Any]]]] = {
    "taco": taco.payload,
    "burger": burger.payload,
    "pizza": pizza.payload,
}
_encode = msgspec.json.Encoder().encode


def encode(plan: TerminalPlan, sequence: int, draft: Draft) -> bytes:
    """The raw payload of one event in the dialect of the terminal's brand: UTF-8 JSON without white space."""
    return _encode(DIALECTS[plan.brand.dialect](plan, sequence, draft))
