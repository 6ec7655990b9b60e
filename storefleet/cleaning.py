"""What crashed labs left: processes by id and start time, retained topics on somebody else's broker, their folders."""

from __future__ import annotations

import asyncio

from fleetwire.errors import FleetError
from storefleet import home, processes
from storefleet.broker import BrokerAddress
from storefleet.observer import clear_retained, endpoint


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
        if _retained_is_cleared(name, password, report):
            home.remove_lab_folder(name)
            report.append(f"{name}: forgotten")
    return report or ["nothing to clean"]


def _retained_is_cleared(name: str, password: str | None, report: list[str]) -> bool:
    description = home.lab_folder(name) / "lab.json"
    if not description.exists():
        return True
    lab = home.read_json(description)
    if lab["broker"]["kind"] != "external":
        return True
    address = BrokerAddress(lab["broker"]["url"])
    try:
        count = asyncio.run(
            clear_retained(
                endpoint(address.host, address.port, tls=address.tls),
                lab["topic_root"],
                client_id=f"{name}.clean",
                username=lab["broker"].get("username") or None,
                password=password.encode() if password is not None else None,
            )
        )
    except FleetError as error:
        report.append(f"{name}: retained topics below {lab['topic_root']} stay on {address.upstream}: {error}")
        return False
    report.append(f"{name}: cleared {count} retained topics on {address.upstream}")
    return True
