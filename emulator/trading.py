"""Who trades next: terminals take turns in an order drawn from the seed, at the pacer's pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

from emulator.journal import Journal
from emulator.life import SELLING
from emulator.pacer import SHORTEST_WAIT_S, Pacer
from emulator.terminal import Terminal
from fleetwire.ledger_format import BATCH_EVENTS


class Trading:
    """The fleet's business; :meth:`run` never ends by itself."""

    def __init__(
        self, terminals: Sequence[Terminal], journal: Journal, pacer: Pacer, seed: int, now_s: Callable[[], float]
    ) -> None:
        self.pacer = pacer
        self._terminals: Final = sorted(terminals, key=lambda terminal: _lot(seed, terminal.id))
        self._journal = journal
        self._now_s = now_s
        self._turn = sum(terminal.outbox.last_sequence for terminal in terminals) % len(self._terminals)
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """The pacer was told something new."""
        self._woken.set()

    async def run(self) -> None:
        """Trade what is due, group by group, and let the sockets have the loop between two groups."""
        while True:
            due = self.pacer.due(self._now_s())
            if due > 0:
                self._trade(min(due, BATCH_EVENTS))
            wait_s = 0.0 if due > BATCH_EVENTS else self.pacer.wait_s(self._now_s())
            self._woken.clear()
            if wait_s < SHORTEST_WAIT_S:
                await asyncio.sleep(0)
                continue
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def _trade(self, due: int) -> None:
        made = 0
        while made < due and self._next_trades():
            made += 1
        self.pacer.traded(made)
        if made:
            self._journal.flush()
        if made < due:
            self.pacer.skip(self.pacer.due(self._now_s()))

    def _next_trades(self) -> bool:
        """Let the next one who can trade do so; False when nobody can."""
        if self._journal.full:
            return False
        terminals = self._terminals
        for _ in terminals:
            terminal = terminals[self._turn]
            self._turn = (self._turn + 1) % len(terminals)
            if terminal.life in SELLING:
                return terminal.trade()
        return False


def _lot(seed: int, name: str) -> bytes:
    return blake2b(f"{seed}/turn/{name}".encode(), digest_size=8).digest()
