"""The doctor's findings: each check says what it found, and what is wrong does not keep the others from being made."""

from __future__ import annotations

import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from fleetwire.errors import SettingsError
from storefleet import doctor, home, machine_size
from storefleet.doctor import Finding, examine
from storefleet.machine_size import require_memory, require_processors

CHECKS = ["python", "mosquitto", "descriptors", "ports", "disk", "memory", "processors", "labs", "standstills"]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No labs of this machine's user."""
    monkeypatch.setenv("STOREFLEET_HOME", str(tmp_path / "home"))


def findings(runs: Path, terminals: int = 600) -> dict[str, Finding]:
    """All findings by check, which are always the same ones in the same order."""
    found = examine(runs, terminals)
    assert [finding.check for finding in found] == CHECKS
    return {finding.check: finding for finding in found}


def test_a_fit_machine(tmp_path: Path) -> None:
    """On a machine that runs these tests every check is in order, and without labs it says so."""
    found = findings(tmp_path)
    assert [finding.check for finding in found.values() if not finding.ok] == []
    assert found["labs"].found == "none"
    assert str(tmp_path) in found["disk"].found


@pytest.mark.parametrize(
    ("version", "ok"),
    [("2.0.11", True), ("2.1", True), ("10.0", True), ("1.6.9", False), ("unknown", False), ("", False)],
)
def test_the_brokers_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, ok: bool) -> None:
    """Mosquitto is good enough from 2.0 on; another version is told with what is needed."""
    monkeypatch.setattr(doctor, "mosquitto_version", lambda _: version)
    found = findings(tmp_path)["mosquitto"]
    assert found.ok == ok
    assert found.found.startswith(version)
    assert found.advice == "version 2.0 or newer is needed"


def test_no_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing broker is a finding with the way to get one, and the other checks are made all the same."""
    monkeypatch.setenv("STOREFLEET_MOSQUITTO", str(tmp_path / "missing"))
    found = findings(tmp_path)
    assert not found["mosquitto"].ok
    assert f"STOREFLEET_MOSQUITTO={tmp_path}/missing is no program" in found["mosquitto"].found
    assert found["ports"].ok


@pytest.mark.parametrize(
    ("limit", "ok", "fits"), [(20_000, True, "9,900"), (1_400, True, "600"), (1_399, False, "599"), (64, False, "0")]
)
def test_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, ok: bool, fits: str) -> None:
    """The number of terminals that fit is told; fewer than those asked for are too few, as ``up`` has it."""
    monkeypatch.setattr(doctor, "descriptor_limit", lambda: limit)
    found = findings(tmp_path)["descriptors"]
    assert found.ok == ok
    assert found.found == f"{limit:,} a process: {fits} terminals fit here"
    assert found.advice == "raise 'ulimit -Hn' for 600 terminals, or make the fleet smaller"


@pytest.mark.parametrize(
    ("free_mb", "ok", "told"),
    [(None, True, "unknown on this system"), (312.0, True, "312 MB free: 600 terminals fit here"),
     (311.0, False, "311 MB free: 550 terminals fit here"), (100.0, False, "100 MB free: 0 terminals fit here")],
)  # fmt: skip
def test_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mb: float | None, ok: bool, told: str) -> None:
    """``up`` refuses what doctor says does not fit, with the same number."""
    monkeypatch.setattr(doctor, "free_memory_mb", lambda: free_mb)
    monkeypatch.setattr(machine_size, "free_memory_mb", lambda: free_mb)
    found = findings(tmp_path)["memory"]
    assert (found.ok, found.found) == (ok, told)
    refused(ok, require_memory, told)


@pytest.mark.parametrize(
    ("count", "ok", "told"),
    [(2.0, True, "2: 36,000 terminals fit here"), (0.25, True, "0.25: 1,000 terminals fit here"),
     (0.2, False, "0.2: 0 terminals fit here")],
)  # fmt: skip
def test_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: float, ok: bool, told: str) -> None:
    """As with memory, by how long it takes until the lab is ready."""
    monkeypatch.setattr(doctor, "processors", lambda: count)
    monkeypatch.setattr(machine_size, "processors", lambda: count)
    found = findings(tmp_path)["processors"]
    assert (found.ok, found.found) == (ok, told)
    refused(ok, require_processors, told)


def refused(fits: bool, require: Callable[[int], None], told: str) -> None:
    """What ``up`` asks says the same of 600 terminals."""
    with nullcontext() if fits else pytest.raises(SettingsError, match=re.escape(told.rpartition(": ")[2][:-5])):
        require(600)


@pytest.mark.parametrize(("free_megabytes", "ok"), [(500, True), (499, False)])
def test_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_megabytes: int, ok: bool) -> None:
    """Half a gigabyte has to be free where runs are written."""
    usage = namedtuple("usage", ["free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free_megabytes * 1_000_000))
    found = findings(tmp_path)["disk"]
    assert (found.ok, found.advice) == (ok, "500 MB are needed")
    assert found.found == f"{free_megabytes} MB free in {tmp_path}"


@pytest.mark.parametrize("error", [OSError("nothing there"), SettingsError("nothing there")])
@pytest.mark.parametrize(
    ("function", "check"),
    [("find_mosquitto", "mosquitto"), ("descriptor_limit", "descriptors"), ("free_port", "ports"),
     ("shutil.disk_usage", "disk"), ("home.lab_names", "labs")],
)  # fmt: skip
def test_a_check_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, check: str, error: Exception
) -> None:
    """A check that cannot be made is a finding under its own name that says why."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(f"storefleet.doctor.{function}", fail)
    assert findings(tmp_path)[check] == Finding(check, False, "nothing there")


@pytest.mark.parametrize(
    ("causes", "found"),
    [
        (["stopped", "cpu_steal", "event_loop"], "measured here: sleep, CPU steal, disk wait, event loop"),
        (["event_loop"], "measured here: disk wait, event loop; not: sleep, CPU steal"),
    ],
)
def test_standstills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, causes: list[str], found: str) -> None:
    """What a lab can measure of its machine here is told, and what it cannot; neither keeps a lab from running."""
    monkeypatch.setattr(doctor, "measurable", lambda: causes)
    assert findings(tmp_path)["standstills"] == Finding("standstills", True, found)


def test_a_crashed_lab(tmp_path: Path) -> None:
    """A lab whose own process is gone is named as crashed, with the command that clears it."""
    home.make_lab_folder("gone", "{}")
    found = findings(tmp_path)["labs"]
    assert found == Finding("labs", False, "gone (crashed)", "storefleet clean ends what crashed labs left")
