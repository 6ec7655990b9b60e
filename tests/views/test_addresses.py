"""Stages whose gateway, control plane and own HTTP are at IPv6 addresses."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fleetwire.settings import StageSettings
from tests.feed.laboratory import ROOT, Laboratory, until
from tests.ipv6 import needs_ipv6
from tests.views.test_views import write_registers


@needs_ipv6
async def test_everything_by_ipv6(tmp_path: Path) -> None:
    """Each is told where the others are, and says where it is, as it stands in a URL."""
    async with Laboratory(tmp_path, host="::1") as lab:
        gateway = await lab.start_gateway()
        assert gateway.endpoints == {"http": f"http://[::1]:{lab.gateway_port}"}
        views = await lab.start("consumers.views", "views", listen="[::1]:0")
        await write_registers(lab)
        url = views.endpoints["http"]
        assert url.startswith("http://[::1]:")

        async with httpx.AsyncClient(trust_env=False) as client:

            async def shown() -> bool:
                return "OPEN" in (await client.get(f"{url}/views/store-board")).text

            await until(shown, "the view shows what the gateway holds")


@needs_ipv6
@pytest.mark.parametrize("module", ["consumers.gateway", "consumers.views"])
async def test_a_port_that_is_taken(tmp_path: Path, module: str) -> None:
    """The address in the error is the one that was asked for, with brackets."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        where = f"[::1]:{taken.getsockname()[1]}"
        stage = module.rpartition(".")[2]
        settings = StageSettings(stage=stage, listen=where, state_dir=str(tmp_path), gateway_url="http://[::1]:1/fleet")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", module, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), **settings.environment()},
        )  # fmt: skip
        said = (await process.communicate())[1].decode()
    assert process.returncode == 2, said
    assert f"cannot listen on {where}: " in said
