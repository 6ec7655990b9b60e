"""Somebody takes a client id of a running lab for a moment: events flow on, and nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import pytest
from aiomqtt import ProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.lab.command_line import CommandLine, Lab, until

OWN = ("parm-1", "parm-1-out", "sync_stage-1", "sync_stage-1-out", "poseidon-1", "olympus_dgs-1", "lab")


async def take(lab: Lab, *client_ids: str) -> None:
    """All of them at once, for 0.3 s, with sessions that outlive that and hold no subscription."""
    address = urlsplit(lab.description["broker"]["url"])
    expiry = Properties(PacketTypes.CONNECT)
    expiry.SessionExpiryInterval = 600

    async def take_one(client_id: str) -> None:
        async with aiomqtt.Client(
            str(address.hostname), address.port or 0, identifier=client_id, protocol=ProtocolVersion.V5,
            clean_start=True, properties=expiry,
        ):  # fmt: skip
            await asyncio.sleep(0.3)

    results = await asyncio.gather(*map(take_one, client_ids), return_exceptions=True)
    for result in results:  # our session may have taken the id back before the 0.3 s were over
        assert result is None or isinstance(result, aiomqtt.MqttError), result


def outcomes(lab: Lab) -> int:
    """How many events have their outcome."""
    return lab.committed() - len(lab.unresolved())


def test_events_flow_on_after_strangers_had_every_client_id(command_line: CommandLine) -> None:
    """Each session of the lab and of its terminals, one after the other and all at once; no stage is started again."""
    lab = command_line.up("--without", "views")
    lab.wait_for_trade(total=20)
    terminals = [source for (source,) in lab.ledger("SELECT id FROM source")]
    stages = [f"{lab.name}.{name}" for name in OWN]
    for ids in (*([one] for one in stages), terminals, [*stages, *terminals]):
        asyncio.run(take(lab, *ids))
        before = lab.committed()
        until(lambda before=before: outcomes(lab) > before + 20, f"new events have their outcome after {ids[0]} was taken")
    verdict = lab.down()
    assert verdict["validity"] == "valid", verdict
    assert verdict["restarts"] == {} or not verdict["restarts"], verdict["restarts"]
