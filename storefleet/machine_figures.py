"""What Linux says of its CPUs, from the text of its files: pure functions, None for whatever a text does not tell."""

from __future__ import annotations

from typing import Final, NamedTuple

STOLEN_SHARE: Final = 0.5
"""Below that the machine is a slow one, and a slow machine excuses nothing."""


class CpuTimes(NamedTuple):
    """Of all CPUs together since boot, in clock ticks."""

    ran: int
    stolen: int


def cpu_times(stat: str) -> CpuTimes | None:
    """From ``/proc/stat``: what ran, and what wanted to run while the hypervisor ran somebody else."""
    name, *fields = stat.partition("\n")[0].split()[:9] or [""]
    if name != "cpu" or len(fields) < 8 or not all(map(_is_count, fields)):
        return None
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = map(int, fields)
    return CpuTimes(user + nice + system + interrupts + soft_interrupts, stolen)


def stood_still_ms(before: CpuTimes, after: CpuTimes, window_ms: float, ticks_per_s: int) -> float:
    """How long a machine stood still within a window for want of CPUs; 0 where less than STOLEN_SHARE was stolen.

    The share is that of the time that was wanted: an idle CPU loses nothing. Never more than what was stolen.
    """
    stolen, ran = after.stolen - before.stolen, max(0, after.ran - before.ran)
    if stolen <= 0:
        return 0.0
    share = stolen / (stolen + ran)
    return min(window_ms * share, stolen * 1000 / ticks_per_s) if share >= STOLEN_SHARE else 0.0


def waited_us(pressure: str) -> int | None:
    """From a file of ``/proc/pressure``: microseconds since boot in which some process waited."""
    for line in pressure.splitlines():
        if line.startswith("some "):
            total = line.rpartition("total=")[2]
            return int(total) if _is_count(total) else None
    return None


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20
