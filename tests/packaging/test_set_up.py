"""What the set-up asks of a machine that lacks something: before anything is fetched, in one line, as it can be pasted.

The machine is a folder of commands: what is not in it, such as ``sudo`` or ``mosquitto_pub``, this machine does not have.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.command_line import REPOSITORY

TOOLS = ("bash", "sh", "cat", "cksum", "dirname", "env", "id", "sed", "sort", "tr", "uname")
CLIENTS = "mosquitto-clients"
NOBODY = "#!/bin/sh\necho 1000\n"
PASSWORD = "#!/bin/sh\necho a password is needed >&2\nexit 1\n"
NOTHING = "#!/bin/sh\nexit 0\n"


class Machine:
    """A clone without an environment, and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "Filiale Köln"
        self.tools = folder / "tools"
        self.tools.mkdir()
        shutil.copytree(REPOSITORY / "scripts", self.clone / "scripts")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(REPOSITORY / name, self.clone / name)
        for name in TOOLS:
            found = shutil.which(name)
            assert found is not None, name
            (self.tools / name).symlink_to(found)
        self.has("apt-get", NOTHING)
        self.has("python3", NOTHING)

    def has(self, name: str, content: str) -> None:
        """Put a command on the machine."""
        (self.tools / name).unlink(missing_ok=True)
        (self.tools / name).write_text(content, encoding="utf-8")
        (self.tools / name).chmod(0o755)

    def run(self, script: str, *words: str) -> subprocess.CompletedProcess[str]:
        """One of the scripts, without a terminal."""
        return subprocess.run(
            [str(self.clone / "scripts" / script), *words],
            env={"PATH": str(self.tools), "LANG": "C.UTF-8"}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=60, start_new_session=True,
        )  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Of an ordinary user: with Python, without Mosquitto's clients."""
    made = Machine(tmp_path)
    made.has("id", NOBODY)
    return made


@pytest.mark.parametrize("sudo", [None, PASSWORD], ids=["no sudo", "a password and no terminal"])
@pytest.mark.parametrize("agreed", [(), ("--yes",)], ids=["not asked", "agreed"])
def test_who_cannot_become_root_is_told_what_to_install(
    machine: Machine, sudo: str | None, agreed: tuple[str, ...]
) -> None:
    """One line, status 2, before the environment is begun; the command can be pasted by root."""
    if sudo is not None:
        machine.has("sudo", sudo)
    done = machine.run("test", *agreed)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"missing here: {CLIENTS}; this user cannot install them" in done.stderr
    command = shlex.split(done.stderr.rpartition("let root run: ")[2])
    assert command == [str(machine.clone / "scripts/install-packages"), CLIENTS]
    assert not (machine.clone / ".venv").exists()


def test_the_command_is_shown_and_not_run_without_consent(machine: Machine) -> None:
    """A sudo that asks for nothing is not used unasked."""
    machine.has("sudo", '#!/bin/sh\n[ "$*" = "-n true" ]\n')
    done = machine.run("test")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    shown = done.stdout.splitlines()[-1].partition(f"missing here: {CLIENTS}: ")[2]
    assert shlex.split(shown) == ["sudo", str(machine.clone / "scripts/install-packages"), CLIENTS]
    assert not (machine.clone / ".venv").exists()


def test_with_consent_it_is_run_as_shown(machine: Machine, tmp_path: Path) -> None:
    """Then the set-up goes on; a status of the installation is the set-up's own."""
    ran = tmp_path / "ran"
    machine.has("sudo", f'#!/bin/sh\n[ "$*" = "-n true" ] || {{ printf "%s\\n" "$@" >"{ran}"; exit 7; }}\n')
    assert machine.run("test", "--yes").returncode == 7
    assert ran.read_text(encoding="utf-8").splitlines() == [str(machine.clone / "scripts/install-packages"), CLIENTS]


@pytest.mark.parametrize("command", ["test --fast", "demo", "check"])
def test_only_the_whole_suite_asks_for_the_clients(machine: Machine, command: str) -> None:
    """Nothing is missing for these, so the environment is begun at once; the Python of this machine makes none."""
    machine.has("mosquitto", NOTHING)
    done = machine.run(*command.split())
    assert "missing here" not in done.stdout + done.stderr
    assert "making the virtual environment" in done.stdout


def install(tools: Path, status: str, *packages: str) -> list[str]:
    """Run ``scripts/install-packages`` on a machine where Mosquitto's package has this status; what it called."""
    tools.mkdir()
    called = tools / "called"
    called.touch()
    for name in ("apt-get", "systemctl", "update-rc.d"):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"{called}"\n', encoding="utf-8")
    (tools / "dpkg-query").write_text(f"#!/bin/sh\necho {status}\n", encoding="utf-8")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    subprocess.run([str(REPOSITORY / "scripts/install-packages"), *packages], env=environment, check=True, timeout=60)
    return called.read_text(encoding="utf-8").splitlines()


def test_a_broker_that_was_there_before_goes_on(tmp_path: Path) -> None:
    """Its service is neither stopped nor disabled when the clients, or a newer Mosquitto, are installed."""
    for number, packages in enumerate([(CLIENTS,), ("mosquitto", CLIENTS)]):
        called = install(tmp_path / str(number), "installed", *packages)
        assert [line for line in called if not line.startswith("apt-get")] == []
        assert called[-1].split()[-len(packages) :] == list(packages)


def test_no_package_is_one_line(tmp_path: Path) -> None:
    """As any other wrong use."""
    done = subprocess.run([str(REPOSITORY / "scripts/install-packages")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "storefleet: name the packages to install\n")


def test_a_moved_folder_makes_its_environment_anew(machine: Machine, tmp_path: Path) -> None:
    """The paths in an environment are those of the folder it was made in; one that stays is not touched."""
    python = machine.clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    machine.has("mosquitto_pub", NOTHING)
    machine.has("mosquitto", NOTHING)
    python.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    python.chmod(0o755)
    stamp = (
        "printf '%s %s' $(cat pyproject.toml constraints.txt | cksum | tr ' ' -) \"$(pwd -P)\" >.venv/storefleet-stamp"
    )
    subprocess.run(stamp, shell=True, cwd=machine.clone, check=True)
    assert "making the virtual environment" not in machine.run("test").stdout
    machine.clone = machine.clone.rename(tmp_path / "moved")
    machine.has("python3", f'#!/bin/sh\necho "$*" >>"{tmp_path}/asked"\n')
    assert "making the virtual environment" in machine.run("test").stdout
    assert "-m venv --clear .venv" in (tmp_path / "asked").read_text(encoding="utf-8")
