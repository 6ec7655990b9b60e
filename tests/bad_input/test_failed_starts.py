"""A lab that did not come up leaves nothing that the next command stumbles over, whatever it was that went wrong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.bad_input.refusal import refusal
from tests.broker import Broker
from tests.external_broker.guarded_broker import guarded_broker, options_for, retained, with_password
from tests.lab.command_line import CommandLine

MakeBroker = Callable[..., Broker]
UP = ("up", "--stores", 2, "--rate", "20/s", "--name", "lab", "--runs", "runs")


def assert_nothing_is_left(command_line: CommandLine, *, began: bool) -> None:
    """Of the lab there is only its run folder, where it ``began``, with a verdict; ``refusal`` looks at all the rest."""
    assert command_line.run("clean").stdout == "nothing to clean\n"
    folders = command_line.run_folders()
    assert len(folders) == began
    for folder in folders:
        shown = command_line.run("verdict", folder, status=3)
        assert shown.stdout.startswith("UNKNOWN")
        assert "Traceback" not in shown.stderr


def assert_every_command_goes_on(command_line: CommandLine) -> None:
    """Each says what is, the run cannot go on, and the lab's name is free."""
    for command in ("down", "status", "tail"):
        assert "no lab is running here" in command_line.run(command, status=2).stderr
    (folder,) = command_line.run_folders()
    assert command_line.run("log", folder).stdout.startswith(f"run folder: {folder}")
    assert "has ended" in command_line.run("up", "--resume", folder, status=2).stderr
    lab = command_line.up("--without", "views", stores=2, rate="20/s")
    lab.wait_for_trade(total=5)
    assert lab.down()["validity"] == "valid"
    assert command_line.run("clean").stdout == "nothing to clean\n"


@contextmanager
def refusing(code: int) -> Iterator[int]:
    """The port of a broker that refuses every CONNECT with this reason code."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(1000):
                        connection.sendall(bytes((0x20, 3, 0, code, 0)))

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_wrong_credentials(command_line: CommandLine, make_broker: MakeBroker) -> None:
    """The broker does not know the password, and nothing of the lab has come to it."""
    broker = guarded_broker(make_broker)
    command_line.environment["STOREFLEET_BROKER_PASSWORD"] = "wrong"
    assert "STOREFLEET_BROKER_PASSWORD" in refusal(command_line, *UP, *options_for(broker))
    assert retained(broker) == set()
    assert_nothing_is_left(command_line, began=True)


def test_a_refusal(command_line: CommandLine) -> None:
    """The broker refuses for a reason of its own, told as ``test_broker_advice`` has it for every other."""
    with refusing(0x8A) as port:
        line = refusal(command_line, *UP, "--broker", f"mqtt://127.0.0.1:{port}", "--yes-external")
    assert "0x8A" in line
    assert "banned" in line
    assert_nothing_is_left(command_line, began=True)


def test_a_port_that_is_taken(command_line: CommandLine) -> None:
    """Nothing has begun: there is not even a run folder."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port}: Address already in use" in refusal(command_line, *UP, "--port", port)
    assert_nothing_is_left(command_line, began=False)


def test_a_broker_of_ours_that_does_not_come_up(command_line: CommandLine) -> None:
    """Its configuration is not one; it is tried three times, and then no more."""
    line = refusal(command_line, *UP, "--broker-option", "no_such_option 1")
    assert line.startswith("broker-1 does not come up: ")
    assert_nothing_is_left(command_line, began=True)


def test_a_stage_that_does_not_come_up(command_line: CommandLine, make_broker: MakeBroker) -> None:
    """The lab has been on somebody else's broker already, and takes away what it has left there."""
    broker = guarded_broker(make_broker)
    options = options_for(broker)
    line = refusal(with_password(command_line), *UP, *options, "--stage", "olympus_dgs=false")
    assert line.startswith("olympus_dgs-1 ")
    assert retained(broker) == set()
    assert_nothing_is_left(command_line, began=True)
    assert_every_command_goes_on(command_line)


def test_a_broker_that_is_too_small(command_line: CommandLine, make_broker: MakeBroker) -> None:
    """It lets the lab in and not its stages, which need two sessions each: within a minute one is named, and the reason."""
    broker = guarded_broker(make_broker, "max_connections 1")
    line = refusal(with_password(command_line), *UP, *options_for(broker))
    assert line.startswith(("parm-1 does not come up: ", "sync_stage-1 does not come up: "))
    assert "before a CONNACK: it has a connection limit" in line
    assert retained(broker) == set()
    assert command_line.run("clean").stdout == "nothing to clean\n"


def test_a_detached_lab(command_line: CommandLine, port: int) -> None:
    """Nobody is there; detached that is the line of the other process, its status, and nothing left."""
    options: tuple[Any, ...] = ("--broker", f"mqtt://127.0.0.1:{port}", "--yes-external", "--detach")
    assert "Connection refused" in refusal(command_line, *UP, *options)
    assert_nothing_is_left(command_line, began=True)
    assert_every_command_goes_on(command_line)
