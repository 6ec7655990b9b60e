"""One direction of a link: from the source's bytes through a chain of passages to the sink, nothing lost, in order.

The chain always begins with the no-op, and every change of it is a splice between two chunks. The source is not read
while anything on the way is full or holds: each reason pauses it once, the last to go resumes it. A queue takes at most
``QUEUE_LIMIT`` bytes or ``QUEUE_CHUNKS`` chunks, plus the one chunk that was already read.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Final

from chaos.active_fault import ActiveFault
from chaos.fault import Client, End
from chaos.mqtt_frames import FrameScanner, FrameSplitter

QUEUE_LIMIT: Final = 1024 * 1024
QUEUE_CHUNKS: Final = 1024
CONNECT_HOLD_LIMIT: Final = 64 * 1024
_TIMER_STEP_S: Final = 0.001
_NO_SINK: Final = "no sink yet"


class Flow:
    """What a hop has passed on in one direction, over all its links; PUBLISH packets where it counts them."""

    __slots__ = ("bytes_total", "publishes_total")

    def __init__(self) -> None:
        self.bytes_total = 0
        self.publishes_total = 0

    def add_publishes(self, count: int) -> None:
        """So many more have gone by."""
        self.publishes_total += count


class LinkFacts:
    """What both directions of a link know: its client, and whether its bytes were let through to the upstream yet."""

    __slots__ = ("admitted", "client", "felt")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.admitted = False
        self.felt: set[ActiveFault] = set()
        """The faults at work that did something to this link."""


class FaultPassage:
    """A fault's place on a direction; see :class:`chaos.fault.Passage` for what a fault may say to it."""

    __slots__ = (
        "_active", "_apply", "_direction", "_held", "_random", "_splitter", "_timer", "following", "held_bytes",
    )  # fmt: skip

    def __init__(self, active: ActiveFault, direction: Direction) -> None:
        self._active = active
        self._direction = direction
        self._held: deque[tuple[float, bytes | End]] = deque()
        self._random: random.Random | None = None
        self._splitter: FrameSplitter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.following: FaultPassage | Direction = direction
        self.held_bytes = 0
        self._apply: Callable[[bytes, FaultPassage], None] = active.fault.apply
        if active.packets is not None and direction.scanner is not None:
            # A new passage is the last: what the scanner has seen is just what went by before the fault came.
            self._splitter = FrameSplitter(direction.scanner)
            self._apply = FaultPassage._cut

    @property
    def client(self) -> Client:
        """Whose link this is."""
        return self._direction.facts.client

    @property
    def random(self) -> random.Random:
        """This passage's own generator."""
        if self._random is None:
            self._random = random.Random(self._active.draw(self.client, self._direction.name))
        return self._random

    @property
    def link_number(self) -> int:
        """The number of the link among the hop's."""
        return self._direction.facts.client.number

    @property
    def holds(self) -> bool:
        """Whether something waits here."""
        return bool(self._held)

    @property
    def holds_connect(self) -> bool:
        """Whether it is a client's CONNECT that waits here."""
        return bool(self._held) and not self._direction.facts.admitted and self.client.known

    def feed(self, chunk: bytes) -> None:
        """The next bytes come in."""
        self._apply(chunk, self)

    def end(self, end: End) -> None:
        """The close comes in."""
        if self._splitter is not None and (rest := self._splitter.rest()):
            self.forward(rest)
        if self._active.ends is None:
            self.forward_end(end)
        else:
            self._active.ends(end, self)

    def forward(self, chunk: bytes, after_s: float = 0.0) -> None:
        """See Passage."""
        if not self._held and after_s <= 0:
            self.following.feed(chunk)
        else:
            self._queue(chunk, asyncio.get_running_loop().time() + after_s)

    def hold(self, chunk: bytes) -> None:
        """See Passage."""
        self._queue(chunk, math.inf)

    def drop(self, chunk: bytes) -> None:
        """See Passage."""
        self._note(len(chunk))

    def forward_end(self, end: End, after_s: float = 0.0) -> None:
        """See Passage."""
        if not self._held and after_s <= 0:
            self.following.end(end)
        else:
            self._queue(end, asyncio.get_running_loop().time() + after_s)

    def hold_end(self, end: End) -> None:
        """See Passage."""
        self._queue(end, math.inf)

    def release(self) -> None:
        """Everything goes on at once; the fault is being lifted."""
        self._stop_timer()
        while self._held:
            self._pass_first()
        if self._splitter is not None and (rest := self._splitter.rest()):
            self.following.feed(rest)
        self._splitter = None
        self._direction.resume(self)

    def reconsider(self) -> None:
        """The fault was edited: what waits here meets it anew, in order; packets that were dealt with go on at once."""
        self._stop_timer()
        if self._splitter is not None:
            while self._held:
                self._pass_first()
        else:
            self._apply = self._active.fault.apply
        waiting, self._held, self.held_bytes = self._held, deque(), 0
        self._direction.resume(self)
        for _, item in waiting:
            if isinstance(item, End):
                self.end(item)
            else:
                self.feed(item)

    def detach(self) -> None:
        """The fault leaves this direction; what it held goes on."""
        self._active.passages.pop(self, None)
        self._direction.facts.felt.discard(self._active)
        self._direction.detach(self)

    def leave(self) -> None:
        """The link is over: what waits here is void."""
        self._stop_timer()
        self._held.clear()
        self.held_bytes = 0
        self._active.passages.pop(self, None)

    @staticmethod
    def _cut(chunk: bytes, passage: FaultPassage) -> None:
        packets, splitter = passage._active.packets, passage._splitter
        assert packets is not None
        assert splitter is not None
        for piece in splitter.split(chunk):
            if piece.whole:
                packets(piece.data, passage)
            else:
                passage.forward(piece.data)

    def _queue(self, item: bytes | End, due_s: float) -> None:
        if self._held:
            due_s = max(due_s, self._held[-1][0])
        self._held.append((due_s, item))
        size = 0 if isinstance(item, End) else len(item)
        self.held_bytes += size
        self._note(size)
        if self._is_full(due_s):
            self._direction.pause(self)
        if len(self._held) == 1 and due_s < math.inf:
            self._start_timer(due_s)

    def _is_full(self, due_s: float) -> bool:
        if not self._direction.facts.admitted:
            # Reading goes on while nothing of the link has crossed, so that we see the client give up.
            return self.held_bytes > CONNECT_HOLD_LIMIT
        return due_s == math.inf or self.held_bytes > QUEUE_LIMIT or len(self._held) > QUEUE_CHUNKS

    def _note(self, size: int) -> None:
        totals, facts = self._active.totals, self._direction.facts
        totals.bytes_affected_total += size
        if self._active in facts.felt:
            return
        facts.felt.add(self._active)
        totals.links_affected_total += 1
        if self.holds_connect:
            totals.connects_held_total += 1

    def _pass_first(self) -> None:
        _, item = self._held.popleft()
        if isinstance(item, End):
            self.following.end(item)
        else:
            self.held_bytes -= len(item)
            self.following.feed(item)

    def _start_timer(self, due_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(due_s, self._pass_due)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass_due(self) -> None:
        self._timer = None
        now_s = asyncio.get_running_loop().time() + _TIMER_STEP_S
        while self._held and self._held[0][0] <= now_s:
            self._pass_first()
        if self._held and self._held[0][0] < math.inf:
            self._start_timer(self._held[0][0])
        if not self._held or not self._is_full(self._held[-1][0]):
            self._direction.resume(self)


class Direction:
    """``receive`` is where the source's bytes go in; the direction itself is the end of its chain.

    ``name`` is upstream or downstream. ``on_first`` sees what is delivered until it says that it has seen enough;
    ``on_end`` is told when the close has come through.
    """

    __slots__ = (
        "_pauses", "_sink_gone", "_waiting", "_waiting_end", "chain", "facts", "flow", "name", "on_admit", "on_end",
        "on_first", "receive", "scanner", "sink", "source",
    )  # fmt: skip

    def __init__(self, name: str, facts: LinkFacts, flow: Flow, noop: ActiveFault) -> None:
        self.name = name
        self.facts = facts
        self.flow = flow
        self.scanner: FrameScanner | None = None
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.on_admit: Callable[[], None] | None = None
        self.on_first: Callable[[bytes], bool] | None = None
        self.on_end: Callable[[End], None] | None = None
        self._pauses: set[object] = set()
        self._waiting: list[bytes] = []
        self._waiting_end: End | None = None
        self._sink_gone = False
        self.chain = [FaultPassage(noop, self)]
        self.receive: Callable[[bytes], None] = self.chain[0].feed

    def attach(self, active: ActiveFault) -> None:
        """A fault joins at the end of the chain."""
        passage = FaultPassage(active, self)
        self.chain[-1].following = passage
        self.chain.append(passage)
        active.passages[passage] = None

    def detach(self, passage: FaultPassage) -> None:
        """A fault leaves; what it held goes on before anything newer."""
        place = self.chain.index(passage)
        passage.release()
        if passage in self.chain:
            self.chain[place - 1].following = passage.following
            del self.chain[place]

    def begin(self) -> None:
        """Bytes go through the chain from now on."""
        self.receive = self.chain[0].feed

    def feed(self, chunk: bytes) -> None:
        """The end of the chain: deliver."""
        if self._sink_gone:
            return
        if self.scanner is not None:
            self.scanner.advance(chunk)
        self.flow.bytes_total += len(chunk)
        if self.on_first is not None and self.on_first(chunk):
            self.on_first = None
        if self.sink is not None:
            self.sink.write(chunk)
        else:
            self._wait(chunk)

    def end(self, end: End) -> None:
        """The end of the chain: the close has come through."""
        if self.sink is None and not self._sink_gone:
            self._waiting_end = end
        elif self.on_end is not None:
            self.on_end(end)

    def _wait(self, chunk: bytes) -> None:
        if self.on_admit is not None:
            admit, self.on_admit = self.on_admit, None
            admit()
        self._waiting.append(chunk)
        self.pause(_NO_SINK)

    def source_opened(self, transport: asyncio.Transport) -> None:
        """Bytes can come from here."""
        self.source = transport

    def sink_opened(self, transport: asyncio.Transport) -> None:
        """Bytes can go there; what waited for it goes first."""
        self.sink = transport
        if self._waiting:
            transport.writelines(self._waiting)
            self._waiting = []
        self.resume(_NO_SINK)
        if self._waiting_end is not None:
            self.end(self._waiting_end)

    def source_gone(self) -> None:
        """Nothing comes any more."""
        self.source = None

    def sink_gone(self) -> None:
        """Nobody takes bytes any more; what still comes is read and discarded."""
        self.sink = None
        self._sink_gone = True
        self._waiting = []

    def pause(self, reason: object) -> None:
        """Do not read the source while this reason lasts."""
        if not self._pauses and self.source is not None and not self.source.is_closing():
            self.source.pause_reading()
        self._pauses.add(reason)

    def resume(self, reason: object) -> None:
        """This reason is over."""
        if reason not in self._pauses:
            return
        self._pauses.discard(reason)
        if not self._pauses and self.source is not None and not self.source.is_closing():
            self.source.resume_reading()

    def leave(self) -> None:
        """The link is over."""
        for passage in self.chain[1:]:
            passage.leave()
        del self.chain[1:]
        self.source = None
        self.sink_gone()
        self.on_admit = self.on_first = self.on_end = None
