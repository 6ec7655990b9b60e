"""Round trips of one event over one blocking socket: as little of ours in between as can be."""

from __future__ import annotations

import socket
import time
from typing import Final

from fleetwire.mqtt import SessionOptions, TopicFilter
from fleetwire.mqtt.frames import encode_connect, encode_publish, encode_subscribe

TIMEOUT_S: Final = 10.0
TOPIC: Final = "storefleet/bench/echo"
WARM_UP: Final = 20
SUBACK_BYTES: Final = 6
"""Of one filter: type, length, packet id, no properties, one reason code."""


def round_trips_ms(port: int, count: int, payload_bytes: int) -> list[float]:
    """Publish so often to an own subscription and wait for each; milliseconds, ascending. Raises OSError."""
    event = encode_publish(TOPIC, b"x" * payload_bytes, 0, False, 0, (), None, None, None, None)
    subscription = TopicFilter(pattern=TOPIC, qos=0, retain_as_published=False)
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(encode_connect(SessionOptions(client_id="taco.east.s00001.r01"), None, clean_start=True))
        head = _read(connection, 2)
        _read(connection, head[1])
        connection.sendall(encode_subscribe(1, (subscription,)))
        _read(connection, SUBACK_BYTES)
        times = [_round_trip_ms(connection, event) for _ in range(WARM_UP + count)]
    return sorted(times[WARM_UP:])


def _round_trip_ms(connection: socket.socket, event: bytes) -> float:
    started_s = time.perf_counter()
    connection.sendall(event)
    back = _read(connection, len(event))
    elapsed_ms = (time.perf_counter() - started_s) * 1000
    if back != event:
        raise ConnectionAbortedError("something else came back than was published")
    return elapsed_ms


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionResetError("the broker closed the connection during a round trip")
        data += chunk
    return data
