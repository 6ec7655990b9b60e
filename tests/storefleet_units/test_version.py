"""``storefleet --version``: one line from the package's own word, before anything heavy is read."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
COMMAND = (sys.executable, "-P", "-X", "importtime", "-m", "storefleet", "--version")
HEAVY = {"asyncio", "uvloop", "rich.console", "ssl", "sqlite3", "fleetwire.mqtt", "storefleet.lab"}
"""What a lab needs, and nobody who only asks for the version."""
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
NOT_INSTALLED = """
import importlib.metadata, sys
def nothing(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = nothing
sys.argv = ["storefleet", "--version"]
from storefleet.__main__ import main
main()
"""


def test_the_version_is_the_packages() -> None:
    """One line on standard output, the version of pyproject.toml; nothing heavy is loaded for it."""
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert done.stdout == f"storefleet {version}\n"
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "storefleet.cli" in loaded
    assert not HEAVY & loaded


def test_a_tree_that_is_not_installed_says_so(tmp_path: Path) -> None:
    """Without a package there is no version to tell: one line and status 2."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", NOT_INSTALLED],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=ENVIRONMENT,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "scripts/set-up" in done.stderr
