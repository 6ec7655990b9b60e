"""What ``tail`` shows: the QoS as sent, where it comes from, dead letters in words, and one line of a lab that is dead."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess

import pytest

from tests.lab.command_line import CommandLine, Lab, until

pytestmark = pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto-clients is not installed")


def publish(lab: Lab, topic: str, payload: str, qos: int) -> None:
    """As somebody else's client does it, at the port where terminals join."""
    port = lab.description["broker"]["url"].rpartition(":")[2]
    words = ["mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-V", "5", "-q", str(qos), "-t", topic, "-m", payload]
    subprocess.run(words, check=True, timeout=20)


def test_what_is_shown(command_line: CommandLine) -> None:
    """Messages of every QoS are shown with their own; then a dead letter in words; then the lab dies."""
    lab = command_line.up(stores=2, rate="0/s")
    root = lab.description["topic_root"]
    topic = f"{root}/guest/notes"
    with command_line.running("tail", topic, "--count", 9, "--json") as tail:
        until(lambda: f"topic root '{root}' at mqtt://127.0.0.1:" in command_line.errors, "where it comes from is told")
        until(lambda: "filter" in command_line.errors, "and the filter")
        seen = 0
        while tail.poll() is None and seen < 60:  # until it is subscribed
            for qos in (2, 0, 1):
                publish(lab, topic, f"note {qos}", qos)
            seen += 3
        assert tail.wait(timeout=20) == 0
    shown = [json.loads(line) for line in command_line.output.splitlines()]
    assert len(shown) == 9
    assert {(message["payload"], message["qos"]) for message in shown} == {("note 0", 0), ("note 1", 1), ("note 2", 2)}

    with command_line.running("tail", "--dead-letters", "--count", 1) as tail:
        until(lambda: f"filter '{root}/dead-letter/#'" in command_line.errors, "it looks at the dead letters")
        while tail.poll() is None:
            publish(lab, f"{root}/terminal/transaction/taco/north/s0001/taco.north.s0001.r01", "no JSON at all", 1)
            seen += 1
            assert seen < 200
    letter = command_line.output.splitlines()[-1]
    for words in ("parm: ", "taco.north.s0001.r01", f"sent to {root}/terminal/transaction/", "no JSON at all"):
        assert words in letter
    assert "give either" in command_line.run("tail", "x/#", "--dead-letters", status=2).stderr

    identity = lab.identities()["lab"]
    os.kill(identity.process_id, signal.SIGKILL)
    until(lambda: not identity.alive(), "the lab is dead")
    (line,) = command_line.run("tail", status=2).stderr.splitlines()
    assert "lab lab is not running any more" in line
    assert "storefleet clean" in line
