"""Clocks that are wrong, that jump, and days that change: keys, order and outcomes hold."""

from __future__ import annotations

import json
import sqlite3
import sysconfig
import time
import venv
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from emulator.business_day import Business, Till
from emulator.fleet import Fleet
from fleetwire.clock import BusinessClock, SteadyClock
from tests.lab.command_line import REPOSITORY, CommandLine, Lab, until

CLOCK = """
import os, time

_file, _time, _monotonic = os.environ["TEST_CLOCK_FILE"], time.time, time.monotonic
_seen = [-1.0, 0.0]


def _offset_s():
    if _monotonic() - _seen[0] > 0.02:
        with open(_file) as file:
            _seen[:] = _monotonic(), float(file.read() or 0)
    return _seen[1]


time.time = lambda: _time() + _offset_s()
time.time_ns = lambda: int((_time() + _offset_s()) * 1e9)
"""
FLEET = """
stores = 8
keep_alive_s = 30
heartbeat_interval_s = 3600
first_business_day = "2026-03-07"
opens = "20:00"
closes = "24:00"
events_per_day = 10
clock_skews_s = { "*.r01" = 3600, "*.d01" = -3600 }
"""


class HostClock:
    """The clock of every process that a command line starts, by a Python of its own; the test sets it."""

    def __init__(self, command_line: CommandLine) -> None:
        folder = command_line.folder / "clock"
        venv.create(folder)
        packages = next(folder.glob("lib/python*/site-packages"))
        (packages / "of-the-tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n{REPOSITORY}\n", encoding="utf-8")
        (packages / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")
        self._file = folder / "offset"
        self.set(0.0)
        command_line.python = str(folder / "bin/python")
        command_line.environment |= {"TEST_CLOCK_FILE": str(self._file)}

    def set(self, offset_s: float) -> None:
        """From now on the host's clock is off by so much."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(offset_s), encoding="utf-8")
        fresh.replace(self._file)


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    """``storefleet`` with a home of its own; whatever a failed test leaves running is ended."""
    command = CommandLine(tmp_path)
    yield command
    command.end_leftovers()


def stores_online(lab: Lab) -> tuple[int, int]:
    """How many stores the board shows as not offline, and how many there are."""
    regions = lab.status()["picture"]["regions"].values()
    return sum(board for board, _, _ in regions), sum(total for _, total, _ in regions)


def traded(lab: Lab, events: int) -> None:
    """Wait until so many more events are committed."""
    lab.wait_for_trade(total=lab.stage("emulator")["total"] + events)


def test_wrong_and_jumping_clocks_and_a_change_of_daylight_saving_change_nothing(command_line: CommandLine) -> None:
    """Tills an hour off, the host an hour back and then an hour ahead, over the night in which many clocks change."""
    clock = HostClock(command_line)
    file = command_line.folder / "fleet.toml"
    file.write_text(FLEET, encoding="utf-8")
    lab = command_line.up("--fleet", file, "--time-scale", 600, "--keep", "all", rate="100/s")
    until(lambda: stores_online(lab) == (8, 8), "every store is open")
    for offset_s in (-3600.0, 3600.0):
        traded(lab, 250)  # more than two snapshots
        clock.set(offset_s)
    traded(lab, 180)
    assert stores_online(lab) == (8, 8)
    lab.kill("parm-1")  # it begins anew in another time than it ended in
    verdict = lab.down()
    assert verdict["validity"] == "valid"
    assert_no_status_changed_with_the_clock(lab.run_folder / "witnesses.jsonl")
    assert_days_in_order(lab.run_folder / "ledger.sqlite")


def assert_no_status_changed_with_the_clock(witnesses: Path) -> None:
    """From the jump back on, which is seen in the snapshots' own times, PARM published no status any more."""
    _, *snapshots = [json.loads(line) for line in witnesses.read_text(encoding="utf-8").splitlines()]
    parm = [one for one in snapshots if one["stage"] == "parm" and one["incarnation"] == 1]
    jump = next(index for index in range(1, len(parm)) if parm[index]["at_ms"] < parm[index - 1]["at_ms"] - 1_000_000)
    assert parm[-1]["at_ms"] > parm[jump]["at_ms"] + 7_000_000, "and the jump ahead was seen too"
    assert parm[-1]["counters"]["stores_open"] == 8
    assert parm[-1]["counters"]["statuses_total"] == parm[jump - 1]["counters"]["statuses_total"]


def assert_days_in_order(ledger: Path) -> None:
    """Every source's numbers are 1..n, its business days ascend one by one, from the first on."""
    days: dict[str, list[str]] = defaultdict(list)
    numbers: dict[str, list[int]] = defaultdict(list)
    connection = sqlite3.connect(ledger)
    rows = connection.execute(
        "SELECT id, sequence, business_day_date FROM event JOIN source ON source.number = event.source"
        " ORDER BY source, sequence"
    )
    for source, sequence, day in rows:
        numbers[source].append(sequence)
        days[source].append(day)
    connection.close()
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
    for found in days.values():
        assert found == sorted(found)
        first, last = date.fromisoformat(found[0]), date.fromisoformat(found[-1])
        assert first == date(2026, 3, 7)
        assert len(set(found)) == (last - first).days + 1
    assert max(max(found) for found in days.values()) >= "2026-03-08"


@pytest.mark.parametrize("offset", ["-08:00", "-05:00", "+10:00"])
@pytest.mark.parametrize("skew_s", [0, 3600, -3600])
def test_a_business_day_keeps_its_date_over_midnight_and_daylight_saving(offset: str, skew_s: int) -> None:
    """A region's offset is fixed: days are 24 hours long, and the day's date is the local one of its opening."""
    fleet = Fleet.from_options(
        stores=1,
        first_business_day="2026-03-07",
        opens="20:00",
        closes="24:00",
        events_per_day=20,
        regions=[{"name": "west", "utc_offset": offset}],
        clock_skews_s={"*": skew_s},
    )
    plan = fleet.terminals()[0]
    till = Till(plan, Business(fleet))
    zone = timezone(timedelta(milliseconds=plan.region.offset_ms))
    before = ""
    for _ in range(90):
        event = till.next_event()
        assert event.time > before
        before = event.time
        local = datetime.fromisoformat(event.time).astimezone(zone) - timedelta(seconds=skew_s)
        opened = date.fromisoformat(event.business_day_date)
        since_midnight = local.replace(tzinfo=None) - datetime(opened.year, opened.month, opened.day)
        assert timedelta(hours=19) < since_midnight < timedelta(hours=26)
    assert event.business_day_date > "2026-03-08"


def test_ages_do_not_follow_the_hosts_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Business time for ages runs on when the host's clock is set, at the lab's scale."""
    clock = SteadyClock(BusinessClock(time.time(), 1_000.0, 60.0))
    began_s = time.monotonic()
    before_s = clock.now_s()
    for jump_s in (-3600.0, 3600.0):
        real = time.time()
        monkeypatch.setattr(time, "time", lambda real=real, jump_s=jump_s: real + jump_s)
        aged_s = clock.now_s() - before_s
        elapsed_s = (time.monotonic() - began_s) * 60.0
        assert 0 <= aged_s <= elapsed_s + 1.0
