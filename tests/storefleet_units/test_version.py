"""``storefleet --version``: one line from the package's own word, before anything heavy is read."""

from __future__ import annotations

import resource
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
COMMAND = (sys.executable, "-P", "-m", "storefleet", "--version")
NOT_INSTALLED = """
import importlib.metadata, sys
def nothing(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = nothing
sys.argv = ["storefleet", "--version"]
from storefleet.cli import main
main()
"""


def children_cpu_s() -> float:
    """What all processes have used that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_version_is_the_packages() -> None:
    """One line on standard output, the version of pyproject.toml, at less than 0.2 s of processor time."""
    spent_s = []
    for _ in range(5):
        before_s = children_cpu_s()
        done = subprocess.run(COMMAND, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        spent_s.append(children_cpu_s() - before_s)
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert (done.stdout, done.stderr) == (f"storefleet {version}\n", "")
    assert min(spent_s) < 0.2


def test_a_tree_that_is_not_installed_says_so(tmp_path: Path) -> None:
    """Without a package there is no version to tell: one line and status 2."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", NOT_INSTALLED], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "scripts/set-up" in done.stderr
