"""What a process has used: CPU seconds and resident bytes, from ``/proc`` on Linux and from ``ps`` elsewhere."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Final

_ON_LINUX: Final[bool] = platform.system() == "Linux"


def cpu_seconds(process_id: int) -> float | None:
    """User and system time of a process so far, its reaped children not counted; None when there is none."""
    if _ON_LINUX:
        try:
            fields = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    text = _ps("time", process_id)
    return read_ps_time(text) if text else None


def machine_cpu_seconds() -> float | None:
    """What all cores together have worked so far, whoever for; None where there is no ``/proc/stat``."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, interrupt, soft_interrupt = (int(field) for field in fields[:7])
    return (user + nice + system + interrupt + soft_interrupt) / os.sysconf("SC_CLK_TCK")


def resident_bytes(process_id: int) -> int | None:
    """Resident set of a process now; None when there is none."""
    if _ON_LINUX:
        try:
            pages = Path(f"/proc/{process_id}/statm").read_text(encoding="utf-8").split()[1]
        except OSError:
            return None
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    text = _ps("rss", process_id)
    return int(text) * 1024 if text.isdigit() else None


def read_ps_time(text: str) -> float:
    """Read ``[[days-]hours:]minutes:seconds`` as ``ps -o time`` prints it."""
    days, _, clock = text.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds + 86_400 * int(days or 0)


def _ps(column: str, process_id: int) -> str:
    shown = subprocess.run(
        ["ps", "-o", f"{column}=", "-p", str(process_id)], capture_output=True, text=True, check=False, timeout=5
    )
    return shown.stdout.strip()
