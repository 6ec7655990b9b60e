"""The process dies, and the fleet goes on as if nothing had been."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from emulator.business_day import Business, Till
from emulator.descriptors import make_room
from emulator.options import read_options
from emulator.stage import Emulator
from fleetwire.content import content_hash
from fleetwire.errors import SettingsError
from fleetwire.settings import StageSettings
from tests.broker import Broker
from tests.emulator_live.lab import answering, call, rows, running, settings_for, until, until_drained

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def process(settings: StageSettings, before: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """The emulator as a process of its own; whatever happens it does not outlive the test."""
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(REPOSITORY)}
    child = subprocess.Popen([*before, sys.executable, "-P", "-m", "emulator"], env=environment)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def committed(folder: Path) -> int:
    """How many events the ledger holds; 0 before there is one."""
    ledger = folder / "ledger.sqlite"
    return int(str(rows(folder, "SELECT count(*) FROM event")[0][0])) if ledger.exists() and _has_tables(folder) else 0


def births(folder: Path) -> int:
    """How many terminals are online by the ledger; 0 before there is one."""
    if not (folder / "ledger.sqlite").exists() or not _has_tables(folder):
        return 0
    return int(str(rows(folder, "SELECT count(*) FROM register WHERE online = 1")[0][0]))


def _has_tables(folder: Path) -> bool:
    return bool(rows(folder, "SELECT 1 FROM sqlite_master WHERE name = 'register'"))


def expected_hashes(settings: StageSettings, counts: dict[str, int]) -> dict[str, list[bytes]]:
    """What every till says in its first events when nobody ever kills it."""
    fleet = read_options(settings.options).whole_fleet()
    business = Business(fleet)
    tills = {plan.id: Till(plan, business) for plan in fleet.terminals()}
    return {
        source: [content_hash(*tills[source].next_event()) for _ in range(count)] for source, count in counts.items()
    }


async def test_a_killed_process_goes_on_without_gap_or_change(broker: Broker, tmp_path: Path) -> None:
    """After kill -9 in the middle of trading no number is missing, no content differs, and every event arrives."""
    settings = settings_for(broker, tmp_path, rate_per_s=400.0)
    async with answering(broker) as answerer:
        with process(settings) as child:
            await until(lambda: committed(tmp_path) > 100, "100 events are committed")
            child.kill()
            child.wait()
        first = committed(tmp_path)
        with process(settings) as child:
            await until(lambda: committed(tmp_path) > first + 100, "100 more events are committed")
            child.kill()
            child.wait()
        quiet = settings_for(broker, tmp_path)
        async with running(quiet) as emulator:
            await until_drained(emulator)
            assert sum(numbers.count for numbers in emulator.witness.taken.values()) == committed(tmp_path)
        counts = {
            str(source): int(str(count))
            for source, count in rows(
                tmp_path, "SELECT id, count(*) FROM event JOIN source ON number = source GROUP BY id"
            )
        }
        hashes: dict[str, list[bytes]] = {}
        for source, sequence, digest in rows(
            tmp_path, "SELECT id, sequence, hash FROM event JOIN source ON number = source ORDER BY event.rowid"
        ):
            hashes.setdefault(str(source), []).append(digest)  # type: ignore[arg-type]
            assert sequence == len(hashes[str(source)])
        assert hashes == expected_hashes(settings, counts)
        assert len(answerer.keys) == sum(counts.values())
    assert rows(tmp_path, "SELECT DISTINCT boot FROM register") == [(3,)]


async def test_a_low_soft_limit_of_descriptors_is_raised(broker: Broker, tmp_path: Path) -> None:
    """A fleet of 60 terminals comes up where the soft limit is 50 and the hard limit is not."""
    settings = settings_for(broker, tmp_path, fleet={"stores": 20, "terminals_per_store": 3})
    with process(settings, before=("sh", "-c", 'ulimit -Sn 50 && exec "$@"', "sh")) as child:
        await until(lambda: births(tmp_path) == 60, "60 terminals are online")
        assert child.poll() is None


def test_a_fleet_beyond_the_hard_limit_is_refused_with_the_number_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal says how many terminals fit, and which limit to raise to what."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    with pytest.raises(SettingsError, match=r"960 terminals fit here.*ulimit -Hn 10064"):
        make_room(10_000)


async def test_a_terminated_process_says_goodbye(broker: Broker, tmp_path: Path) -> None:
    """SIGTERM closes every terminal gracefully and ends with status 0."""
    with process(settings_for(broker, tmp_path, rate_per_s=100.0, accept_puback=True)) as child:
        await until(lambda: committed(tmp_path) > 20, "20 events are committed")
        child.terminate()
        await until(lambda: child.poll() is not None, "the process has ended")
        assert child.returncode == 0
    assert rows(tmp_path, "SELECT DISTINCT online, reason FROM register") == [(0, "planned_close")]


async def test_the_same_seed_gives_the_same_rows(broker: Broker, tmp_path: Path) -> None:
    """Two runs with one seed commit the same events in the same order; another seed does not."""
    query = "SELECT source, sequence, type, hash, business_day_date, amount_cents FROM event ORDER BY rowid"
    found = []
    for run, seed in enumerate((7, 7, 8)):
        folder = tmp_path / f"{run}"
        async with running(settings_for(broker, folder, seed=seed, accept_puback=True)) as emulator:
            await call(emulator, "burst", events=120)
            await until_drained(emulator)
        found.append(rows(folder, query))
    assert len(found[0]) == 120
    assert found[0] == found[1]
    assert found[0] != found[2]


async def test_a_ledger_of_another_fleet_is_refused(broker: Broker, tmp_path: Path) -> None:
    """A state folder that belongs to another seed or another fleet is refused in one line, and not touched."""
    async with running(settings_for(broker, tmp_path)):
        pass
    for other in ({"seed": 99}, {"fleet": {"stores": 2, "terminals_per_store": 3}}, {"fleet": {"stores": 1}}):
        with pytest.raises(SettingsError, match="use another state folder"):
            await Emulator(settings_for(broker, tmp_path, **other)).start()
    assert rows(tmp_path, "SELECT count(*), max(boot) FROM till") == [(4, 1)]


async def test_a_fleet_may_grow_between_two_runs(broker: Broker, tmp_path: Path) -> None:
    """More stores of the same fleet join the ledger; those that were there go on with their second boot."""
    async with running(settings_for(broker, tmp_path)):
        pass
    async with running(settings_for(broker, tmp_path, fleet={"stores": 3, "terminals_per_store": 2})) as emulator:
        assert [terminal.boot for terminal in emulator.running.terminals] == [2, 2, 2, 2, 1, 1]


async def test_a_state_folder_that_cannot_be_written_is_one_line(broker: Broker, tmp_path: Path) -> None:
    """A path that is no folder, or a file that is no ledger, is a SettingsError and not a traceback."""
    (tmp_path / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(SettingsError, match="give a folder"):
            await Emulator(settings_for(broker, folder)).start()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 5}, "unknown key 'rate'"),
        ({"rate_per_s": -1}, "rate_per_s"),
        ({"shard": 5, "shards": 2}, "shards are numbered"),
        ({"fleet": {"stores": 0}}, "stores"),
        ({"malformed_share": 2}, "malformed_share"),
    ],
)
async def test_wrong_options_are_one_line(
    broker: Broker, tmp_path: Path, options: dict[str, object], says: str
) -> None:
    """An option that cannot be is a SettingsError that names it."""
    with pytest.raises(SettingsError, match=says):
        await Emulator(settings_for(broker, tmp_path, **options)).start()
