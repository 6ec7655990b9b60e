"""What this machine gives a lab of memory and processor time, and how many terminals that carries.

``doctor`` tells these numbers and ``up`` refuses by them, from the same functions. A container's limits count as the
machine's (cgroup v2 and v1, up to the root); what cannot be told refuses nobody.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from fleetwire.errors import SettingsError

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
UNLIMITED_BYTES: Final = 1 << 60
"""What cgroup v1 says where nobody has set a limit is larger."""
START_LIMIT_S: Final = 40.0
"""So long a lab waits until a stage of it is ready."""


class Need(NamedTuple):
    """What a lab takes of something: all of it together, and more for each terminal (``docs/decisions/30``)."""

    lab: float
    terminal: float

    def terminals(self, given: float) -> int:
        """How many terminals fit into so much."""
        return max(0, int((given - self.lab) / self.terminal))

    def of(self, terminals: int) -> float:
        """How much so many terminals take."""
        return self.lab + self.terminal * terminals


MEMORY_MB: Final = Need(300, 0.02)
START_CPU_S: Final = Need(8, 0.002)
"""Processor time until the lab is ready."""


def free_memory_mb(proc: Path = PROC, cgroups: Path = CGROUPS) -> float | None:
    """Megabytes that processes can still have here: the least of the machine's and of every limit; None: unknown."""
    found = [limit for limit in (_available(proc), *_left_in_groups(proc, cgroups)) if limit is not None]
    return min(found) / 1_000_000 if found else None


def processors(proc: Path = PROC, cgroups: Path = CGROUPS) -> float:
    """Processors that this process may use, by affinity and by every quota."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(usable), *_quotas(proc, cgroups)])


def start_cpu_s() -> float:
    """Processor time that a lab can have until it has to be ready."""
    return processors() * START_LIMIT_S


def require_memory(terminals: int) -> None:
    """Raises SettingsError with the number of terminals that fit."""
    given = free_memory_mb()
    if given is not None and (fits := MEMORY_MB.terminals(given)) < terminals:
        raise SettingsError(
            f"{terminals:,} terminals need about {MEMORY_MB.of(terminals):,.0f} MB of memory and {given:,.0f} MB are free: "
            f"{fits:,} terminals fit; make the fleet smaller or free some"
        )


def require_processors(terminals: int) -> None:
    """Raises SettingsError where the lab would not be ready in time, with the number of terminals that would be."""
    given_s = start_cpu_s()
    if (fits := START_CPU_S.terminals(given_s)) < terminals:
        raise SettingsError(
            f"{terminals:,} terminals need about {START_CPU_S.of(terminals):,.0f} s of processor time to come up and "
            f"{processors():g} processors give {given_s:,.0f} s within {START_LIMIT_S:.0f} s: {fits:,} terminals fit; "
            "make the fleet smaller or allow this machine more"
        )


def _available(proc: Path) -> int | None:
    """``MemAvailable``: without what the kernel would give back."""
    for line in _lines(proc / "meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable" and (kilobytes := value.split()[:1]):
            return _whole(kilobytes[0], times=1024)
    return None


def _groups(proc: Path, controller: str) -> Iterator[tuple[bool, Path]]:
    """Whether it is of version 2, and the path of this process's group with all above it, for a controller."""
    for line in _lines(proc / "self" / "cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" or controller in controllers.split(","):
            group = Path(path.lstrip("/"))
            yield from ((number == "0", folder) for folder in (group, *group.parents))


def _left_in_groups(proc: Path, cgroups: Path) -> Iterator[int | None]:
    """What each limit leaves: files that are only kept in memory for the next reader do not count."""
    for unified, group in _groups(proc, "memory"):
        folder = cgroups / group if unified else cgroups / "memory" / group
        limit_name, used_name = (
            ("memory.max", "memory.current") if unified else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and used is not None and limit < UNLIMITED_BYTES:
            kept_name = "inactive_file" if unified else "total_inactive_file"
            kept = dict(words for line in _lines(folder / "memory.stat") if len(words := line.split()) == 2)
            yield limit - max(0, used - (_whole(kept.get(kept_name, "")) or 0))


def _quotas(proc: Path, cgroups: Path) -> Iterator[float]:
    for unified, group in _groups(proc, "cpu"):
        if unified:
            quota, period = map(_whole, (" ".join(_lines(cgroups / group / "cpu.max")).split() or ["max", ""])[:2])
        else:
            folder = cgroups / "cpu" / group
            quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            yield quota / period


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    return _whole(" ".join(_lines(path)))


def _whole(text: str, times: int = 1) -> int | None:
    try:
        return int(text) * times
    except ValueError:
        return None
