"""Which run is the newest: by what is recorded, under every time zone and beside whatever names there are."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetwire.errors import SettingsError
from storefleet import process_identity, run_folders
from storefleet.past_run import find_run
from storefleet.run_folders import RUNS_A_SECOND, make_run_folder, newest_run

NOON_S = datetime(2026, 10, 25, 12, tzinfo=UTC).timestamp()
ZONES = ("Pacific/Kiritimati", "America/Los_Angeles", "Europe/Berlin", "Nowhere/Nothing", "UTC")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time at which folders are made, as a list of one; the time zone is as it was afterwards."""
    now = [NOON_S]
    monkeypatch.setattr(run_folders.time, "gmtime", lambda: _gmtime(now[0]))
    yield now
    monkeypatch.undo()
    time.tzset()


_gmtime = time.gmtime


def in_zone(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """From here on local time is that of the zone."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()


def recorded(folder: Path, began_s: float) -> Path:
    """A run folder whose record says when it began."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f'{{"format": "storefleet-run", "started_at_ms": {int(began_s * 1000)}}}'
    (folder / "plan.json").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("zone", ZONES)
def test_names_are_in_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float], zone: str) -> None:
    """Whatever local time is."""
    in_zone(monkeypatch, zone)
    assert make_run_folder(tmp_path / "runs", "lab") == tmp_path / "runs" / "20261025-120000-lab"


def test_names_sort_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    """From zone to zone, and over the hour that local clocks have twice: the newest is always the one just made."""
    for zone in (*ZONES, "Europe/Berlin"):
        in_zone(monkeypatch, zone)
        clock[0] += 1_200
        made = recorded(make_run_folder(tmp_path, "lab"), clock[0])
        assert newest_run(tmp_path) == made
        assert max(tmp_path.iterdir()) == made


def test_older_versions_named_in_local_time(tmp_path: Path) -> None:
    """Beside a name that lies hours ahead, the newest is the one whose record says so; ``latest`` means it too."""
    recorded(tmp_path / "20261025-220000-lab", NOON_S)
    younger = recorded(tmp_path / "20261025-120500-lab", NOON_S + 300)
    recorded(tmp_path / "renamed", NOON_S + 200)
    assert newest_run(tmp_path) == younger
    assert find_run("latest", tmp_path) == younger


def test_two_in_one_second(tmp_path: Path, clock: list[float]) -> None:
    """Each has a folder of its own, as many as there can be; then it is said."""
    made = [make_run_folder(tmp_path, "lab").name for _ in range(RUNS_A_SECOND)]
    assert made[:2] == ["20261025-120000-lab", "20261025-120000-lab-2"]
    assert len(set(made)) == RUNS_A_SECOND
    with pytest.raises(SettingsError, match=re.escape(f"{RUNS_A_SECOND} of that name exist; use --runs DIR")):
        make_run_folder(tmp_path, "lab")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"started_at_ms": "x"}', b"\xff", b"[" * 100_000])
def test_a_damaged_record_does_not_hide_its_run(tmp_path: Path, content: bytes) -> None:
    """An older run is not judged in place of the newest, because that is damaged: its name tells when it began."""
    recorded(tmp_path / "20261025-110000-lab", NOON_S - 3_600)
    damaged = tmp_path / "20261025-120000-lab"
    damaged.mkdir()
    (damaged / "plan.json").write_bytes(content)
    assert newest_run(tmp_path) == damaged
    (damaged.rename(tmp_path / "named") / "plan.json").touch()
    os.utime(tmp_path / "named" / "plan.json", (NOON_S - 7_200, NOON_S - 7_200))
    assert newest_run(tmp_path) == tmp_path / "20261025-110000-lab", "a file of another time is no newer"


def test_a_process_is_the_same_in_every_time_zone(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    """Where ``ps`` is asked for the start of a process, two commands hear the same, wherever they think they are."""
    heard = set()
    for zone, language in (("Asia/Tokyo", "C"), ("America/Los_Angeles", "de_DE.UTF-8")):
        in_zone(monkeypatch, zone)
        monkeypatch.setenv("LC_ALL", language)
        heard.add(process_identity._told_by_ps(os.getpid()))
    assert len(heard) == 1
    assert None not in heard
