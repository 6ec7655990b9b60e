"""Where a benchmark runs, and what there may make its figures worth less."""

from __future__ import annotations

import os
import platform

from storefleet.bench.report import Machine
from storefleet.broker import find_mosquitto, mosquitto_version


def look_around() -> Machine:
    """This machine, now. Raises SettingsError when there is no Mosquitto."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cores=_cores(),
        python=platform.python_version(),
        mosquitto=mosquitto_version(find_mosquitto()),
        load_average=round(os.getloadavg()[0], 2),
    )


def cautions(machine: Machine) -> list[str]:
    """One line each."""
    if machine.load_average <= 1.0:
        return []
    load = f"load average {machine.load_average:.2f} at the start"
    return [f"{load}: others use this machine too, so absolute numbers are low and ratios wide"]


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
