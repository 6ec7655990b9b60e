"""``examples/my_parm.py`` with one fault, named on the command line, for one event of each terminal; run by a test."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import my_parm

VICTIM, DELAY_S = 4, 12.0
good_on_message = my_parm.on_message
held: dict[int, float] = {}
kept: dict[str, Any] = {}
RUN_FOLDER = Path(os.environ.get("STOREFLEET_STATE_DIR", ".")).parents[1]


def sequence_of(message: Any) -> int:
    """The number of a raw event."""
    return int(dict(message.properties.UserProperty)["sequence"])


def drop_once(client: Any, waiting: Any, message: Any) -> None:
    """Acknowledge and forget, the first time; with the next attempt it goes on."""
    if dict(message.properties.UserProperty)["attempt"] == "1":
        client.ack(message.mid, message.qos)
    else:
        good_on_message(client, waiting, message)


def alter(client: Any, waiting: Any, message: Any) -> None:
    """Another operator did it."""
    raw = json.loads(message.payload)
    body = raw[raw["TransactionTypeCode"]]
    body["OperatorID" if "OperatorID" in body else "FromState"] += "x"
    message.payload = json.dumps(raw).encode()
    good_on_message(client, waiting, message)


def twice(client: Any, waiting: Any, message: Any) -> None:
    """Once as it is, and once under a number that the terminal never gave."""
    publish_beside(client, message, 5_000)
    good_on_message(client, waiting, message)


def repeat(client: Any, waiting: Any, message: Any) -> None:
    """The same twice."""
    publish_beside(client, message, 0)
    good_on_message(client, waiting, message)


def publish_beside(client: Any, message: Any, beyond: int) -> None:
    """The canonical event of a message, under a number so far beyond its own."""
    place = message.topic.removeprefix(f"{my_parm.ROOT}/terminal/transaction/")
    source = place.rpartition("/")[2]
    event = my_parm.canonical(json.loads(message.payload), source)
    event |= {"sequence": event["sequence"] + beyond, "key": f"{source}.{event['sequence'] + beyond}"}
    topic = f"{my_parm.ROOT}/canonical/transaction/{place}"
    client.publish(topic, json.dumps(event), qos=1, properties=copied(message, event))


def copied(message: Any, event: dict[str, Any]) -> Any:
    """The properties of the message under the other key."""
    properties = my_parm.mqtt.Properties(my_parm.mqtt.PacketTypes.PUBLISH)
    changed = {"sequence": str(event["sequence"]), "id": event["key"]}
    properties.UserProperty = [(name, changed.get(name, value)) for name, value in message.properties.UserProperty]
    return properties


def delay(client: Any, waiting: Any, message: Any) -> None:
    """Whatever attempt it is, it is forgotten until its time has come."""
    if time.monotonic() < held.setdefault(hash(message.topic), time.monotonic() + DELAY_S):
        client.ack(message.mid, message.qos)
    else:
        good_on_message(client, waiting, message)


def swallow(client: Any, waiting: Any, message: Any) -> None:
    """Acknowledge and forget, whatever attempt it is."""
    client.ack(message.mid, message.qos)


def hold(client: Any, waiting: Any, message: Any) -> None:
    """Keep it until the views of this run have been read."""
    if (RUN_FOLDER / "journeys.json").exists():
        good_on_message(client, waiting, message)
    elif message.topic not in kept:
        kept[message.topic] = message
        threading.Thread(target=_let_go, args=(client, waiting, message), daemon=True).start()
    else:
        client.ack(message.mid, message.qos)


def _let_go(client: Any, waiting: Any, message: Any) -> None:
    while not (RUN_FOLDER / "journeys.json").exists():  # it is written after the final reads
        time.sleep(0.002)
    good_on_message(client, waiting, message)


FAULTS = {
    "drop_once": drop_once,
    "alter": alter,
    "twice": twice,
    "repeat": repeat,
    "delay": delay,
    "swallow": swallow,
    "hold": hold,
}


def on_message(client: Any, waiting: Any, message: Any) -> None:
    """The fault for every victim, the example for everything else."""
    (FAULTS[sys.argv[1]] if sequence_of(message) == VICTIM else good_on_message)(client, waiting, message)


if __name__ == "__main__":
    my_parm.on_message = on_message
    my_parm.main()
