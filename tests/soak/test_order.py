"""What was ordered, and the commands by which a soak can be played again."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer

from storefleet.soak import __main__ as command_line
from storefleet.soak.order import Order
from storefleet.soak.schedule import read_schedule

PAIR = read_schedule("kill parm-1 at 0.5 s; pause lab for 3.2 s at 1.1 s")
PLAIN = Order(seed=7, stores=8, rate="60/s")
RICH = Order(
    seed=7, stores=4, rate="40/min", minutes=0.3, play=[PAIR, PAIR[:1]], each=True, shrink=True, longest_pause_s=2.5,
    limit_s=30.0,
)  # fmt: skip


@pytest.fixture
def ordered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """The orders that reach the soak; none is played."""
    orders: list[Order] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "_soak", lambda order, runs: orders.append(order))
    return orders


def give(command: str) -> None:
    """Call it as the shell does."""
    name, *options = shlex.split(command)
    assert name == "scripts/soak"
    app = typer.Typer()
    app.command()(command_line.command)
    app(options, standalone_mode=False)


@pytest.mark.parametrize("order", [PLAIN, RICH, Order(seed=0, stores=1, rate="1/s", schedules=12)])
def test_the_printed_command_orders_the_same(ordered: list[Order], order: Order) -> None:
    """Whatever was ordered can be ordered again by what the soak prints first."""
    give(order.command())
    assert ordered == [order]


def test_what_was_drawn_in_some_time_can_be_drawn_again_by_its_number(ordered: list[Order]) -> None:
    """Another machine would draw more or fewer in the same time; behind what was given, none stays none."""
    give(RICH.command(drawn=17))
    assert (ordered[-1].schedules, ordered[-1].minutes) == (17, None)
    for order in (RICH, Order(seed=7, stores=4, rate="40/min", each=True)):
        give(order.command(drawn=0))
        assert ordered[-1].given == order.given
        assert ordered[-1].enough(0, 1.0), "the first that is given takes longer"
    assert PLAIN.command(drawn=0) == PLAIN.command(), "nothing at all was played"


def test_one_schedule_alone_is_the_same_lab_and_nothing_else(ordered: list[Order]) -> None:
    """The lab's seed, stores, rate and limit are kept; nothing is drawn behind it."""
    give(RICH.command_alone(PAIR))
    assert ordered == [Order(seed=7, stores=4, rate="40/min", play=[PAIR], limit_s=30.0)]


@pytest.mark.parametrize(
    ("order", "drawn", "seconds", "enough"),
    [
        (PLAIN, 1000, 299.0, False),
        (PLAIN, 0, 300.0, True),
        (RICH, 1000, 17.9, False),
        (RICH, 0, 18.0, True),
        (Order(seed=7, stores=8, rate="60/s", schedules=3, minutes=1.0), 2, 1e9, False),
        (Order(seed=7, stores=8, rate="60/s", schedules=3, minutes=1.0), 3, 0.0, True),
        (Order(seed=7, stores=8, rate="60/s", play=[PAIR]), 0, 0.0, True),
    ],
)
def test_when_it_is_enough(order: Order, drawn: int, seconds: float, enough: bool) -> None:
    """Five minutes, or those that were said, or a number of schedules; nothing is drawn behind --play unless it is said."""
    assert order.enough(drawn, seconds) is enough
