"""What crashed labs left: processes by id and start time, retained topics on somebody else's broker, their folders."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fleetwire.errors import FleetError, SettingsError
from fleetwire.mqtt import MqttError
from storefleet import home, processes
from storefleet.broker import BrokerAddress
from storefleet.broker_advice import advice_on
from storefleet.observer import WILLS_QUIET_S, clear_retained, end_sessions, endpoint
from storefleet.unfinished_runs import LAB_FILE_NAME, unfinished_run, way_on

_log = logging.getLogger(__name__)


def reap_crashed() -> list[str]:
    """What the next ``up`` does: end what crashed labs left running, and forget those whose broker is gone with them.

    Somebody else's broker may still hold topics of such a lab: it is remembered until :func:`clean_up`.
    """
    report = []
    for name in home.lab_names():
        folder = home.lab_folder(name)
        if processes.is_live(folder):
            continue
        ended = processes.reap(folder)
        if ended:
            report.append(f"ended what a crashed lab {name} left running: {', '.join(ended)}")
        report += _way_on(name)
        if left := processes.survivors(folder):
            report.append(_cannot_end(name, left))
        elif not _external_broker(name):
            home.remove_lab_folder(name)
    return report


def give_way(name: str) -> None:
    """End and forget what a dead lab of this name has left: a new one goes on with its run. SettingsError if it lives."""
    folder = home.lab_folder(name)
    if processes.is_live(folder):
        raise SettingsError(f"a lab named {name} runs; end it first: storefleet down --name {name}")
    processes.reap(folder)
    if left := processes.survivors(folder):
        raise SettingsError(_cannot_end(name, left))
    home.remove_lab_folder(name)


def clean_up(password: str | None) -> list[str]:
    """Tidy up after every crashed lab; live ones are left alone. Returns what was done, a line each."""
    report = []
    for name in home.lab_names():
        folder = home.lab_folder(name)
        if processes.is_live(folder):
            report.append(f"{name}: runs, left alone")
            continue
        ended = processes.reap(folder)
        if ended:
            report.append(f"{name}: ended {', '.join(ended)}")
        report += _way_on(name)
        if left := processes.survivors(folder):
            report.append(_cannot_end(name, left))
        elif _retained_is_cleared(name, password, report):
            home.remove_lab_folder(name)
            report.append(f"{name}: forgotten")
    return report or ["nothing to clean"]


def _way_on(name: str) -> list[str]:
    run = unfinished_run(home.lab_folder(name))
    return [] if run is None else [f"lab {name} crashed; {way_on(run)}"]


def _cannot_end(name: str, left: list[str]) -> str:
    return (
        f"{', '.join(left)} of the dead lab {name} cannot be ended yet (the kernel holds it); try again when it is gone"
    )


def _external_broker(name: str) -> dict[str, Any] | None:
    """The description of a lab on somebody else's broker; None when the broker was ours, or was not reached."""
    description = home.lab_folder(name) / LAB_FILE_NAME
    if not description.exists():
        return None
    try:
        lab: dict[str, Any] = home.read_json(description)
        return lab if lab["broker"]["kind"] == "external" else None
    except (SettingsError, LookupError, TypeError) as error:
        _log.warning("%s: nobody knows its broker any more, what may be retained there stays: %s", name, error)
        return None


def _retained_is_cleared(name: str, password: str | None, report: list[str]) -> bool:
    lab = _external_broker(name)
    if lab is None:
        return True
    where = BrokerAddress(lab["broker"]["url"]).upstream
    try:
        count = asyncio.run(_clear(name, lab, password.encode() if password is not None else None))
    except FleetError as error:
        advice = f"; {advice_on(error)}" if isinstance(error, MqttError) else ""
        report.append(f"{name}: retained topics below {lab['topic_root']} stay on {where}: {error}{advice}")
        return False
    report.append(f"{name}: cleared {count} retained topics on {where}")
    return True


async def _clear(name: str, lab: dict[str, Any], password: bytes | None) -> int:
    address = BrokerAddress(lab["broker"]["url"])
    broker = endpoint(address.host, address.port, tls=address.tls, ca_file=lab["broker"].get("ca_file", ""))
    username = lab["broker"].get("username") or None
    await end_sessions(broker, lab.get("stage_client_ids", ()), username=username, password=password)
    return await clear_retained(
        broker,
        lab["topic_root"],
        client_id=f"{name}.clean",
        username=username,
        password=password,
        quiet_s=WILLS_QUIET_S,
    )
