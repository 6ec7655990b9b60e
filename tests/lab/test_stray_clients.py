"""Somebody takes a client id of a running lab for a moment: events flow on, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

from tests.lab.command_line import CommandLine, Lab, until

OWN = ("parm-1", "parm-1-out", "sync_stage-1", "sync_stage-1-out", "poseidon-1", "olympus_dgs-1", "lab")


def connect_frame(client_id: str) -> bytes:
    """A CONNECT (MQTT 5, 3.1) with clean start and a session that outlives its connection by ten minutes."""
    name = client_id.encode()
    body = b"\x00\x04MQTT\x05\x02\x00\x3c" + b"\x05\x11\x00\x00\x02\x58" + bytes((0, len(name))) + name
    return bytes((0x10, len(body))) + body


async def take(lab: Lab, *client_ids: str, held_s: float = 0.3) -> None:
    """All of them at once, with sessions that hold no subscription; they come without being asked back."""
    address = urlsplit(lab.description["broker"]["url"])

    async def take_one(client_id: str) -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(connect_frame(client_id))
        assert (await reader.readexactly(4))[0] == 0x20
        with contextlib.suppress(TimeoutError, ConnectionError):  # our session may take the id back before
            async with asyncio.timeout(held_s):
                while await reader.read(1 << 16):
                    pass
        writer.close()

    await asyncio.gather(*map(take_one, client_ids))


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
        until(
            lambda before=before: outcomes(lab) > before + 20, f"new events have their outcome after {ids[0]} was taken"
        )
    verdict = lab.down()
    assert verdict["validity"] == "valid", verdict
    assert verdict["restarts"] == {}


def test_a_client_that_stays_under_an_id_of_ours_is_told(command_line: CommandLine) -> None:
    """As long as two take the session from each other; in the status now, in the log for ever; then it is over."""
    lab = command_line.up("--without", "views")

    def told() -> list[str]:
        asyncio.run(take(lab, f"{lab.name}.parm-1", f"{lab.name}.lab", terminal))
        return [one for one in lab.status()["troubles"] if "another client seems to use its client id" in one]

    ((terminal,),) = lab.ledger("SELECT id FROM source LIMIT 1")
    until(lambda: {one.partition(":")[0] for one in told()} == {"parm-1", "lab", "emulator-1"}, "all three are told of")
    assert any(f"client id {lab.name}.parm-1" in one for one in told())
    until(lambda: not lab.status()["troubles"], "it is over with the other client")
    before = lab.committed()
    until(lambda: outcomes(lab) > before + 20, "new events have their outcome")
    log = command_line.run("log", "--troubles").stdout
    assert "another client seems to use its client id; it lasted" in log
    assert lab.down()["validity"] == "valid"
