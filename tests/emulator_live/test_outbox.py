"""The outbox by itself: window, asking, backing off; no clock but the one given."""

from __future__ import annotations

from itertools import pairwise

from emulator.outbox import ANSWER_S, NEVER_S, OVERDUE_LIMIT_S, OVERDUE_S, Outbox
from fleetwire.outcomes import WINDOW


def even() -> float:
    """No jitter."""
    return 1.0


def sending(numbers: int) -> Outbox:
    """An outbox with this many events on the wire, sent at 100 s."""
    outbox = Outbox(0)
    for sequence in range(1, numbers + 1):
        assert outbox.add(sequence, online=True)
        assert outbox.send(sequence, 100.0, even) == 1
    return outbox


def test_the_window_is_the_limit_on_the_wire() -> None:
    """The event behind a full window may not go out at once."""
    outbox = sending(WINDOW)
    assert not outbox.add(WINDOW + 1, online=True)
    assert (outbox.room, outbox.backlog, outbox.unresolved) == (0, 1, WINDOW + 1)


def test_nothing_overtakes_the_backlog() -> None:
    """An event that comes while older ones wait on disk waits behind them."""
    outbox = Outbox(0)
    assert not outbox.add(1, online=False)
    assert not outbox.add(2, online=True)
    assert outbox.backlog == 2


def test_an_outcome_drops_what_it_covers_and_says_what_it_told() -> None:
    """Only intervals that resolve something count as news; the rest of the wire stays."""
    outbox = sending(5)
    told, resolved = outbox.drop_covered([(1, 2), (4, 4), (9, 1), (50, 60)])
    assert told == [(1, 2), (4, 4)]
    assert resolved == [1, 2, 4]
    assert sorted(outbox.wire or {}) == [3, 5]
    assert outbox.drop_covered([(1, 4)]) == ([(1, 4)], [3])
    assert outbox.drop_covered([(1, 4)]) == ([], [])


def test_an_empty_wire_waits_for_nothing() -> None:
    """With its last event the outbox gives back its collection and its deadline."""
    outbox = sending(2)
    outbox.drop_covered([(1, 2)])
    assert outbox.wire is None
    assert outbox.due_s == NEVER_S


def test_what_is_overdue_is_asked_for_and_sent_again_only_on_an_answer() -> None:
    """An ask names every open number; the answer decides what goes out again, marked with its attempt."""
    outbox = sending(3)
    assert outbox.poll(100.0 + OVERDUE_S - 1, even, ask=True) == ([], [])
    assert outbox.poll(100.0 + OVERDUE_S, even, ask=True) == ([(1, 3)], [])
    outbox.drop_covered([(2, 2)])
    assert outbox.answered(106.0, even) == [1, 3]
    assert outbox.send(1, 106.0, even) == 2
    assert outbox.send(1, 107.0, even) == 3


def test_asking_backs_off_to_a_limit() -> None:
    """Every answered round doubles the time to the next ask, up to OVERDUE_LIMIT_S."""
    outbox = sending(1)
    waits = []
    for _ in range(8):
        now_s = outbox.due_s
        assert outbox.poll(now_s, even, ask=True).ask == [(1, 1)]
        assert outbox.answered(now_s, even) == [1]
        outbox.send(1, now_s, even)
        waits.append(outbox.due_s - now_s)
    assert waits[:3] == [2 * OVERDUE_S, 4 * OVERDUE_S, 8 * OVERDUE_S]
    assert waits[-1] == OVERDUE_LIMIT_S


def test_three_unanswered_asks_send_again_all_the_same() -> None:
    """Asks come after 2, 4 and 8 s without an answer; then everything asked goes out."""
    outbox = sending(2)
    times, again = [], []
    while not again:
        times.append(outbox.due_s)
        again = outbox.poll(outbox.due_s, even, ask=True).send_again
    assert again == [1, 2]
    assert [after - before for before, after in pairwise(times)] == [
        ANSWER_S, 2 * ANSWER_S, 4 * ANSWER_S,
    ]  # fmt: skip


def test_an_answer_that_nobody_asked_for_sends_nothing() -> None:
    """Only what was asked is sent again."""
    assert sending(2).answered(101.0, even) == []


def test_a_refused_sending_is_asked_for_sooner_and_backs_off_as_well() -> None:
    """What the broker had nobody for is asked for after 2 s, 4 s after the first answer, 8 s after the second."""
    outbox = sending(2)
    now_s, waits = 100.0, []
    for _ in range(3):
        outbox.refused(2, now_s, even)
        waits.append(outbox.due_s - now_s)
        now_s = outbox.due_s
        assert outbox.poll(now_s, even, ask=True).ask == [(1, 2)]
        assert outbox.answered(now_s, even) == [1, 2]
    assert waits == [ANSWER_S, 2 * ANSWER_S, 4 * ANSWER_S]


def test_what_is_refused_while_an_answer_is_awaited_does_not_wait_for_the_long_round() -> None:
    """The ask did not name it, so the answer does not bring it back: the next ask comes as soon as after a refusal."""
    outbox = sending(1)
    outbox.connected(100.0)
    assert outbox.poll(100.0, even, ask=True).ask == [(1, 1)]
    assert outbox.add(2, online=True)
    outbox.send(2, 100.1, even)
    outbox.refused(2, 100.2, even)
    assert outbox.answered(100.3, even) == [1]
    assert outbox.due_s == 100.3 + 2 * ANSWER_S
    assert outbox.poll(outbox.due_s, even, ask=True).ask == [(1, 2)]


def test_the_refusal_of_what_has_its_outcome_changes_nothing() -> None:
    """A PUBACK may come after the outcome of an earlier sending."""
    outbox = sending(1)
    outbox.drop(1)
    outbox.refused(1, 101.0, even)
    assert outbox.due_s == NEVER_S


def test_a_new_connection_asks_at_once() -> None:
    """Whatever the last connection left open is asked for without waiting."""
    outbox = sending(2)
    outbox.connected(100.5)
    assert outbox.poll(100.5, even, ask=True).ask == [(1, 2)]


def test_without_anybody_to_ask_overdue_events_are_sent_again() -> None:
    """Where the broker is the last stage, overdue means send again."""
    outbox = sending(2)
    assert outbox.poll(100.0 + OVERDUE_S, even, ask=False) == ([], [1, 2])


def test_a_restart_knows_wire_and_backlog_from_disk() -> None:
    """Events with an attempt are on the wire and asked for; those without wait behind them."""
    outbox = Outbox(9, [(4, 1), (6, 3), (7, 0), (8, 0), (9, 0)])
    assert sorted(outbox.wire or {}) == [4, 6]
    assert (outbox.sent_sequence, outbox.backlog) == (6, 3)
    outbox.connected(1.0)
    assert outbox.poll(1.0, even, ask=True).ask == [(4, 4), (6, 6)]
    assert outbox.send(6, 2.0, even) == 4
