"""A whole lab where much is strange at once: it comes up, trades, is judged valid, and uses no proxy."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.environment.conftest import InstalledCommand
from tests.environment.test_strange_environments import ENVIRONMENTS, PYTHON_VARIABLES, asked, shadow
from tests.lab.command_line import Lab, until

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "ws_proxy")
USERS_STAGE = "env -0 >told.new && mv told.new told; sleep 600"


@contextmanager
def trap() -> Iterator[tuple[str, list[bytes]]]:
    """The address of a proxy that serves nobody, and what whoever came to it said first."""
    said: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                said.append(b"")
                with connection:
                    connection.settimeout(1)
                    said.append(connection.recv(4096))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", said
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def narrow() -> Iterator[None]:
    """A umask that keeps everything to its owner, and 256 descriptors unless somebody raises that."""
    umask, limits = os.umask(0o077), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    os.umask(umask)


def test_a_lab_in_a_strange_environment(command: InstalledCommand, narrow: None) -> None:
    """A project that shadows all, variables of Python's, proxies, a .netrc, odd locale, zone, umask, limits and path."""
    command.folder = command.folder / "Filiale Köln #1?a=b%20'\""
    command.folder.mkdir()
    command.runs = command.folder / "Läufe"
    shadow(command.folder)
    (command.folder / "my_stage.sh").write_text(USERS_STAGE, encoding="utf-8")
    (command.folder / ".netrc").write_text("default login a password b\n", encoding="utf-8")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NETRC"):
        command.environment[name] = str(command.folder / ".netrc")
    command.environment |= (
        ENVIRONMENTS["nothing that is named is there"] | PYTHON_VARIABLES | {"HOME": str(command.folder)}
    )
    with trap() as (proxy, said):
        for name in PROXY_VARIABLES:
            command.environment |= {name: proxy, name.upper(): proxy, "no_proxy": "", "NO_PROXY": ""}
        lab = command.up("--stage", "olympus_dgs=sh my_stage.sh", stores=2, rate="60/s")
        lab.wait_for_trade(total=60)
        until((command.folder / "told").exists, "the user's stage has told its environment")
        verdict = lab.down()
    assert verdict["validity"] == "valid"
    assert said == []
    told = dict(row.split("=", 1) for row in (command.folder / "told").read_text(encoding="utf-8").split("\0") if row)
    own = {name: value for name, value in told.items() if name.startswith("PYTHON") or name.lower().endswith("_proxy")}
    given = {name: value for name, value in command.environment.items() if name in own}
    assert own == given, "the user's stage has them as they were"
    assert {*PYTHON_VARIABLES, "http_proxy", "ALL_PROXY"} <= own.keys()
    assert not {"STOREFLEET_MODULE_PATH", "STOREFLEET_OUTPUT_ENCODING"} & told.keys()
    assert asked(command, "verdict", lab.run_folder).stderr == b""
    assert not any(b"of the project" in path.read_bytes() for path in logs(lab))


def logs(lab: Lab) -> list[Path]:
    """What the processes of a lab said, and the lab itself."""
    return [*(lab.run_folder / "logs").iterdir(), *lab.command_line.folder.glob("*.log")]
