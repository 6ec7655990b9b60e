"""From the command line to a plan: every option is read, checked and explained here, before anything starts."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from emulator.fleet import Fleet
from fleetwire.errors import SettingsError
from fleetwire.settings import read_secret
from storefleet.broker import BrokerAddress, find_mosquitto, require_free
from storefleet.plan import (
    LabPlan,
    check_name,
    check_runs_folder,
    new_name,
    present_stages,
    read_rate,
    stage_commands,
    stage_instances,
)

SPARE_DESCRIPTORS: Final = 200
"""What a process needs beside its connections: files, pipes, the event loop."""
DESCRIPTORS_PER_TERMINAL: Final = 2
"""In the busiest process, the hop proxy: the terminal's connection and the one to the broker."""
PASSWORD_VARIABLE: Final = "STOREFLEET_BROKER_PASSWORD"


def descriptor_limit() -> int:
    """How many descriptors one process of ours may open: the hard limit, up to which we raise the soft one."""
    return int(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def terminals_that_fit(limit: int, *, bare_hops: bool = False) -> int:
    """How many terminals a lab can have when one process may open ``limit`` descriptors."""
    return max(0, (limit - SPARE_DESCRIPTORS) // (1 if bare_hops else DESCRIPTORS_PER_TERMINAL))


def require_descriptors(terminals: int, *, bare_hops: bool = False) -> None:
    """Raise the soft limit to what is needed; raises SettingsError with the number that fits and what to raise."""
    hard = descriptor_limit()
    fits = terminals_that_fit(hard, bare_hops=bare_hops)
    if terminals > fits:
        needed = terminals * (1 if bare_hops else DESCRIPTORS_PER_TERMINAL) + SPARE_DESCRIPTORS
        raise SettingsError(
            f"{terminals:,} terminals need {needed:,} descriptors in one process and the hard limit is {hard:,}: "
            f"{fits:,} terminals fit; raise it with 'ulimit -Hn {needed}' (as root) or make the fleet smaller"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def read_fleet(file: Path | None, options: dict[str, Any]) -> Fleet:
    """The fleet from a file, options that were given going first; or from options alone."""
    given = {name: value for name, value in options.items() if value is not None}
    if file is None:
        return Fleet.from_options(**given)
    fleet = Fleet.from_toml(file)
    return Fleet.from_options(**{**msgspec.to_builtins(fleet), **given}) if given else fleet


def take_password(password_file: Path | None) -> str | None:
    """The broker's password from the environment or a 0600 file; it leaves the environment, so no child inherits it."""
    from_environment = os.environ.pop(PASSWORD_VARIABLE, None)
    if password_file is not None:
        return read_secret(str(password_file))
    return from_environment


def make_plan(
    *,
    fleet: Fleet,
    name: str | None,
    rate: str,
    time_scale: float,
    broker: str,
    confirmed_external: bool,
    port: int,
    without: Sequence[str],
    stage: Sequence[str],
    instances: Sequence[str],
    runs: Path,
    bare_hops: bool = False,
    deadline_s: float = 30.0,
) -> LabPlan:
    """Check everything that can be checked before anything starts; raises SettingsError."""
    if not 0.01 <= time_scale <= 100_000:
        raise SettingsError(f"--time-scale {time_scale:g}: expected 0.01 to 100000 business seconds per second")
    check_broker(broker, confirmed=confirmed_external)
    if port:
        require_free(port, "--port")
    require_descriptors(fleet.size, bare_hops=bare_hops)
    present = present_stages(without)
    tls = broker != "local" and BrokerAddress(broker).tls
    return LabPlan(
        name=check_name(name) if name else new_name(),
        fleet=msgspec.to_builtins(fleet),
        terminals=fleet.size,
        stores=fleet.stores,
        brands=fleet.dialects,
        heartbeat_interval_s=fleet.heartbeat_interval_s,
        seed=fleet.seed,
        rate_per_s=read_rate(rate),
        business_start_s=business_start_s(fleet),
        time_scale=time_scale,
        broker=broker,
        port=port,
        stages=present,
        commands=stage_commands(stage, present),
        instances=stage_instances(instances, present),
        bare_hops=bare_hops or tls,
        deadline_s=deadline_s,
        runs_folder=str(check_runs_folder(runs)),
    )


def business_start_s(fleet: Fleet) -> float:
    """When the stores open on the fleet's first business day, in unix seconds."""
    return datetime.fromisoformat(f"{fleet.first_business_day}T{fleet.opens}:00+00:00").timestamp()


def check_broker(broker: str, *, confirmed: bool) -> None:
    """Our own needs a binary; somebody else's needs a word. Raises SettingsError."""
    if broker == "local":
        find_mosquitto()
        return
    address = BrokerAddress(broker)
    if not confirmed:
        raise SettingsError(
            f"--broker {address.upstream} is not ours: the lab would put load on it; say --yes-external if that is meant"
        )
