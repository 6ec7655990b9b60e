"""From the command line to a plan: every option is read, checked and explained here, before anything starts."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_type_hints

import msgspec

from emulator.fleet import Fleet, read_toml
from fleetwire.broker_endpoint import CA_VARIABLE, trust
from fleetwire.errors import SettingsError
from fleetwire.plain_words import expected
from fleetwire.settings import read_secret
from storefleet.broker import BrokerAddress, require_free, require_mosquitto
from storefleet.folders import current_folder, printable
from storefleet.keeping import KEEP_ALL, check_keep
from storefleet.machine_size import require_memory, require_processors
from storefleet.plan import (
    LabPlan,
    check_name,
    check_runs_folder,
    new_name,
    present_stages,
    stage_commands,
    stage_instances,
)
from storefleet.quantities import read_rate
from storefleet.self_ending import check_trade_events
from storefleet.verdict.budgets import check_budgets, read_budgets

SPARE_DESCRIPTORS: Final = 200
"""What a process needs beside its connections: files, pipes, the event loop."""
DESCRIPTORS_PER_TERMINAL: Final = 2
"""In the busiest process, the hop proxy: the terminal's connection and the one to the broker."""
UNLIMITED_DESCRIPTORS: Final = 1_048_576
"""What we count with where the system sets no limit (macOS); it takes no larger number there."""
MAXIMUM_FLEET_FILE_BYTES: Final = 1_000_000
MAXIMUM_BROKER_OPTION: Final = 200
BUDGETS_TABLE: Final = "allow"
"""In a fleet's file, beside what is the fleet's own."""
PASSWORD_VARIABLE: Final = "STOREFLEET_BROKER_PASSWORD"  # noqa: S105 - its name, not its value


def descriptor_limit() -> int:
    """How many descriptors one process of ours may open: the hard limit, up to which we raise the soft one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return UNLIMITED_DESCRIPTORS if hard == resource.RLIM_INFINITY else int(hard)


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


def require_room(terminals: int, *, bare_hops: bool = False) -> None:
    """Raises SettingsError with the number of terminals that fit where the machine is too small for so many."""
    require_memory(terminals)
    require_processors(terminals)
    require_descriptors(terminals, bare_hops=bare_hops)


def read_fleet(file: Path | None, options: dict[str, Any]) -> Fleet:
    """The fleet from a file, options that were given going first; or from options alone."""
    given = {name: value for name, value in options.items() if value is not None}
    _check_fleet_options(given)
    if file is None:
        return Fleet.from_options(**given)
    _require_fleet_file(file)
    values = read_toml(file)
    values.pop(BUDGETS_TABLE, None)
    fleet = Fleet.from_values(values, file)
    return Fleet.from_options(**{**msgspec.to_builtins(fleet), **given}) if given else fleet


def _check_fleet_options(given: Mapping[str, Any]) -> None:
    """Every option by the limits of the fleet's key of that name; raises SettingsError that names the option."""
    shapes = get_type_hints(Fleet, include_extras=True)
    for name, value in given.items():
        try:
            msgspec.convert(value, shapes[name])
        except msgspec.ValidationError as error:
            option = f"--{name.replace('_', '-')}"
            raise SettingsError(f"{option} {value}: {expected(str(error), shapes[name])}") from error


def read_allow(file: Path | None, texts: Sequence[str]) -> dict[str, int]:
    """Budgets from the table ``[allow]`` of a fleet file, the option's going first; raises SettingsError."""
    table = read_toml(file).get(BUDGETS_TABLE, {}) if file is not None else {}
    if not isinstance(table, dict):
        raise SettingsError(f"fleet file {file}: {BUDGETS_TABLE} is a table, such as [{BUDGETS_TABLE}] healed = 0")
    return {**check_budgets(table, f"fleet file {file}: [{BUDGETS_TABLE}]"), **read_budgets(texts)}


def _require_fleet_file(file: Path) -> None:
    """A file of a size that is read at once; raises SettingsError."""
    if not file.exists():
        raise SettingsError(f"--fleet {file}: there is no such file; examples/chain.toml shows what one looks like")
    if not file.is_file():
        raise SettingsError(f"--fleet {file} is no ordinary file; name a TOML file such as examples/chain.toml")
    if file.stat().st_size > MAXIMUM_FLEET_FILE_BYTES:
        raise SettingsError(
            f"--fleet {file} is larger than {MAXIMUM_FLEET_FILE_BYTES:,} bytes; a fleet file declares brands and regions, "
            "not every store (see examples/chain.toml)"
        )


def take_password(password_file: Path | None) -> str | None:
    """The broker's password from the environment or a 0600 file; it leaves the environment, so no child inherits it."""
    from_environment = os.environ.pop(PASSWORD_VARIABLE, None)
    if password_file is None:
        return from_environment
    if not password_file.is_file():
        raise SettingsError(f"--broker-password-file {password_file}: no such file; make one that only you may read")
    return read_secret(str(password_file))


def take_authority(ca_file: Path | None, broker: str) -> str:
    """Whom to trust for an mqtts broker: the option's file or the environment's; '' for the system's. SettingsError."""
    tls = broker != "local" and BrokerAddress(broker).tls
    if ca_file is not None and not tls:
        raise SettingsError(f"--broker-ca-file {ca_file}: --broker is not mqtts://..., so nobody shows a certificate")
    named = str(ca_file) if ca_file is not None else os.environ.get(CA_VARIABLE, "")
    if not tls or not named:
        return ""
    absolute = str(Path(named).absolute())
    trust(absolute)
    return absolute


def make_plan(
    *,
    fleet: Fleet,
    name: str | None,
    rate: str,
    time_scale: float,
    broker: str,
    confirmed_external: bool,
    broker_ca_file: Path | None = None,
    port: int,
    without: Sequence[str],
    stage: Sequence[str],
    instances: Sequence[str],
    runs: Path,
    bare_hops: bool = False,
    deadline_s: float = 30.0,
    drain_s: float | None = None,
    broker_options: Sequence[str] = (),
    stage_options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    trade_for_s: float | None = None,
    trade_events: int | None = None,
    allow: Mapping[str, int] = MappingProxyType({}),
    keep: str = KEEP_ALL,
) -> LabPlan:
    """Check everything that can be checked before anything starts; raises SettingsError."""
    if not 0.01 <= time_scale <= 100_000:
        raise SettingsError(f"--time-scale {time_scale:g}: expected 0.01 to 100000 business seconds per second")
    working_folder = current_folder()
    check_broker(broker, confirmed=confirmed_external)
    if port:
        require_free(port, "--port")
    require_room(fleet.size, bare_hops=bare_hops)
    present = present_stages(without)
    if fleet.malformed and "parm" not in present:
        raise SettingsError("--malformed needs PARM: without it nobody looks into a payload, so nobody can reject one")
    tls = broker != "local" and BrokerAddress(broker).tls
    if tls and port:
        raise SettingsError(f"--port {port}: over mqtts no hop listens, terminals join at the broker; leave --port out")
    plan = LabPlan(
        name=check_name(name) if name else new_name(),
        fleet=msgspec.to_builtins(fleet),
        terminals=fleet.size,
        stores=fleet.stores,
        brands=fleet.dialects,
        heartbeat_interval_s=fleet.heartbeat_interval_s,
        seed=fleet.seed,
        rate_per_s=(rate_per_s := read_rate(rate)),
        trade_for_s=trade_for_s,
        trade_events=check_trade_events(trade_events, rate_per_s, trade_for_s),
        business_start_s=business_start_s(fleet),
        time_scale=time_scale,
        broker=broker,
        broker_ca_file=take_authority(broker_ca_file, broker),
        port=port,
        stages=present,
        commands=stage_commands(stage, present),
        instances=stage_instances(instances, present),
        bare_hops=bare_hops or tls,
        deadline_s=deadline_s,
        drain_s=drain_s,
        broker_options=check_broker_options(broker_options, broker),
        stage_options={name: dict(given) for name, given in stage_options.items()},
        allow=check_budgets(allow),
        keep=check_keep(keep),
        runs_folder=str(check_runs_folder(runs)),
        working_folder=str(working_folder),
    )
    _require_text(plan)
    return plan


def _require_text(plan: LabPlan) -> None:
    """Its record is UTF-8; raises SettingsError where the command line has given bytes that are not."""
    try:
        msgspec.json.encode(plan)
    except UnicodeEncodeError as error:
        raise SettingsError(
            f"{printable(error.object)!r} on the command line is no UTF-8 text; write it in UTF-8"
        ) from None


def require_machine(plan: LabPlan) -> None:
    """What an earlier machine had, this one must have too: a broker, and room for all terminals; raises SettingsError."""
    check_broker(plan.broker, confirmed=True)
    if plan.broker_ca_file:
        trust(plan.broker_ca_file)
    require_room(plan.terminals, bare_hops=plan.bare_hops)


def business_start_s(fleet: Fleet) -> float:
    """When the stores open on the fleet's first business day, in unix seconds."""
    return datetime.fromisoformat(f"{fleet.first_business_day}T{fleet.opens}:00+00:00").timestamp()


def check_broker_options(options: Sequence[str], broker: str) -> tuple[str, ...]:
    """Lines for our own broker's configuration, such as ``max_queued_messages 20``; raises SettingsError."""
    for option in options:
        if broker != "local":
            raise SettingsError(
                f"--broker-option {option!r}: only our own broker can be configured; use --broker local"
            )
        if not option.strip() or len(option) > MAXIMUM_BROKER_OPTION or not option.isprintable():
            raise SettingsError(
                f"--broker-option {option[:80]!r}: expected one line of mosquitto.conf of at most "
                f"{MAXIMUM_BROKER_OPTION} characters, such as 'max_queued_messages 20'"
            )
    return tuple(option.strip() for option in options)


def check_broker(broker: str, *, confirmed: bool) -> None:
    """Our own needs a binary; somebody else's needs a word. Raises SettingsError."""
    if broker == "local":
        require_mosquitto()
        return
    address = BrokerAddress(broker)
    if not confirmed:
        raise SettingsError(
            f"--broker {address.upstream} is not ours: the lab would put load on it; say --yes-external if that is meant"
        )
