"""What a lab will be, decided and checked before anything starts: a pure value made from options.

:data:`STAGES` is the journey as a table: the one place that says which stage exists, how it is started, through which hops
it speaks, and what lies behind it. Everything that can be wrong with the options is a SettingsError here.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import Struct, field

from fleetwire.errors import SettingsError
from fleetwire.identity import is_word
from fleetwire.nearest_word import nearest
from storefleet.folders import absolute, require_text
from storefleet.keeping import KEEP_ALL


class StageRow(NamedTuple):
    """One stage of the journey; names of hops are ``{who}-{whom}``."""

    module: str
    broker_hop: str
    gateway_hop: str
    behind: tuple[str, ...]
    """Stages that have nothing to do without this one."""


STAGES: Final[dict[str, StageRow]] = {
    "gateway": StageRow("consumers.gateway", "", "", ("sync_stage", "poseidon", "olympus_dgs", "views")),
    "parm": StageRow("parm_stub", "parm-broker", "", ("sync_stage", "gateway", "poseidon", "olympus_dgs", "views")),
    "sync_stage": StageRow(
        "consumers.sync_stage", "sync-broker", "sync-gateway", ("gateway", "poseidon", "olympus_dgs", "views")
    ),
    "poseidon": StageRow("consumers.poseidon", "poseidon-broker", "poseidon-gateway", ("views",)),
    "olympus_dgs": StageRow("consumers.olympus_dgs", "olympus-broker", "olympus-gateway", ()),
    "views": StageRow("consumers.views", "", "views-gateway", ()),
}
SEVERAL_INSTANCES: Final = ("parm", "sync_stage")
MAXIMUM_INSTANCES: Final = 16
JOURNEY: Final = ("parm", "sync_stage", "gateway", "poseidon", "olympus_dgs", "views")
OUTCOME_STAGES: Final = ("poseidon", "sync_stage", "parm")
"""Who answers outcomes: the first of these that is present; when none is, the broker's word counts."""
TERMINALS_HOP: Final = "terminals-broker"
DRAIN_MARGIN_S: Final = 0.5
"""The last event may be committed while trading is being stopped; it has its deadline from then."""
DEFAULT_DATABASE: Final = "fleet"
EXTERNAL: Final = "external"


class LabPlan(Struct, kw_only=True, frozen=True):
    """A lab before it starts. ``commands`` holds the user's own stages: a command line, or ``external``."""

    name: str
    fleet: dict[str, Any]
    """The fleet as plain values, as the emulator takes them."""
    terminals: int
    stores: int
    brands: dict[str, str]
    heartbeat_interval_s: float
    seed: int
    rate_per_s: float
    business_start_s: float = 0.0
    """Business time when the lab starts, unix seconds: the opening of the fleet's first business day."""
    time_scale: float = 60.0
    broker: str = "local"
    broker_ca_file: str = ""
    """Certificate authority of somebody else's mqtts broker, an absolute path; empty: the system's."""
    port: int = 0
    stages: tuple[str, ...] = JOURNEY
    commands: dict[str, str] = field(default_factory=dict)
    instances: dict[str, int] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    broker_options: tuple[str, ...] = ()
    """Lines for the configuration of our own broker."""
    stage_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Stage -> options of its own that differ from their defaults."""
    bare_hops: bool = False
    deadline_s: float = 30.0
    drain_s: float | None = None
    """How long the end of a run waits for what has no outcome yet; None: the deadline, so that all have had theirs."""
    trade_for_s: float | None = None
    """The lab ends by itself after so long a time of trading, over all labs of the run; None: not by time."""
    trade_events: int | None = None
    """The lab ends by itself once so many events are traded, and trades no more; None: not by number."""
    allow: dict[str, int] = field(default_factory=dict)
    """Budgets (:mod:`storefleet.verdict.budgets`): how many of each a valid run may have."""
    keep: str = KEEP_ALL
    """What stays of the run's folder (:mod:`storefleet.keeping`)."""
    runs_folder: str = "runs"
    working_folder: str = ""
    """Where the user's own commands run; empty: where the lab does."""

    @property
    def topic_root(self) -> str:
        """Every topic of the lab lies below it; no other lab has the same."""
        return f"storefleet/{self.name}"

    @property
    def external_broker(self) -> bool:
        """Whether the broker is somebody else's."""
        return self.broker != "local"

    @property
    def drain_limit_s(self) -> float:
        """How long the end of a run waits at most."""
        return self.deadline_s + DRAIN_MARGIN_S if self.drain_s is None else self.drain_s

    @property
    def outcome_stage(self) -> str:
        """Who answers outcomes: a stage's name or ``broker``."""
        return next((stage for stage in OUTCOME_STAGES if stage in self.stages), "broker")

    @property
    def stage_client_ids(self) -> list[str]:
        """The MQTT sessions of our stages; PARM and sync stage have a second one for what they publish."""
        instances = (
            f"{self.name}.{stage}-{number}"
            for stage in self.stages
            if STAGES[stage].broker_hop and stage not in self.commands
            for number in range(1, self.instance_count(stage) + 1)
        )
        return [client_id + suffix for client_id in instances for suffix in ("", "-out")]

    def instance_count(self, stage: str) -> int:
        """How many processes a stage has."""
        return self.instances.get(stage, 1)


def new_name() -> str:
    """A name that no other lab on this machine is likely to have."""
    return "lab-" + "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(5))


def present_stages(without: Sequence[str]) -> tuple[str, ...]:
    """The journey less what is left out and all that lies behind it."""
    absent: set[str] = set()
    for given in without:
        stage = stage_name(given, "--without")
        absent |= {stage, *STAGES[stage].behind}
    return tuple(stage for stage in JOURNEY if stage not in absent)


def stage_commands(given: Sequence[str], present: Sequence[str]) -> dict[str, str]:
    """Read ``NAME=COMMAND`` and ``NAME=external`` options."""
    commands: dict[str, str] = {}
    for text in given:
        name, separator, command = text.partition("=")
        stage = stage_name(name, "--stage")
        if not separator or not command.strip():
            raise SettingsError(
                f"--stage {text!r}: expected NAME=COMMAND or NAME=external, e.g. 'parm=python my_parm.py'"
            )
        if stage not in present:
            raise SettingsError(f"--stage {text!r}: {stage} is left out by --without")
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise SettingsError(f"--stage {text!r}: {error}") from error
        if not words:
            raise SettingsError(f"--stage {text!r}: the command is empty")
        commands[stage] = command.strip()
    return commands


def stage_instances(given: Sequence[str], present: Sequence[str]) -> dict[str, int]:
    """Read ``STAGE=N`` options."""
    instances: dict[str, int] = {}
    for text in given:
        name, _, number = text.partition("=")
        stage = stage_name(name, "--instances")
        if stage not in SEVERAL_INSTANCES:
            allowed = ", ".join(SEVERAL_INSTANCES)
            raise SettingsError(f"--instances {text!r}: only {allowed} share their work between instances")
        if number not in map(str, range(1, MAXIMUM_INSTANCES + 1)):
            raise SettingsError(f"--instances {text[:80]!r}: expected a number from 1 to {MAXIMUM_INSTANCES}")
        if stage in present:
            instances[stage] = int(number)
    return instances


def stage_name(text: str, option: str) -> str:
    """The stage that a user means; dashes and underscores are the same. Raises SettingsError."""
    name = text.strip().replace("-", "_")
    if name not in STAGES:
        near = nearest(text, STAGES)
        hint = f"; did you mean {near!r}?" if near else ""
        raise SettingsError(f"{option} {text[:80]!r}: no such stage; there are {', '.join(STAGES)}{hint}")
    return name


def check_name(name: str) -> str:
    """A lab's name is one topic level and a folder's name."""
    if not is_word(name):
        raise SettingsError(f"--name {name!r}: use 1 to 32 of a-z, 0-9 and dash, no dash at the ends")
    return name


def check_runs_folder(folder: Path) -> Path:
    """Make the folder for runs; raises SettingsError when nothing can be written there."""
    try:
        require_text(absolute(folder)).mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{secrets.token_hex(4)}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise SettingsError(f"cannot write run folders into {folder}: {error.strerror}; use --runs DIR") from error
    return folder


def brand_pairs(brands: Mapping[str, str]) -> str:
    """The BRANDS variable: ``name=dialect`` pairs."""
    return ",".join(f"{name}={dialect}" for name, dialect in brands.items())
