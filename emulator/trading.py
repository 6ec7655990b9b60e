"""Who trades next: terminals take turns in an order drawn from the seed, at the pacer's pace.

The pace says when an event is made, never by whom: the n-th event of a fleet is the same at every rate and after every
restart, as long as nobody closes a store or cuts its power. So two runs of one seed that end after so many events
(``limit``, counted over all lives of the process) have the same events, and the same totals.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

from emulator.journal import Journal
from emulator.life import SELLING
from emulator.pacer import SHORTEST_WAIT_S, Pacer
from emulator.terminal import Terminal
from fleetwire.errors import ControlError
from fleetwire.ledger_format import BATCH_EVENTS


class Trading:
    """The fleet's business; :meth:`run` never ends by itself."""

    def __init__(
        self,
        terminals: Sequence[Terminal],
        journal: Journal,
        pacer: Pacer,
        seed: int,
        now_s: Callable[[], float],
        *,
        limit: int | None = None,
    ) -> None:
        self.pacer = pacer
        self._limit = limit
        self._terminals: Final = sorted(terminals, key=lambda terminal: _lot(seed, terminal.id))
        self._journal = journal
        self._now_s = now_s
        self._made = sum(terminal.outbox.last_sequence for terminal in terminals)
        self._turn = self._made % len(self._terminals)
        self._woken = asyncio.Event()

    @property
    def committed(self) -> int:
        """How many events the fleet has on disk, over all lives of this process."""
        return self._made - self._journal.uncommitted

    @property
    def left(self) -> int:
        """How many more may be traded."""
        return sys.maxsize if self._limit is None else max(0, self._limit - self._made)

    def require_left(self) -> None:
        """Raise ControlError once the limit is reached: whoever asks for more is told that there will be none."""
        if not self.left:
            raise ControlError(f"all {self._limit:,} events of this run are traded (--events): no more will be")

    def wake(self) -> None:
        """The pacer was told something new."""
        self._woken.set()

    async def run(self) -> None:
        """Trade what is due, group by group, and let the sockets have the loop between two groups."""
        while True:
            due = self._due()
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

    def _due(self) -> int:
        if self._limit is None:
            return self.pacer.due(self._now_s())
        if not self.left:
            self.pacer.pause(self._now_s())  # nothing is offered any more, so nothing is skipped
            return 0
        return min(self.left, self.pacer.due(self._now_s()))

    def _trade(self, due: int) -> None:
        made = 0
        while made < due and self._next_trades():
            made += 1
        self._made += made
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
