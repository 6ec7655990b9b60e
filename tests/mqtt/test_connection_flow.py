"""How sessions connect, fail to connect, lose their connection and come back."""

from __future__ import annotations

import asyncio
import random
import select
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetwire.mqtt import (
    ConnectFailed,
    ConnectionLost,
    ConnectRefused,
    Endpoint,
    Session,
    SessionGroup,
    SessionOptions,
    TopicFilter,
)
from tests.broker import Broker, find_mosquitto
from tests.mqtt.peer import saying, serving
from tests.mqtt.recorder import Recorder


def _open(group: SessionGroup, recorder: Recorder, client_id: str = "till", **options: object) -> Session:
    return group.open(SessionOptions(client_id=client_id, **options), recorder)  # type: ignore[arg-type]


def _local(port: int, **options: float) -> SessionGroup:
    return SessionGroup(Endpoint(host="127.0.0.1", port=port), backoff_cap_s=0.3, **options)  # type: ignore[arg-type]


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


async def test_password_is_checked(make_broker: Callable[..., Broker], make_group: Callable[..., SessionGroup]) -> None:
    """The right password connects; a wrong one is refused with its reason code, shown nowhere, and tried again."""
    broker = make_broker(anonymous=False)
    mosquitto = find_mosquitto()
    assert mosquitto is not None
    tool = shutil.which("mosquitto_passwd") or str(Path(mosquitto).parent.parent / "bin" / "mosquitto_passwd")
    passwords = broker.write("passwords", b"till:s3cret-right\n")
    _run(tool, "-U", passwords)
    passwords.chmod(0o644)
    broker.add_line(f"password_file {passwords}")
    group = make_group(broker.start())
    right, wrong = Recorder(), Recorder()
    _open(group, right, "right", username="till", password=b"s3cret-right")
    _open(group, wrong, "wrong", username="till", password=b"s3cret-wrong")
    await right.until("connected", lambda: right.connected == [False])
    await wrong.until("refused twice", lambda: len(wrong.errors) >= 2)
    error = wrong.errors[0]
    assert isinstance(error, ConnectRefused)
    assert error.reason_code in (0x86, 0x87)
    assert error.definite
    assert not error.final
    assert "s3cret" not in str(error)
    assert "wrong" in str(error)


async def test_tls_checks_the_certificate(make_broker: Callable[..., Broker]) -> None:
    """With the right CA the session runs over TLS; without it the failure says that the certificate is not trusted."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    broker = make_broker()
    key, certificate = broker.folder / "key.pem", broker.folder / "certificate.pem"
    _run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    key.chmod(0o644)
    for line in (f"cafile {certificate}", f"certfile {certificate}", f"keyfile {key}"):
        broker.add_line(line)
    broker.start()
    url = f"mqtts://127.0.0.1:{broker.port}"
    trusting = Endpoint.parse(url, tls=ssl.create_default_context(cafile=str(certificate)))
    trusted, untrusted = Recorder(), Recorder()
    groups = SessionGroup(trusting), SessionGroup(Endpoint.parse(url))
    session = _open(groups[0], trusted, subscriptions=(TopicFilter(pattern="a"),))
    session.publish("a", b"x" * 100_000)
    await trusted.until("message", lambda: trusted.payloads == [b"x" * 100_000])
    _open(groups[1], untrusted)
    await untrusted.until("failed", lambda: len(untrusted.errors) >= 1)
    assert isinstance(untrusted.errors[0], ConnectFailed)
    assert "not trusted" in str(untrusted.errors[0])
    for group in groups:
        await group.close()


async def test_keep_alive_holds_an_idle_connection(group: SessionGroup) -> None:
    """An idle session outlives the broker's patience of one and a half keep-alives."""
    recorder = Recorder()
    # Of the broker's patience, and of ours with its answer, three seconds are left for a machine that stalls.
    session = _open(group, recorder, keep_alive_s=6)
    await recorder.until("two pings", lambda: group.statistics.pings >= 2)
    assert session.connected
    assert recorder.errors == []


async def test_broker_that_hangs_is_given_up(broker: Broker, group: SessionGroup) -> None:
    """A broker that stops answering is noticed after two keep-alives, and found again when it goes on."""
    recorder = Recorder()
    session = _open(group, recorder, keep_alive_s=4)
    await recorder.until("connected", lambda: session.connected)
    broker.signal(signal.SIGSTOP)
    try:
        await recorder.until("given up", lambda: len(recorder.errors) >= 1)
    finally:
        broker.signal(signal.SIGCONT)
    assert isinstance(recorder.errors[0], ConnectionLost)
    assert "PINGREQ" in str(recorder.errors[0])
    await recorder.until("back", lambda: len(recorder.connected) >= 2)


async def test_an_answer_that_came_while_we_stood_still_counts(broker: Broker, group: SessionGroup) -> None:
    """A PINGRESP that lies unread when its time is over, because this process stalled, is read before it is missed."""
    recorder, loop, ahead_s = Recorder(), asyncio.get_running_loop(), 0.0
    group.now_s = lambda: loop.time() + ahead_s  # type: ignore[misc]
    session = _open(group, recorder, keep_alive_s=100)
    await recorder.until("connected", lambda: session.connected)
    broker.signal(signal.SIGSTOP)
    ahead_s += 100
    await recorder.until("a PINGREQ", lambda: group.statistics.pings == 1)
    received = group.statistics.bytes_received
    ours, theirs = socket.socketpair()

    def stand_still() -> None:
        nonlocal ahead_s
        loop.remove_reader(ours)
        broker.signal(signal.SIGCONT)
        assert session._transport is not None
        select.select([session._transport.get_extra_info("socket")], [], [], 40)
        ahead_s += 60
        time.sleep(0.1)  # the group's timer is due, too, and comes before the loop looks at its sockets again

    with ours, theirs:
        loop.add_reader(ours, stand_still)
        theirs.send(b"x")
        await recorder.until("what comes of it", lambda: group.statistics.bytes_received > received or recorder.errors)
    assert recorder.errors == []
    assert session.connected


async def test_take_over_by_the_same_client_id(group: SessionGroup) -> None:
    """The session that another one with its client id pushes out hears of it, and returns once that is gone."""
    first, second = Recorder(), Recorder()
    session = _open(group, first)
    await first.until("connected", lambda: session.connected)
    other = _open(group, second)
    await first.until("taken over", lambda: len(first.errors) >= 1)
    # Mosquitto 2.0.11 closes the old connection without the DISCONNECT 0x8E that the standard wants.
    assert isinstance(first.errors[0], ConnectionLost)
    assert first.errors[0].reason_code in (None, 0x8E)
    other.disconnect()
    await first.until("back", lambda: session.connected)


async def test_killed_broker_gets_its_sessions_back(broker: Broker, make_group: Callable[..., SessionGroup]) -> None:
    """After kill -9 and a restart of the broker all of 500 sessions return, subscriptions and waiting publishes too."""
    group = make_group(broker, backoff_cap_s=1.0)
    recorder = Recorder()
    sessions = [
        _open(group, recorder, f"till{number}", subscriptions=(TopicFilter(pattern=f"to/{number}"),))
        for number in range(500)
    ]
    await recorder.until("subscribed", lambda: len(recorder.subscribed) == 500)
    broker.kill()
    await recorder.until("all lost", lambda: group.statistics.connections_lost == 500)
    for number, session in enumerate(sessions):
        session.publish(f"to/{number}", b"%d" % number)
    broker.restart()
    await recorder.until("all back", lambda: all(session.connected for session in sessions))
    await recorder.until("all acknowledged", lambda: len(recorder.published) == 500)
    assert group.statistics.reconnects == 500
    assert all(isinstance(error, (ConnectionLost, ConnectFailed)) for error in recorder.errors)
    await recorder.until("subscribed again", lambda: len(recorder.subscribed) == 1000)


async def test_a_web_server_is_told_from_a_broker() -> None:
    """A peer that answers HTTP is named as no broker, without waiting for the timeout."""
    async with serving(saying(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")) as port:
        group, recorder = _local(port, connect_timeout_s=600.0), Recorder()
        _open(group, recorder)
        await recorder.until("failed", lambda: len(recorder.errors) >= 1)
        assert isinstance(recorder.errors[0], ConnectFailed)
        assert "no MQTT broker" in str(recorder.errors[0])
        assert group.statistics.connect_failures["no broker"] >= 1
        await group.close()


async def test_a_silent_peer_times_out() -> None:
    """A peer that takes the connection and says nothing fails within the connect timeout, which the error names."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        group, recorder = _local(silent.getsockname()[1], connect_timeout_s=0.3), Recorder()
        _open(group, recorder)
        await recorder.until("failed", lambda: len(recorder.errors) >= 1)
        assert isinstance(recorder.errors[0], ConnectFailed)
        assert "0.3 s" in str(recorder.errors[0])
        await group.close()


async def test_nobody_listening_fails_and_is_tried_again(port: int) -> None:
    """A refused connection names address and client, is counted, and the session goes on trying."""
    group, recorder = _local(port), Recorder()
    session = _open(group, recorder)
    await recorder.until("three attempts", lambda: len(recorder.errors) >= 3)
    error = recorder.errors[0]
    assert isinstance(error, ConnectFailed)
    assert f"127.0.0.1:{group.endpoint.port}, client till" in str(error)
    assert group.statistics.connect_failures["ConnectionRefusedError"] >= 3
    session.disconnect()
    await session.closed()
    await group.close()


async def test_backoff_is_full_jitter() -> None:
    """Delays are drawn between nothing and a doubling, capped bound, and are the same for the same seed."""
    groups = [
        SessionGroup(Endpoint(host="h", port=1), backoff_base_s=1.0, backoff_cap_s=8.0, random=random.Random(5))
        for _ in range(2)
    ]
    first, second = ([group.backoff_s(attempt) for attempt in range(100) for _ in range(20)] for group in groups)
    assert first == second
    for attempt in range(100):
        drawn = first[attempt * 20 : attempt * 20 + 20]
        bound = min(8.0, 2.0**attempt)
        assert 0 <= min(drawn) < bound * 0.4
        assert bound * 0.6 < max(drawn) <= bound


async def test_connects_are_limited(broker: Broker, make_group: Callable[..., SessionGroup]) -> None:
    """No more sessions than allowed are on their way at once, and in the end all are connected."""
    group, recorder = make_group(broker, connects_at_once=3), Recorder()
    sessions = [_open(group, recorder, f"till{number}") for number in range(30)]
    assert len([task for task in asyncio.all_tasks() if task.get_name().startswith("mqtt-dial")]) == 3
    await recorder.until("all", lambda: all(session.connected for session in sessions))
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("mqtt-dial")]


async def test_abort_in_every_phase_can_be_undone(broker: Broker, group: SessionGroup) -> None:
    """A session aborted while queued, dialled, opened, connected or closing comes to rest, and back when told."""
    recorder = Recorder()
    session = _open(group, recorder)
    for turn in range(40):
        for _ in range(turn % 8):
            await _one_iteration()
        session.abort()
        if turn % 3 == 0:
            await asyncio.wait_for(session.closed(), 40)
            assert not session.connected
        session.reopen()
    await recorder.until("connected in the end", lambda: session.connected)
    assert recorder.errors == []
    session.disconnect()
    await asyncio.wait_for(session.closed(), 40)
    assert not session.connected


async def _one_iteration() -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(done.set_result, None)
    await done


async def test_forgetful_abort_drops_what_was_not_acknowledged(broker: Broker, group: SessionGroup) -> None:
    """A power cut that takes the memory takes the unacknowledged publishes with it."""
    recorder = Recorder()
    session = _open(group, recorder)
    session.publish("a", b"x")
    session.abort(forget=True)
    assert session.queued == session.in_flight == 0
    session.reopen()
    await recorder.until("connected", lambda: session.connected)
    session.publish("a", b"y", token="second")
    await recorder.until("acknowledged", lambda: recorder.published != [])
    assert [token for token, _ in recorder.published] == ["second"]


async def test_final_refusal_is_not_tried_again() -> None:
    """An answer in MQTT 3 is final: the session comes to rest by itself."""
    async with serving(saying(b"\x20\x02\x00\x01")) as port:
        group, recorder = _local(port, connect_timeout_s=600.0), Recorder()
        session = _open(group, recorder)
        await asyncio.wait_for(session.closed(), 40)
        assert [error.final for error in recorder.errors] == [True]
        assert "MQTT 3" in str(recorder.errors[0])
        await group.close()


async def test_a_connection_that_ends_at_once_keeps_backing_off() -> None:
    """A peer that accepts and hangs up does not reset the back-off: its bound goes on doubling."""

    class Recording(random.Random):
        bounds: list[float] = []  # noqa: RUF012 - one test, one list

        def uniform(self, a: float, b: float) -> float:
            self.bounds.append(b)
            return 0.0

    async with serving(saying(b"\x20\x03\x00\x00\x00")) as port:
        endpoint = Endpoint(host="127.0.0.1", port=port)
        group, recorder = SessionGroup(endpoint, random=Recording(), connect_timeout_s=600.0), Recorder()
        _open(group, recorder)
        await recorder.until("four losses", lambda: len(recorder.errors) >= 4)
        assert Recording.bounds[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
        assert group.statistics.connections_lost >= 4
        await group.close()


async def test_will_that_cannot_be_made_is_final(broker: Broker, group: SessionGroup) -> None:
    """An owner whose will raises hears a final failure, and no task is left with the exception."""
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    recorder = Recorder()

    def will() -> None:
        raise RuntimeError("a bug of the owner")

    session = group.open(SessionOptions(client_id="till"), recorder, will)
    await asyncio.wait_for(session.closed(), 40)
    assert [error.final for error in recorder.errors] == [True]
    assert len(reported) == 1


async def test_publish_right_after_an_abort_waits(broker: Broker, group: SessionGroup) -> None:
    """What is published between an abort and the end of the connection is kept, and harms no other session."""
    recorder = Recorder()
    session, other = _open(group, recorder), _open(group, recorder, "other")
    await recorder.until("connected", lambda: session.connected and other.connected)
    session.abort()
    session.publish("a", b"x", token="kept")
    other.publish("a", b"y", token="other")
    await recorder.until("the other one", lambda: len(recorder.published) == 1)
    assert session.queued == 1
    session.reopen()
    await recorder.until("both", lambda: [token for token, _ in recorder.published] == ["other", "kept"])
