"""Worker: the baseline. So many aiomqtt clients, each with will and subscription, that then publish at QoS 1."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from contextlib import AsyncExitStack

import aiomqtt
from msgspec import Struct

from storefleet.bench.process_usage import resident_bytes
from storefleet.bench.workers.task import serve


class Task(Struct, frozen=True):
    """With ``messages`` 0 the clients only connect and subscribe."""

    port: int
    connections: int
    window: int
    messages: int
    payload_bytes: int
    timeout_s: float


class Result(Struct, frozen=True):
    """Times and memory of connecting and of publishing; ``resident_kb`` and ``connect_cpu_ms`` are for one client."""

    connect_seconds: float
    resident_kb: float
    connect_cpu_ms: float
    publish_seconds: float
    publish_cpu_us: float


async def work(task: Task) -> Result:
    """Connect and subscribe, then publish."""
    # A loop without a client costs what it costs once; that is not a client's.
    gc.collect()
    resident_before = resident_bytes(os.getpid()) or 0
    async with asyncio.timeout(task.timeout_s), AsyncExitStack() as stack:
        started_s, cpu_before_s = time.perf_counter(), time.process_time()
        clients = await asyncio.gather(*(_open(stack, task, number) for number in range(task.connections)))
        connect_s, connect_cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_before_s
        gc.collect()
        grown = (resident_bytes(os.getpid()) or 0) - resident_before
        publish_s, publish_cpu_s = await _publish(task, clients)
        return Result(
            connect_seconds=connect_s,
            resident_kb=grown / 1024 / task.connections,
            connect_cpu_ms=connect_cpu_s * 1000 / task.connections,
            publish_seconds=publish_s,
            publish_cpu_us=publish_cpu_s * 1e6 / task.messages if task.messages else 0.0,
        )


async def _open(stack: AsyncExitStack, task: Task, number: int) -> aiomqtt.Client:
    client = aiomqtt.Client(
        "127.0.0.1",
        task.port,
        identifier=f"aiomqtt-{number}",
        protocol=aiomqtt.ProtocolVersion.V5,
        will=aiomqtt.Will(f"storefleet/bench/state/{number}", b"gone", qos=1),
        max_inflight_messages=task.window,
    )
    await stack.enter_async_context(client)
    await client.subscribe(f"storefleet/bench/command/{number}", qos=1)
    return client


async def _publish(task: Task, clients: list[aiomqtt.Client]) -> tuple[float, float]:
    payload = b"x" * task.payload_bytes
    unsent = task.messages

    async def one_after_the_other(client: aiomqtt.Client) -> None:
        nonlocal unsent
        while unsent > 0:
            unsent -= 1
            await client.publish("storefleet/bench", payload, qos=1)

    started_s, cpu_before_s = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one_after_the_other(client) for client in clients for _ in range(task.window)))
    return time.perf_counter() - started_s, time.process_time() - cpu_before_s


if __name__ == "__main__":
    serve(Task, work)
