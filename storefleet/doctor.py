"""Is this machine fit for a lab? Every check says what it found, whether that is enough, and what to do.

How many terminals fit is told by the functions by which ``up`` refuses a fleet.
"""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from fleetwire.errors import FleetError
from storefleet import home
from storefleet.broker import find_mosquitto, mosquitto_version
from storefleet.folders import current_folder
from storefleet.lab_options import descriptor_limit, terminals_that_fit
from storefleet.machine_size import MEMORY_MB, START_CPU_S, free_memory_mb, processors, start_cpu_s
from storefleet.machine_watch import measurable
from storefleet.processes import is_live
from storefleet.unfinished_runs import unfinished_run, way_on
from storefleet.verdict.machine import CAUSES

DISK_FLOOR_MEGABYTES: Final = 500
MINIMUM_MOSQUITTO: Final = (2, 0)


class Finding(Struct, frozen=True):
    """One check: ``ok`` false means that a lab will not run."""

    check: str
    ok: bool
    found: str
    advice: str = ""


def examine(runs: Path, terminals: int) -> list[Finding]:
    """All checks, for a lab of so many terminals; none of them raises."""
    checks: dict[str, Callable[[], Finding]] = {
        "python": _python,
        "mosquitto": _mosquitto,
        "descriptors": lambda: _descriptors(terminals),
        "ports": _ports,
        "disk": lambda: _disk(runs),
        "memory": lambda: _memory(terminals),
        "processors": lambda: _processors(terminals),
        "labs": _labs,
        "standstills": _standstills,
    }
    return [_guarded(name, check) for name, check in checks.items()]


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (FleetError, OSError) as error:
        return Finding(name, False, str(error))


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), version, "3.11 or newer is needed")


def _mosquitto() -> Finding:
    binary = find_mosquitto()
    version = mosquitto_version(binary)
    digits = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return Finding("mosquitto", digits >= MINIMUM_MOSQUITTO, f"{version} at {binary}", "version 2.0 or newer is needed")


def _descriptors(terminals: int) -> Finding:
    limit = descriptor_limit()
    fits = terminals_that_fit(limit)
    return _room("descriptors", f"{limit:,} a process", fits, terminals, "raise 'ulimit -Hn'")


def _memory(terminals: int) -> Finding:
    free = free_memory_mb()
    if free is None:
        return Finding("memory", True, "unknown on this system")
    return _room("memory", f"{free:,.0f} MB free", MEMORY_MB.terminals(free), terminals, "free some")


def _processors(terminals: int) -> Finding:
    fits = START_CPU_S.terminals(start_cpu_s())
    return _room("processors", f"{processors():g}", fits, terminals, "allow this machine more")


def _room(check: str, found: str, fits: int, terminals: int, way: str) -> Finding:
    """Whether so many terminals fit."""
    advice = f"{way} for {terminals:,} terminals, or make the fleet smaller"
    return Finding(check, fits >= terminals, f"{found}: {fits:,} terminals fit here", advice)


def free_port() -> int:
    """A loopback port that nobody listens on at this moment; to be sure of one, reserve it (:mod:`storefleet.ports`)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ports() -> Finding:
    return Finding("ports", True, f"loopback ports can be opened (tried {free_port()})")


def _disk(runs: Path) -> Finding:
    folder = runs if runs.exists() else current_folder()
    free = shutil.disk_usage(folder).free // 1_000_000
    return Finding(
        "disk", free >= DISK_FLOOR_MEGABYTES, f"{free:,} MB free in {folder}", f"{DISK_FLOOR_MEGABYTES} MB are needed"
    )


def _standstills() -> Finding:
    """What a verdict can blame on the machine; it is a lab's run folder whose disk is measured."""
    known = {*measurable(), "disk_wait"}
    found = f"measured here: {', '.join(words for cause, words in CAUSES.items() if cause in known)}"
    missing = ", ".join(words for cause, words in CAUSES.items() if cause not in known)
    return Finding("standstills", True, f"{found}; not: {missing}" if missing else found)


def _labs() -> Finding:
    home.make_home()
    names = home.lab_names()
    dead = [name for name in names if not is_live(home.lab_folder(name))]
    found = ", ".join(f"{name} (crashed)" if name in dead else name for name in names) or "none"
    runs = [run for name in dead if (run := unfinished_run(home.lab_folder(name))) is not None]
    advice = ["storefleet clean ends what crashed labs left", *map(way_on, runs)] if dead else []
    return Finding("labs", not dead, found, "; ".join(advice))
