"""What a stage is told: environment variables only, the same for our stages and for a user's command in their place.

Nothing comes by argv, secrets come as the path of a file that only its owner may read. :data:`VARIABLES` is the whole
list; ``docs/contract.md`` prints it. A wrong value raises SettingsError with the variable's name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from fleetwire.clock import BusinessClock
from fleetwire.errors import SettingsError
from fleetwire.host_port import read_host_port
from fleetwire.plain_words import plain

PREFIX: Final = "STOREFLEET_"
VARIABLES: Final[dict[str, str]] = {
    "STAGE": "name of the stage, e.g. parm",
    "INSTANCE": "number of this instance, from 1",
    "INSTANCES": "how many instances the stage has",
    "INCARNATION": "how often this instance was started, from 1",
    "CLIENT_ID": "the MQTT client id to use, fixed for the instance",
    "CLIENT_ID_PREFIX": "goes before every terminal's client id; empty unless the broker is somebody else's",
    "BROKER_URL": "mqtt://host:port or mqtts://host:port of this stage's hop to the broker, IPv6 in brackets",
    "BROKER_CA_FILE": "certificate authority for mqtts; empty: the system's",
    "USERNAME": "MQTT user name; empty: none",
    "PASSWORD_FILE": "file (mode 0600) that holds the MQTT password; empty: none",
    "TOPIC_ROOT": "every topic of this lab lies below it",
    "GATEWAY_URL": "http://host:port/database of this stage's hop to the gateway; empty for stages that have none",
    "STATE_DIR": "folder of this instance; what is in it survives a restart",
    "LISTEN": "host:port where the stage may serve HTTP; port 0 picks a free one",
    "BRANDS": "name=dialect pairs of the fleet's brands, separated by commas",
    "OUTCOMES": "1 when this stage is the last one present and so answers outcomes and asks",
    "CONTROL": "host:port of the lab's control plane; empty: the stage runs on its own",
    "TOKEN_FILE": "file (mode 0600) that holds what lets this instance, and nobody else, into the control plane",
    "REAL_START_S": "unix seconds at which business time began to run",
    "BUSINESS_START_S": "business time at that moment, in unix seconds",
    "TIME_SCALE": "business seconds per second",
    "OPTIONS": "JSON object of settings that only this stage knows",
}


Count: TypeAlias = Annotated[int, Meta(ge=1)]


class StageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The variables of :data:`VARIABLES` as typed values; field names are theirs in lower case."""

    stage: str
    instance: Count = 1
    instances: Count = 1
    incarnation: Count = 1
    client_id: str = ""
    client_id_prefix: str = ""
    broker_url: str = ""
    broker_ca_file: str = ""
    username: str = ""
    password_file: str = ""
    topic_root: str = "storefleet/lab"
    gateway_url: str = ""
    state_dir: str = "."
    listen: str = "127.0.0.1:0"
    brands: str = ""
    outcomes: bool = False
    control: str = ""
    token_file: str = ""
    real_start_s: float = 0.0
    business_start_s: float = 0.0
    time_scale: Annotated[float, Meta(gt=0)] = 1.0
    options: str = "{}"

    @property
    def clock(self) -> BusinessClock:
        """The lab's business clock."""
        return BusinessClock(self.real_start_s, self.business_start_s, self.time_scale)

    @property
    def dialects(self) -> dict[str, str]:
        """Dialect by brand."""
        pairs = (pair.partition("=") for pair in self.brands.split(",") if pair)
        return {brand: dialect for brand, _, dialect in pairs}

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port of ``listen``."""
        return read_address(self.listen, "LISTEN")

    def password(self) -> bytes | None:
        """The broker's password, read now; None when there is none."""
        return read_secret(self.password_file).encode() if self.password_file else None

    def token(self) -> str:
        """What lets this instance into the control plane, read now."""
        return read_secret(self.token_file) if self.token_file else ""

    def environment(self) -> dict[str, str]:
        """The variables that give exactly these settings."""
        values = msgspec.to_builtins(self)
        return {PREFIX + name.upper(): _text(value) for name, value in values.items()}


def from_environment(environment: Mapping[str, str] | None = None) -> StageSettings:
    """Read the settings; unknown STOREFLEET_ variables are left alone (the user's own may have that prefix)."""
    source = os.environ if environment is None else environment
    fields = {field.name: field for field in msgspec.structs.fields(StageSettings)}
    found = {name: source[PREFIX + name.upper()] for name in fields if PREFIX + name.upper() in source}
    if "stage" not in found:
        raise SettingsError(f"{PREFIX}STAGE is not set: a stage is started by the lab, or with {PREFIX}... variables")
    return StageSettings(**{name: _convert(name, text, fields[name].type) for name, text in found.items()})


def _convert(name: str, text: str, shape: Any) -> Any:
    try:
        return msgspec.convert(text, shape, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{PREFIX}{name.upper()}={text[:100]!r}: {plain(error)}") from error


def read_address(text: str, variable: str) -> tuple[str, int]:
    """Read ``host:port``; raises SettingsError naming the variable."""
    try:
        return read_host_port(text)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}{variable}={text!r}: {error}") from error


def read_secret(path: str) -> str:
    """The first line of a file that nobody else may read; raises SettingsError otherwise."""
    file = Path(path)
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"secret file {path}: {error}") from error
    if mode & 0o077:
        raise SettingsError(f"secret file {path} is readable by others: chmod 600 it")
    return text.partition("\n")[0]


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
