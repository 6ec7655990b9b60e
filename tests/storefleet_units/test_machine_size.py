"""Memory and processors of a machine and of the container in it, from what the kernel's files say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storefleet.machine_size import free_memory_mb, processors

MEMORY = "MemTotal:  4000 kB\nMemAvailable:  2000000 kB\nBuffers:  1 kB\n"
UNLIMITED_V1 = "9223372036854771712"


def tree(root: Path, files: dict[str, str]) -> tuple[Path, Path]:
    """``/proc`` and ``/sys/fs/cgroup`` with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root / "proc", root / "cgroup"


@pytest.mark.parametrize(
    ("files", "free_mb"),
    [
        ({}, None),
        ({"proc/meminfo": "MemTotal: 4000 kB\n"}, None),
        ({"proc/meminfo": "MemAvailable: many kB\nMemAvailable:\n"}, None),
        ({"proc/meminfo": MEMORY}, 2048.0),
        (
            {
                "proc/meminfo": MEMORY, "proc/self/cgroup": "0::/shop/till\n",
                "cgroup/shop/till/memory.max": "max\n", "cgroup/shop/till/memory.current": "900000000\n",
                "cgroup/shop/memory.max": "1000000000\n", "cgroup/shop/memory.current": "700000000\n",
                "cgroup/shop/memory.stat": "anon 1\ninactive_file 200000000\n",
            },
            500.0,
        ),
        (
            {
                "proc/meminfo": MEMORY, "proc/self/cgroup": "5:cpu:/\n3:hugetlb,memory:/shop\n",
                "cgroup/memory/shop/memory.limit_in_bytes": "600000000", "cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
                "cgroup/memory/shop/memory.usage_in_bytes": "500000000", "cgroup/memory/memory.usage_in_bytes": "5",
                "cgroup/memory/shop/memory.stat": "total_inactive_file 50000000\n",
            },
            150.0,
        ),
        ({"proc/meminfo": MEMORY, "proc/self/cgroup": "0::/gone\nnonsense\n"}, 2048.0),
    ],
    ids=["no files", "no figure", "no number", "machine", "cgroup v2, the group above", "cgroup v1", "no such group"],
)  # fmt: skip
def test_free_memory(tmp_path: Path, files: dict[str, str], free_mb: float | None) -> None:
    """The least of what the machine has and every limit leaves."""
    assert free_memory_mb(*tree(tmp_path, files)) == free_mb


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 3.0),
        ({"proc/self/cgroup": "0::/a\n", "cgroup/a/cpu.max": "max 100000\n"}, 3.0),
        (
            {"proc/self/cgroup": "0::/a/b\n", "cgroup/a/b/cpu.max": "150000 100000\n",
             "cgroup/a/cpu.max": "50000 100000"},
            0.5,
        ),
        ({"proc/self/cgroup": "0::/a\n", "cgroup/a/cpu.max": "900000 100000\n"}, 3.0),
        ({"proc/self/cgroup": "0::/a\n", "cgroup/a/cpu.max": "\n"}, 3.0),
        (
            {"proc/self/cgroup": "4:cpu,cpuacct:/a\n", "cgroup/cpu/a/cpu.cfs_quota_us": "20000",
             "cgroup/cpu/a/cpu.cfs_period_us": "100000"},
            0.2,
        ),
        (
            {"proc/self/cgroup": "4:cpu,cpuacct:/a\n", "cgroup/cpu/a/cpu.cfs_quota_us": "-1",
             "cgroup/cpu/a/cpu.cfs_period_us": "100000"},
            3.0,
        ),
    ],
)  # fmt: skip
def test_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], count: float) -> None:
    """The least of those that the process may run on and every quota."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5})
    assert processors(*tree(tmp_path, files)) == count


def test_this_machine() -> None:
    """On Linux both are told."""
    assert (free_memory_mb() or 0) > 100
    assert processors() > 0
