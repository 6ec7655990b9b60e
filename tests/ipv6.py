"""Whether this machine has what tests of addresses need; each part that is missing is a reason to skip, and no other."""

from __future__ import annotations

import shutil
import socket
import subprocess
from functools import cache
from pathlib import Path

import pytest


def _has_loopback() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not _has_loopback(), reason="this machine has no IPv6 loopback (::1)")


@cache
def _namespace() -> tuple[str, ...]:
    """Words that give a command file mounts of its own; none where the system grants them to nobody like us."""
    for words in (("unshare", "--mount"), ("unshare", "--map-root-user", "--mount")):
        tried = [*words, "sh", "-c", "mount --bind /etc/hosts /etc/hosts"]
        if shutil.which("unshare") and subprocess.run(tried, capture_output=True, check=False).returncode == 0:
            return words
    return ()


def with_hosts(folder: Path, text: str) -> list[str]:
    """Words before a command, for which names are what this hosts(5) file says."""
    if not _namespace():
        pytest.skip("a hosts file of its own needs 'unshare --mount', which this system does not grant")
    hosts = folder / "hosts"
    hosts.write_text(text, encoding="utf-8")
    return [*_namespace(), "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]
