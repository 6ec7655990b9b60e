"""The status of a store follows from its terminals' registers, in whatever order they and their ghosts arrive."""

from __future__ import annotations

import itertools

import pytest

from emulator.fleet import Fleet
from emulator.telemetry import Queue, Session, heartbeat_fields, state_fields
from fleetwire.events import Heartbeat, StoreStatus, TerminalState
from fleetwire.identity import Terminal
from parm_stub.store_status import StoreBoard

PLANS = Fleet.from_options(stores=1).terminals()
LIMIT_S = 1800.0
TIME = "2026-01-05T10:00:00.000Z"


def state(reason: str, boot: int = 1, bd_seq: int = 0) -> TerminalState:
    return state_fields(PLANS[0], Session(boot, bd_seq), reason, None)  # type: ignore[arg-type]


def beat(boot: int = 1, bd_seq: int = 0) -> Heartbeat:
    session = Session(boot, bd_seq)
    return heartbeat_fields(PLANS[0], session, 1, time=TIME, uptime_s=5, queue=Queue(0, 0), last_sequence=3)


def terminal(number: int) -> Terminal:
    return Terminal("taco", "west", "s0001", f"r{number:02d}")


def board(limit_s: float = LIMIT_S) -> StoreBoard:
    return StoreBoard(silence_limit_s=limit_s)


def last(statuses: list[StoreStatus]) -> tuple[str, int, int]:
    assert len(statuses) == 1
    return statuses[0].status, statuses[0].terminals_online, statuses[0].terminals_total


def expected(reasons: tuple[str, ...]) -> str:
    """The table of the module's docstring, said another way."""
    online = reasons.count("birth")
    if online:
        return "OPEN" if online == len(reasons) else "DEGRADED"
    return "PLANNED_CLOSED" if set(reasons) == {"planned_close"} else "OFFLINE"


@pytest.mark.parametrize("reasons", list(itertools.product(["birth", "lost", "planned_close"], repeat=3)))
def test_truth_table(reasons: tuple[str, ...]) -> None:
    """Every combination of three terminals has the status that the table says, and counts them."""
    stores = board()
    for number in range(3):
        stores.register(terminal(number), state("birth"), 0.0)
    for number, reason in enumerate(reasons):
        stores.register(terminal(number), state(reason), 1.0)
    assert last(stores.statuses(1.0)) == (expected(reasons), reasons.count("birth"), 3)


def test_a_ghost_will_changes_nothing() -> None:
    """The will of an older connection, or of an older life, is ignored, and counted."""
    stores = board()
    stores.register(terminal(1), state("birth", boot=2, bd_seq=5), 0.0)
    assert stores.register(terminal(1), state("lost", boot=2, bd_seq=4), 1.0) == []
    assert stores.register(terminal(1), state("lost", boot=1, bd_seq=9), 1.0) == []
    assert stores.ghosts == 2
    assert last(stores.statuses(1.0))[0] == "OPEN"


def test_a_birth_after_its_own_death_is_a_ghost() -> None:
    """A birth that arrives after the will of the same connection does not revive it; the next connection does."""
    stores = board()
    stores.register(terminal(1), state("birth"), 0.0)
    assert last(stores.register(terminal(1), state("lost"), 1.0))[0] == "OFFLINE"
    assert stores.register(terminal(1), state("birth"), 2.0) == []
    assert last(stores.register(terminal(1), state("birth", bd_seq=1), 3.0))[0] == "OPEN"


def test_a_goodbye_is_not_undone_by_its_will() -> None:
    """A will that follows a planned close of the same connection leaves the store planned closed."""
    stores = board()
    stores.register(terminal(1), state("birth"), 0.0)
    assert last(stores.register(terminal(1), state("planned_close"), 1.0))[0] == "PLANNED_CLOSED"
    assert stores.register(terminal(1), state("lost"), 2.0) == []


def test_a_new_life_orders_after_an_old_one() -> None:
    """After a restart the boot counter wins over a connection counter that began again."""
    stores = board()
    stores.register(terminal(1), state("lost", boot=1, bd_seq=200), 0.0)
    assert last(stores.register(terminal(1), state("birth", boot=2, bd_seq=0), 1.0))[0] == "OPEN"


def test_a_will_that_never_comes() -> None:
    """A silent terminal counts as offline once its last sign of life is older than the limit, not before."""
    stores = board()
    stores.register(terminal(1), state("birth"), 0.0)
    stores.register(terminal(2), state("birth"), 0.0)
    stores.heartbeat(terminal(2), beat(), 900.0)
    assert stores.expire(LIMIT_S) == []
    assert last(stores.expire(LIMIT_S + 1)) == ("DEGRADED", 1, 2)
    assert last(stores.expire(900 + LIMIT_S + 1)) == ("OFFLINE", 0, 2)
    assert stores.expire(99_999.0) == []


def test_a_heartbeat_ends_silence() -> None:
    """A terminal that was only silent is online again with its next heartbeat."""
    stores = board()
    stores.register(terminal(1), state("birth"), 0.0)
    stores.expire(5000.0)
    assert last(stores.heartbeat(terminal(1), beat(), 5001.0))[0] == "OPEN"


def test_a_heartbeat_does_not_raise_the_dead() -> None:
    """A late heartbeat of a connection whose will was read changes nothing; one of a newer connection does."""
    stores = board()
    stores.register(terminal(1), state("birth"), 0.0)
    stores.register(terminal(1), state("lost"), 1.0)
    assert stores.heartbeat(terminal(1), beat(), 2.0) == []
    assert last(stores.heartbeat(terminal(1), beat(bd_seq=1), 3.0))[0] == "OPEN"
    assert stores.register(terminal(1), state("birth", bd_seq=1), 4.0) == []


def test_revisions_grow() -> None:
    """Every change has a larger revision, what changes nothing has none, and a retained one is continued."""
    stores = board()
    retained = StoreStatus(
        brand="taco",
        region="west",
        store="s0001",
        status="OPEN",
        flapping=False,
        terminals_online=3,
        terminals_total=3,
        revision=41,
        time=TIME,
    )
    stores.learn(retained)
    assert stores.statuses(0.0) == []
    first = stores.register(terminal(1), state("birth"), 0.0)
    assert stores.register(terminal(1), state("birth"), 1.0) == []
    second = stores.register(terminal(2), state("birth"), 2.0)
    assert [status.revision for status in first + second] == [42, 43]


def test_flapping() -> None:
    """Six changes of status within ten minutes are flapping, five are not; it ends when they grow old."""
    stores = board(limit_s=10_000.0)
    said = []
    for number in range(4):
        said += stores.register(terminal(1), state("birth", bd_seq=number), number * 60.0)
        said += stores.register(terminal(1), state("lost", bd_seq=number), number * 60.0 + 30)
    assert [status.flapping for status in said] == [False] * 6 + [True] * 2
    assert stores.expire(600.0) == []
    calm = stores.expire(30.0 + 60 + 601)
    assert [status.flapping for status in calm] == [False]
    assert calm[0].status == "OFFLINE"


def test_a_slow_change_is_not_flapping() -> None:
    """The same number of changes spread over an hour is not flapping."""
    stores = board(limit_s=10_000.0)
    for number in range(8):
        for status in stores.register(terminal(1), state("birth", bd_seq=number), number * 600.0):
            assert not status.flapping
        for status in stores.register(terminal(1), state("lost", bd_seq=number), number * 600.0 + 300):
            assert not status.flapping


def test_a_limit_on_terminals() -> None:
    """Beyond the limit a terminal is refused and counted; those that are known go on."""
    stores = StoreBoard(silence_limit_s=LIMIT_S, maximum_terminals=2)
    for number in range(5):
        stores.register(terminal(number), state("birth"), 0.0)
    assert stores.refused == 3
    assert last(stores.statuses(0.0)) == ("OPEN", 2, 2)


def test_a_whole_fleet_expires_at_once() -> None:
    """10,000 silent terminals go offline in one sweep, with one register a store."""
    plans = Fleet.from_options(stores=2500, terminals_per_store=4).terminals()
    stores = board()
    for plan in plans:
        stores.register(plan.terminal, state("birth"), 0.0)
    gone = stores.expire(LIMIT_S + 1)
    assert len(gone) == 2500
    assert {(status.status, status.terminals_total) for status in gone} == {("OFFLINE", 4)}
