"""``examples/my_parm.py`` that hands some sales on a second time, one cent dearer; run by a test.

It acknowledges as the example does; that a stage behind it refuses the second content is all that shows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import my_parm

EVERY = 5
good_on_message = my_parm.on_message


def on_message(client: Any, waiting: Any, message: Any) -> None:
    """As the example does; behind each victim the same again with another total."""
    good_on_message(client, waiting, message)
    place = message.topic.removeprefix(f"{my_parm.ROOT}/terminal/transaction/")
    try:
        event = my_parm.canonical(json.loads(message.payload), place.rpartition("/")[2])
    except (ValueError, LookupError, TypeError, AttributeError):
        return
    if event["type"] == "transaction.retail" and event["sequence"] % EVERY == 0:
        event["data"]["grand_cents"] += 1
        topic = f"{my_parm.ROOT}/canonical/transaction/{place}"
        client.publish(topic, json.dumps(event), qos=1, properties=message.properties)


if __name__ == "__main__":
    my_parm.on_message = on_message
    my_parm.main()
