"""The working day of one terminal: a state machine whose table is :data:`DAY`, and the till that walks through it.

Every event is a pure function of (fleet, terminal, sequence): order and bodies are the same for the same seed, however
fast the lab runs, whenever it runs, and however often the terminal died in between. So a till lives on a schedule of
its own: the time of its n-th event is drawn (opening hours, a mean gap, minutes between the steps of opening and
closing) and nothing reads a clock. The other choice, stamping events with the lab's business clock, would give every
run other bodies, and a recorded ledger could not be compared with a second run.

``business_day_date`` is the store's local date on which the day was opened: it stays when midnight or UTC passes it.
"""

from __future__ import annotations

from datetime import date
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from emulator.books import Books, BooksState, Span
from emulator.draws import Draws, Weighted
from emulator.fleet import Fleet, TerminalPlan
from fleetwire import bounded_json
from fleetwire.clock import utc_text

Role = Literal["opener", "till", "kiosk", "kitchen"]
Phase = Literal["closed", "opened", "signed_on", "trading", "closing", "signed_off", "settled"]

DAY: Final[dict[Role, dict[Phase, tuple[str, Phase]]]] = {
    "opener": {
        "closed": ("START_OF_DAY", "opened"),
        "opened": ("SIGN_ON", "signed_on"),
        "signed_on": ("LOAN", "trading"),
        "trading": ("trade", "trading"),
        "closing": ("SIGN_OFF", "signed_off"),
        "signed_off": ("TILL_SETTLE", "settled"),
        "settled": ("END_OF_DAY", "closed"),
    },
    "till": {
        "closed": ("SIGN_ON", "signed_on"),
        "signed_on": ("LOAN", "trading"),
        "trading": ("trade", "trading"),
        "closing": ("SIGN_OFF", "signed_off"),
        "signed_off": ("TILL_SETTLE", "closed"),
    },
    "kiosk": {
        "closed": ("SIGN_ON", "trading"),
        "trading": ("trade", "trading"),
        "closing": ("SIGN_OFF", "closed"),
    },
    "kitchen": {
        "closed": ("SIGN_ON", "trading"),
        "trading": ("trade", "trading"),
        "closing": ("SIGN_OFF", "closed"),
    },
}
"""Role -> phase -> (what happens, next phase). ``trading`` turns into ``closing`` by itself at closing time."""

TRADES: Final[dict[Role, tuple[str, ...]]] = {
    "opener": ("sale", "returned", "void", "NO_SALE", "pickup", "paid_in", "paid_out", "alert"),
    "till": ("sale", "returned", "void", "NO_SALE", "pickup", "paid_in", "paid_out", "alert"),
    "kiosk": ("sale", "alert"),
    "kitchen": ("alert",),
}
"""What can happen while a terminal of this role trades; the fleet's mix weighs it."""

_DAY_MS: Final = 86_400_000
_STEP_MS: Final = (30_000, 180_000)
_LEAD_MS: Final = 20 * 60_000
_SALE_MS: Final = (15_000, 150_000)
_KITCHEN_PACE: Final = 10
"""A kitchen display says so many times less than a till."""
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


class Draft(NamedTuple):
    """An event before it has an envelope; ``data`` has the shape that EVENT_TYPES gives for ``type``."""

    type: str
    time: str
    business_day_date: str
    data: Struct


class Business:
    """What all tills of a fleet share: opening hours, pace and mix as numbers; build one a process."""

    __slots__ = ("closes_ms", "first_day", "gap_ms", "opens_ms", "trades")

    def __init__(self, fleet: Fleet) -> None:
        self.first_day = date.fromisoformat(fleet.first_business_day).toordinal()
        self.opens_ms = _clock_ms(fleet.opens)
        self.closes_ms = _clock_ms(fleet.closes)
        self.gap_ms = (self.closes_ms - self.opens_ms) // fleet.events_per_day
        self.trades = {
            role: Weighted([(name, getattr(fleet.mix, name.lower())) for name in names])
            for role, names in TRADES.items()
        }


class TillState(Struct, frozen=True, array_like=True):
    """All that a till must remember over its own death; about a hundred bytes as JSON."""

    day: int
    clock_ms: int
    phase: Phase
    books: BooksState


class Till:
    """One terminal's business; ``sequence`` is the number of the event that :meth:`next_event` gave last."""

    __slots__ = ("_books", "_business", "_clock_ms", "_day", "_phase", "plan")

    def __init__(self, plan: TerminalPlan, business: Business) -> None:
        self.plan = plan
        self._books = Books(plan)
        self._business = business
        self._day = -1
        self._clock_ms = 0
        self._phase: Phase = "closed"

    @classmethod
    def restore(cls, plan: TerminalPlan, business: Business, saved: bytes) -> Till:
        """The till as it was at :meth:`save`; raises msgspec.ValidationError for bytes that save did not write."""
        state = bounded_json.decode(saved, type=TillState)
        till = cls(plan, business)
        till._day, till._clock_ms, till._phase = state.day, state.clock_ms, state.phase
        till._books = Books.restore(plan, state.books)
        return till

    def save(self) -> bytes:
        """The state as JSON, to be committed together with the event that led to it."""
        return msgspec.json.encode(TillState(self._day, self._clock_ms, self._phase, self._books.save()))

    @property
    def sequence(self) -> int:
        """Number of the last event; 0 before the first."""
        return self._books.sequence

    @property
    def role(self) -> Role:
        """Which column of :data:`DAY` this terminal follows."""
        if self.plan.kind == "kitchen_display":
            return "kitchen"
        if self.plan.kind == "kiosk":
            return "kiosk"
        return "opener" if self.plan.position == 0 else "till"

    def next_event(self) -> Draft:
        """The next event of this terminal's business; never ends, the next day follows the last."""
        books = self._books
        books.sequence += 1
        draws = Draws(self.plan.seed, self.plan.id, "event", books.sequence)
        began_ms = self._clock_ms
        self._advance(draws)
        action, following = DAY[self.role][self._phase]
        if action == "trade":
            action = books.possible(self._business.trades[self.role].draw(draws))
        self._phase = following
        span = Span(self._day, max(began_ms, self._clock_ms - draws.between(*_SALE_MS)), self._clock_ms)
        event_type, data = books.enter(action, span, draws)
        day = date.fromordinal(self._business.first_day + self._day).isoformat()
        return Draft(event_type, utc_text(self._clock_ms / 1000), day, data)

    def _advance(self, draws: Draws) -> None:
        """Draw when the next thing happens, and open a new day or begin to close when it is time."""
        if self._phase == "closed":
            self._day += 1
            self._clock_ms = self._local_ms(self._business.opens_ms) - _LEAD_MS + draws.below(_STEP_MS[1])
            self._books.open_day()
        elif self._phase == "trading":
            self._trade_or_close(draws)
        else:
            self._clock_ms += draws.between(*_STEP_MS)

    def _trade_or_close(self, draws: Draws) -> None:
        mean_ms = self._business.gap_ms * (_KITCHEN_PACE if self.role == "kitchen" else 1)
        gap_ms = draws.between(mean_ms // 5 + 1, mean_ms * 9 // 5 + 1)
        closes_ms = self._local_ms(self._business.closes_ms)
        begins_ms = max(self._clock_ms, self._local_ms(self._business.opens_ms))
        if begins_ms + gap_ms <= closes_ms and self._business.trades[self.role].total:
            self._clock_ms = begins_ms + gap_ms
            return
        self._phase = "closing"
        self._clock_ms = max(self._clock_ms, closes_ms) + draws.between(*_STEP_MS)

    def _local_ms(self, time_of_day_ms: int) -> int:
        ordinal = self._business.first_day + self._day
        true_ms = (ordinal - _EPOCH_ORDINAL) * _DAY_MS + time_of_day_ms - self.plan.region.offset_ms
        return true_ms + self.plan.clock_skew_s * 1000


def _clock_ms(text: str) -> int:
    return (int(text[:2]) * 60 + int(text[3:5])) * 60_000
