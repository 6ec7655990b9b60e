"""What a brand sells: thirty items with a price and a GTIN whose check digit is right, from ``menus/*.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Item(NamedTuple):
    """One thing on the menu."""

    item_id: str
    gtin: str
    description: str
    price_cents: int


@cache
def menu(name: str) -> tuple[Item, ...]:
    """The items of a menu; a menu that is not in the package is a FileNotFoundError (the fleet checks names)."""
    table = tomllib.loads((files("emulator") / "menus" / f"{name}.toml").read_text(encoding="utf-8"))
    prefix: str = table["gtin_prefix"]
    return tuple(
        Item(f"{name}-{row:03d}", gtin(f"{prefix}{row:05d}"), description, price_cents)
        for row, (description, price_cents) in enumerate(table["items"], start=1)
    )


def gtin(digits: str) -> str:
    """The digits with the check digit of the GS1 General Specifications, section 7.9: weights 3, 1 from the right."""
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return f"{digits}{-total % 10}"
