"""A lab on somebody else's broker that is stopped at once has no time to tidy up there: that is not forgotten."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

from tests.broker import Broker
from tests.external_broker.guarded_broker import guarded_broker, options_for, retained, with_password
from tests.lab.command_line import DEADLINE_S, CommandLine, until


def test_clean_clears_what_a_lab_that_was_stopped_at_once_left(
    command_line: CommandLine, make_broker: Callable[..., Broker]
) -> None:
    """After a second Ctrl-C the lab stays written down until clean has cleared its topics."""
    broker = guarded_broker(make_broker)
    up = ("up", "--stores", 2, "--rate", "40/s", "--without", "poseidon", "--drain", "3s", "--name", "lab")
    with with_password(command_line).running(*up, "--runs", "runs", *options_for(broker)) as process:
        until(lambda: "trading:" in command_line.output, "it trades")
        command_line.attach("lab").identities()["olympus_dgs-1"].signal(signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        (plan,) = command_line.runs.glob("*/plan.json")
        until(
            lambda: json.loads(plan.read_bytes())["phases"][-1]["name"] == "final reads", "it waits in its final reads"
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130
    command_line.until_nothing_is_left(within_s=20.0)
    assert retained(broker)
    assert "cleared" in command_line.run("clean").stdout
    assert retained(broker) == set()
    assert not (command_line.home / "labs" / "lab").exists()
