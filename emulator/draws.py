"""Deterministic draws: the same (seed, terminal, purpose, number) gives the same draws on every machine and Python.

A keyed BLAKE2b hash is read as an endless byte stream, eight bytes a draw. ``random.Random`` would cost 2.5 kB a
terminal, and its ``choice`` and ``shuffle`` may change between versions of Python; a hash has no state to keep and
may not change. The bias of ``below`` is smaller than ``n / 2**64``.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Generic, TypeVar

Item = TypeVar("Item")

_BLOCK_BYTES = 64
_DRAW_BYTES = 8


class Draws:
    """A stream of draws; a new one for every purpose and number, never shared between two decisions."""

    __slots__ = ("_block", "_key", "_name", "_position", "_turn")

    def __init__(self, seed: int, owner: str, purpose: str, number: int = 0) -> None:
        self._key = seed.to_bytes(8, "big")
        self._name = f"{owner}/{purpose}/{number}/"
        self._turn = 0
        self._position = _BLOCK_BYTES
        self._block = b""

    def below(self, limit: int) -> int:
        """A uniform integer from 0 to ``limit - 1``."""
        if self._position == _BLOCK_BYTES:
            name = f"{self._name}{self._turn}".encode()
            self._block = blake2b(name, digest_size=_BLOCK_BYTES, key=self._key).digest()
            self._turn += 1
            self._position = 0
        start = self._position
        self._position = start + _DRAW_BYTES
        return int.from_bytes(self._block[start : start + _DRAW_BYTES], "big") * limit >> 64

    def between(self, first: int, last: int) -> int:
        """A uniform integer from ``first`` to ``last``, both included."""
        return first + self.below(last - first + 1)

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items, each as likely as the other."""
        return items[self.below(len(items))]

    def happens(self, per_mille: int) -> bool:
        """Whether something happens that happens ``per_mille`` times in a thousand."""
        return self.below(1000) < per_mille

    def digits(self, count: int) -> str:
        """So many decimal digits, at most 18."""
        return f"{self.below(10**count):0{count}d}"


class Weighted(Generic[Item]):
    """A choice among items by whole weights, prepared once and drawn from often."""

    __slots__ = ("_bounds", "_items", "total")

    def __init__(self, weights: Sequence[tuple[Item, int]]) -> None:
        used = [(item, weight) for item, weight in weights if weight > 0]
        self._items = [item for item, _ in used]
        self._bounds = list(accumulate(weight for _, weight in used))
        self.total = self._bounds[-1] if used else 0

    def draw(self, draws: Draws) -> Item:
        """One item; the lists are short, so a walk beats a search. Raises ValueError when every weight is 0."""
        if not self.total:
            raise ValueError("nothing to choose from: every weight is 0")
        mark = draws.below(self.total)
        for bound, item in zip(self._bounds, self._items, strict=True):
            if mark < bound:
                return item
        raise AssertionError("a draw below the last bound has an item")
