"""What is wrong with somebody else's broker is said with the advice that fits, for every code that a CONNACK may have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetwire.errors import SettingsError
from fleetwire.mqtt import Endpoint, SessionOptions, StageClient
from fleetwire.mqtt.reason_codes import NAMES, RETURN_CODES_3
from fleetwire.topics import Topics
from storefleet.broker_advice import BY_REASON_CODE
from storefleet.letter_box import LetterBox
from storefleet.observer import Observer
from tests.broker import Broker
from tests.ipv6 import needs_ipv6
from tests.mqtt.peer import saying, serving
from tests.storefleet_units.plans import lab_plan

CREDENTIALS = "check the user name in --broker, and STOREFLEET_BROKER_PASSWORD or --broker-password-file"
VERSION = "this is no MQTT 5 broker: name one by --broker"
BUSY = "it takes no more clients now: try again later"
NAME = "give the lab another name by --name"
SHAPE = "raise its limits, or name another broker"
LOG = "look into the broker's log"
MOVED = "name the server that it points to by --broker"

REFUSALS_3 = {  # MQTT 3.1.1, table 3.1
    1: ("unacceptable protocol version", VERSION),
    2: ("client identifier rejected", NAME),
    3: ("server unavailable", BUSY),
    4: ("bad user name or password", CREDENTIALS),
    5: ("not authorized", CREDENTIALS),
}
REFUSALS_5 = {  # MQTT 5, table 3-1
    0x80: ("unspecified error", LOG),
    0x81: ("malformed packet", LOG),
    0x82: ("protocol error", LOG),
    0x83: ("implementation specific error", LOG),
    0x84: ("unsupported protocol version", VERSION),
    0x85: ("client identifier not valid", NAME),
    0x86: ("bad user name or password", CREDENTIALS),
    0x87: ("not authorized", CREDENTIALS),
    0x88: ("server unavailable", BUSY),
    0x89: ("server busy", BUSY),
    0x8A: ("banned", "it has banned this client or its address"),
    0x8C: ("bad authentication method", "enhanced authentication"),
    0x90: ("topic name invalid", SHAPE),
    0x95: ("packet too large", SHAPE),
    0x97: ("quota exceeded", BUSY),
    0x99: ("payload format invalid", SHAPE),
    0x9A: ("retain not supported", SHAPE),
    0x9B: ("QoS not supported", SHAPE),
    0x9C: ("use another server", MOVED),
    0x9D: ("server moved", MOVED),
    0x9F: ("connection rate exceeded", BUSY),
}
ANSWERS = [
    *((bytes((0x20, 2, 0, code)), code, *row) for code, row in REFUSALS_3.items()),
    *((bytes((0x20, 3, 0, code, 0)), code, *row) for code, row in REFUSALS_5.items()),
    (b"\x20\x03\x00\xef\x00", 0xEF, "unknown reason code", LOG),
]


async def refusal(host: str, port: int, folder: Path) -> str:
    """What a lab says when it cannot listen there; in one line."""
    plan = lab_plan(broker="mqtt://anna@x")
    letters = LetterBox(folder / "letters.jsonl", Topics(plan.topic_root))
    with pytest.raises(SettingsError) as refused:
        await Observer.open(plan, Endpoint(host=host, port=port), letters, username="anna", password=b"secret")
    letters.close()
    text = str(refused.value)
    assert "\n" not in text
    assert "secret" not in text
    return text


@pytest.mark.parametrize(("answer", "code", "name", "advice"), ANSWERS, ids=[f"0x{row[1]:02X}" for row in ANSWERS])
async def test_the_advice_for_a_reason_code(answer: bytes, code: int, name: str, advice: str, tmp_path: Path) -> None:
    """At once, with the address, the code, its name and what to do; never with the advice for another one."""
    began_s = asyncio.get_running_loop().time()
    async with serving(saying(answer)) as port:
        text = await refusal("127.0.0.1", port, tmp_path)
    assert asyncio.get_running_loop().time() - began_s < 4.0
    assert text.startswith(f"broker 127.0.0.1:{port}: ")
    assert f"refused the connection: 0x{code:02X} {name}" in text
    others = {CREDENTIALS, VERSION, BUSY, NAME, SHAPE, LOG, MOVED} - {advice}
    assert advice in text
    assert not [other for other in others if other in text]


def test_the_table_has_every_refusal() -> None:
    """Of both versions of the standard, and nothing else."""
    assert BY_REASON_CODE.keys() == {*REFUSALS_3, *REFUSALS_5}
    assert RETURN_CODES_3.keys() == REFUSALS_3.keys()
    assert NAMES.keys() >= REFUSALS_5.keys()


@pytest.mark.parametrize(
    ("answer", "says", "advice"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no MQTT broker", "check --broker"),
        (b"\x20\x02\x00\x00", "malformed packet", VERSION),
        (
            b"",
            "before a CONNACK: it has a connection limit, wants TLS (mqtts://), or is no MQTT 5 broker",
            "check --broker",
        ),
    ],
)
async def test_an_answer_that_is_no_refusal(answer: bytes, says: str, advice: str, tmp_path: Path) -> None:
    """Of a web server; of a broker that accepts as MQTT 3 does; of one that hangs up."""
    async with serving(saying(answer)) as port:
        text = await refusal("127.0.0.1", port, tmp_path)
    assert says in text
    assert text.endswith(f"; {advice}")


@needs_ipv6
async def test_a_mosquitto_that_does_not_know_us(make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    """By IPv6, with brackets wherever the address stands."""
    broker = make_broker(anonymous=False, host="::1")
    broker.add_line(f"password_file {broker.write('passwords', b'')}")
    broker.start()
    text = await refusal("::1", broker.port, tmp_path)
    where = f"[::1]:{broker.port}"
    assert text.startswith(
        f"broker {where}: mqtt://{where}, client lab-one.lab: the broker refused the connection: 0x87"
    )
    assert text.endswith(CREDENTIALS)


async def test_a_mosquitto_that_is_full(make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    """It hangs up without a word, and that is one of the things that are said; 2.0.11 lets one more in than its limit."""
    broker = make_broker("max_connections 1").start()
    where = Endpoint(host=broker.host, port=broker.port)
    async with (
        StageClient(where, SessionOptions(client_id="somebody")),
        StageClient(where, SessionOptions(client_id="another")),
    ):
        assert "a connection limit" in await refusal(broker.host, broker.port, tmp_path)
