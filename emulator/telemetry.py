"""What a terminal says about itself outside its business: the retained state register and the heartbeat.

Neither is numbered nor accounted. Fields that the terminal cannot measure here (paper, battery, signal) are drawn from
(seed, terminal, number of the heartbeat), so a run with the same seed looks the same.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from msgspec import UNSET

from emulator.draws import Draws, Weighted
from emulator.fleet import TerminalPlan
from fleetwire.events import Heartbeat, TerminalState

CardReader = Literal["READY", "UPDATING", "TAMPERED", "OFFLINE"]
Printer = Literal["OK", "PAPER_LOW", "PAPER_OUT", "COVER_OPEN", "OFFLINE"]
_PRINTERS: Final[Weighted[Printer]] = Weighted([("OK", 930), ("PAPER_LOW", 50), ("PAPER_OUT", 10), ("COVER_OPEN", 10)])
_CARD_READERS: Final[Weighted[CardReader]] = Weighted([("READY", 985), ("UPDATING", 10), ("OFFLINE", 5)])
_NEEDS_ATTENTION: Final = frozenset({"PAPER_OUT", "COVER_OPEN", "OFFLINE"})


class Session(NamedTuple):
    """Which life and which connection of the terminal speaks."""

    boot: int
    bd_seq: int


class Queue(NamedTuple):
    """The terminal's outbox: how many events wait, and for how long the oldest has."""

    depth: int
    oldest_age_s: int


def state_fields(
    plan: TerminalPlan, session: Session, reason: Literal["birth", "lost", "planned_close"], time: str | None
) -> TerminalState:
    """The register of a birth, a graceful end, or (``lost``, without a time) the will."""
    return TerminalState(
        online=reason == "birth",
        reason=reason,
        boot=session.boot,
        bd_seq=session.bd_seq,
        kind=plan.kind,
        serial_number=plan.serial_number,
        model=plan.model,
        app_version=plan.app_version,
        os_version=plan.os_version,
        time=UNSET if time is None else time,
    )


def heartbeat_fields(
    plan: TerminalPlan,
    session: Session,
    number: int,
    *,
    time: str,
    uptime_s: int,
    queue: Queue,
    last_sequence: int,
) -> Heartbeat:
    """The ``number``-th heartbeat of the terminal."""
    draws = Draws(plan.seed, plan.id, "heartbeat", number)
    printer = _PRINTERS.draw(draws)
    card_reader = _CARD_READERS.draw(draws)
    wired = plan.kind in ("register", "kitchen_display")
    return Heartbeat(
        boot=session.boot,
        bd_seq=session.bd_seq,
        time=time,
        uptime_s=uptime_s,
        status_category="NEEDS_ATTENTION" if _NEEDS_ATTENTION & {printer, card_reader} else "AVAILABLE",
        network_type="ETHERNET" if wired else "WIFI",
        network_signal_percent=100 if wired else draws.between(45, 100),
        battery_percent=draws.between(80, 100),
        external_power=True,
        printer=printer,
        cash_drawer="CLOSED",
        card_reader=card_reader,
        offline_queue_depth=queue.depth,
        offline_queue_oldest_age_s=queue.oldest_age_s,
        clock_offset_ms=draws.between(-400, 400) + plan.clock_skew_s * 1000,
        last_sequence=last_sequence,
        cpu_percent=draws.between(3, 45),
        memory_percent=draws.between(25, 70),
    )
