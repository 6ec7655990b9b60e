"""The built wheel in an environment of its own, beside a project that has packages and libraries of the same names."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefleet.process_identity import end_all, identify
from tests.lab.command_line import REPOSITORY, CommandLine

pytestmark = pytest.mark.timeout(900)
"""Building the wheel and filling an environment from the network is part of the first test's time."""


class InstalledCommandLine(CommandLine):
    """The ``storefleet`` command that pip has put into an environment."""

    program = Path()

    def _words(self, arguments: tuple[object, ...]) -> list[str]:
        return [str(self.program), *map(str, arguments)]


@pytest.fixture
def project(tmp_path: Path, environment: Path) -> Iterator[InstalledCommandLine]:
    """A user's project with packages named like ours, which end whoever imports them."""
    for package in ("consumers", "chaos", "emulator"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"raise SystemExit('this is the user\\'s own {package}')\n")
    command_line = InstalledCommandLine(tmp_path)
    command_line.program = environment / "storefleet"
    command_line.environment.pop("PYTHONPATH", None)
    yield command_line
    end_all([identify(process_id) for process_id in command_line.leftovers()])


def test_what_the_wheel_holds(wheel: Path) -> None:
    """Mapping tables, menus and py.typed are in the wheel, tests and tools are not."""
    names = zipfile.ZipFile(wheel).namelist()
    source = {
        str(path.relative_to(REPOSITORY))
        for package in ("fleetwire", "emulator", "parm_stub", "consumers", "chaos", "storefleet")
        for pattern in ("*.toml", "py.typed", "*.py")
        for path in (REPOSITORY / package).rglob(pattern)
    }
    assert source <= set(names), source - set(names)
    assert any(name.startswith("parm_stub/") and name.endswith(".toml") for name in names)
    assert any(name.startswith("emulator/") and name.endswith(".toml") for name in names)
    assert "storefleet/py.typed" in names
    strangers = {name.split("/")[0] for name in names if not name.startswith("storefleet-")}
    assert strangers == {"fleetwire", "emulator", "parm_stub", "consumers", "chaos", "storefleet"}
    assert not [name for name in names if "cache" in name]


def test_a_lab_beside_packages_of_the_same_names(project: InstalledCommandLine, environment: Path) -> None:
    """From the user's folder the installed command runs a lab to a valid verdict, an old paho-mqtt notwithstanding."""
    installed = subprocess.run(
        [str(environment / "python"), "-c", "import paho.mqtt; print(paho.mqtt.__version__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert installed.stdout.strip() == "1.6.1"
    lab = project.up(stores=2)
    lab.wait_for_trade(total=20)
    assert lab.down()["validity"] == "valid"


def test_import_changes_nothing(environment: Path, tmp_path: Path) -> None:
    """``import storefleet`` sets no loop policy, no logging handler and no signal handler, and imports no paho."""
    code = """
import asyncio, json, logging, signal, sys
handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
policy = type(asyncio.get_event_loop_policy())
import storefleet
print(json.dumps({
    "policy": policy is type(asyncio.get_event_loop_policy()),
    "logging": not logging.getLogger().handlers and not logging.getLogger("storefleet").handlers,
    "signals": handlers == {number: signal.getsignal(number) for number in signal.valid_signals()},
    "no paho": not any(name.startswith("paho") for name in sys.modules),
}))
"""
    done = subprocess.run(
        [str(environment / "python"), "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == dict.fromkeys(("policy", "logging", "signals", "no paho"), True)
