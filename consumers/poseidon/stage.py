"""Poseidon in the frame of :mod:`fleetwire.stage`: feed in, outcomes out, registers and orders over HTTP.

The feed never waits for the broker: what is applied stays applied, and terminals that missed an outcome ask.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from consumers.broker_client import broker_client
from consumers.feed import event_journal
from consumers.feed.event_journal import first_source
from consumers.feed.fold_file import FoldFile
from consumers.feed.follower import Follower
from consumers.http_endpoint import HttpEndpoint
from consumers.poseidon import final_read
from consumers.poseidon.fold import Fact, PoseidonFold
from consumers.poseidon.reads import Reads
from consumers.poseidon.refusals import Refusals
from consumers.poseidon.routes import Health, routes
from fleetwire import vital_tasks
from fleetwire.answering import OutcomeAnswerer
from fleetwire.control import Handler, Params
from fleetwire.dead_letters import DeadLetterOffice
from fleetwire.delivery import Delivery
from fleetwire.errors import SettingsError
from fleetwire.host_presence import HostPresence
from fleetwire.mqtt import MqttError
from fleetwire.settings import StageSettings
from fleetwire.topics import Topics
from fleetwire.troubles import NOT_CONNECTED, Absence, tell_contested, tell_storage
from fleetwire.witness import Witness

FILE_NAME: Final = "poseidon.sqlite"
VIEW: Final = "orders"
_LEAVE_TIMEOUT_S: Final = 2.0


class PoseidonStage:
    """One instance; it follows the whole feed and answers every terminal."""

    def __init__(self, settings: StageSettings) -> None:
        if not settings.gateway_url:
            raise SettingsError("STOREFLEET_GATEWAY_URL is empty: Poseidon follows a gateway")
        self.witness = Witness()
        self._settings = settings
        self._path = Path(settings.state_dir) / FILE_NAME
        self._fold = PoseidonFold(self.witness, self._on_applied)
        self._presence = HostPresence(settings)
        self._client = broker_client(settings, self._presence)
        topics, applied = Topics(settings.topic_root), self._fold.journal.applied
        self._delivery = Delivery(self._client)
        self._refusals = Refusals(DeadLetterOffice(self._delivery, topics, settings.stage, self.witness), applied)
        self._answerer = OutcomeAnswerer(
            self._client, topics, settings.stage, applied, self._backlog, rejected=self._refusals.reasons
        )
        self._file: FoldFile[Fact] | None = None
        self._follower: Follower | None = None
        self._http: HttpEndpoint | None = None
        self._reads: Reads | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._feed = Absence(self.witness, NOT_CONNECTED, "feed")
        self._session = Absence(self.witness, NOT_CONNECTED, "broker")

    async def start(self) -> Mapping[str, str]:
        """Open the file, begin to follow and to serve; raises SettingsError or StorageError."""
        self._file = FoldFile(self._path, self._fold, self._refusals.refuse)
        self._reads = Reads(self._path)
        self._follower = Follower(self._settings.gateway_url, self._file)
        await self._client.__aenter__()
        self._answerer.start()
        self._refusals.resume(self._file)
        self._http = await HttpEndpoint(
            "Poseidon", routes(self._reads, self._health), self._settings.listen_address
        ).start()
        self._tasks = [
            vital_tasks.start(self._follower.run(), "poseidon.feed"),
            vital_tasks.start(self._presence.keep(self._client), "poseidon.presence"),
            vital_tasks.start(self._client.until_useless(), "poseidon.session"),
        ]
        return {"http": self._http.url}

    async def stop(self) -> None:
        """End the feed between two batches, tell what is pending, say goodbye."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._answerer.stop()
        self._delivery.close()
        with contextlib.suppress(MqttError, TimeoutError):
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await self._presence.leave(self._client)
        await self._client.__aexit__(None, None, None)
        if self._http is not None:
            await self._http.stop()
        if self._reads is not None:
            self._reads.close()
        if self._file is not None:
            self._file.close()

    def measure(self) -> None:
        """Bring the counters up to date."""
        if self._follower is None or self._file is None:
            return
        self.witness.counters.update(
            applied_total=self._file.applied_total,
            skipped_total=self._file.skipped.total(),
            skipped_unkept_total=self._file.unkept_total,
            backlog=self._follower.backlog,
            feed_connected=self._follower.connected,
            feed_age_ms=self._follower.age_ms or 0,
            feed_reconnects_total=self._follower.reconnects_total,
            feed_failures_total=self._follower.failures_total,
            outcomes_told_total=self._answerer.told,
            asks_total=self._answerer.asked,
            outcomes_refused_total=self._answerer.refused,
            dead_letters_total=sum(self.witness.rejects.values()),
        )
        tell_storage(self.witness, FILE_NAME, self._file.refusal)
        self._feed.see(present=self._follower.connected, detail=f"no feed of the gateway: {self._follower.failure}")
        self._session.see(present=self._client.connected.is_set(), detail=self._client.lack)
        tell_contested(self.witness, self._client.contested)

    def handlers(self) -> Mapping[str, Handler]:
        """``final_read`` and ``applied_times``."""
        return {"final_read": self._final_read, "applied_times": self._applied_times}

    async def _final_read(self, params: Params) -> Any:
        """With ``following``: {"orders": what the answer before named}, the page behind that one."""
        assert self._file is not None
        position, standing = self._file.checkpoint, self._file.standing()
        begin = first_source(params, VIEW)
        sources, following = await asyncio.to_thread(final_read.read_page, self._path, begin, event_journal.PAGE_EVENTS)
        view = {"sources": sources, "following": following, **standing}
        return {"views": {VIEW: view}, "positions": {VIEW: position}}

    async def _applied_times(self, params: Params) -> Any:
        """With ``source``: {sequence: applied_at_ms}; without: intervals and times as arrays, for every source."""
        source = str(params.get("source", ""))
        times = await asyncio.to_thread(event_journal.applied_times, self._path, source)
        if not source:
            return {"sources": times}
        return event_journal.by_sequence(times[source]) if source in times else {}

    def _on_applied(self, source: str) -> None:
        self._answerer.applied_now(source)

    def _backlog(self) -> int:
        return self._follower.backlog if self._follower is not None else 0

    def _health(self) -> Health:
        assert self._follower is not None
        assert self._file is not None
        return Health(
            feed_connected=self._follower.connected,
            broker_connected=self._client.connected.is_set(),
            checkpoint=self._file.checkpoint,
            feed_age_ms=self._follower.age_ms,
            applied_total=self._file.applied_total,
            skipped=dict(self._file.skipped),
        )
