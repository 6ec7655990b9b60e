"""olympus_dgs in the frame of :mod:`fleetwire.stage`: device states in, documents out, the inventory over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from consumers.broker_client import broker_client
from consumers.http_endpoint import HttpEndpoint
from consumers.olympus_dgs.inventory import Inventory
from consumers.olympus_dgs.reading import read_device
from consumers.olympus_dgs.routes import MAXIMUM_DEVICES, Health, routes
from consumers.olympus_dgs.writer import InventoryWriter
from fleetwire import vital_tasks
from fleetwire.control import Handler, Params
from fleetwire.dead_letters import DeadLetter, DeadLetterOffice
from fleetwire.delivery import Delivery
from fleetwire.documents import DeviceDocument
from fleetwire.errors import BadPayload, SettingsError, StorageError
from fleetwire.gateway_client import GatewayClient
from fleetwire.host_presence import HostPresence
from fleetwire.in_hand import InHand
from fleetwire.mqtt import Message, MqttError, TopicFilter
from fleetwire.settings import StageSettings
from fleetwire.topics import Topics
from fleetwire.troubles import GATEWAY_REFUSES, NOT_CONNECTED, Absence, tell_contested, tell_storage
from fleetwire.witness import Witness

FILE_NAME: Final = "olympus_dgs.sqlite"
VIEW: Final = "olympus_dgs"
_LEAVE_TIMEOUT_S: Final = 2.0


class OlympusStage:
    """One instance; it hears of every terminal, by a plain subscription to retained registers."""

    def __init__(self, settings: StageSettings) -> None:
        if not settings.gateway_url:
            raise SettingsError("STOREFLEET_GATEWAY_URL is empty: olympus_dgs writes to a gateway")
        self.witness = Witness()
        self._settings = settings
        self._topics = Topics(settings.topic_root)
        self._presence = HostPresence(settings)
        self._client = broker_client(settings, self._presence)
        self._delivery = Delivery(self._client)
        self._dead_letters = DeadLetterOffice(self._delivery, self._topics, settings.stage, self.witness)
        self._in_hand = InHand(self._client)
        self._gateway = GatewayClient(settings.gateway_url)
        self._inventory: Inventory | None = None
        self._writer: InventoryWriter | None = None
        self._http = HttpEndpoint("olympus_dgs", routes(self._opened, self._health), settings.listen_address)
        self._tasks: list[asyncio.Task[None]] = []
        self._emptied_total = 0
        self._storing = Absence(self.witness, GATEWAY_REFUSES, "gateway")
        self._session = Absence(self.witness, NOT_CONNECTED, "broker")

    async def start(self) -> Mapping[str, str]:
        """Open the inventory, subscribe, serve; raises SettingsError or StorageError."""
        self._inventory = Inventory(Path(self._settings.state_dir) / FILE_NAME)
        self._writer = InventoryWriter(self._inventory, self._gateway, self._taken)
        self.witness.begin_registers(VIEW)
        for device in self._inventory.devices("", MAXIMUM_DEVICES):
            self._taken(device)
        await self._client.__aenter__()
        self._client.on(TopicFilter(pattern=self._topics.all_of("canonical", "device")), self._receive)
        await self._http.start()
        self._tasks = [
            vital_tasks.start(self._writer.run(), "olympus_dgs.writer"),
            vital_tasks.start(self._presence.keep(self._client), "olympus_dgs.presence"),
            vital_tasks.start(self._client.until_useless(), "olympus_dgs.session"),
        ]
        return {"http": self._http.url}

    async def stop(self) -> None:
        """End between two batches; what is not acknowledged comes again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._delivery.close()
        with contextlib.suppress(MqttError, TimeoutError):
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await self._presence.leave(self._client)
        await self._client.__aexit__(None, None, None)
        await self._gateway.close()
        await self._http.stop()
        if self._inventory is not None:
            self._inventory.close()

    def measure(self) -> None:
        """Bring the counters up to date."""
        if self._inventory is None or self._writer is None:
            return
        self.witness.counters.update(
            backlog=len(self._in_hand),
            stored_total=self._writer.stored_total,
            conflicts_total=self._writer.conflicts_total,
            refused_total=self._writer.refused_total,
            retries_total=self._writer.retries_total,
            emptied_total=self._emptied_total,
            broker_connected=self._client.connected.is_set(),
        )
        tell_storage(self.witness, FILE_NAME, self._inventory.refusal)
        self._storing.see(present=not self._writer.refusal, detail=self._writer.refusal)
        self._session.see(present=self._client.connected.is_set(), detail=self._client.lack)
        tell_contested(self.witness, self._client.contested)
        # The last snapshot is taken when the file is closed already, and a file may fail at any time.
        with contextlib.suppress(StorageError):
            self.witness.counters["to_store"] = self._inventory.to_store_count

    def handlers(self) -> Mapping[str, Handler]:
        """``final_read``."""
        return {"final_read": self._final_read}

    async def _final_read(self, _: Params) -> Any:
        devices = self._opened().devices("", MAXIMUM_DEVICES)
        return {"views": {VIEW: {"registers": {device.terminal: _value(device) for device in devices}}}}

    def _receive(self, message: Message) -> None:
        identity = self._in_hand.begin(message)
        if identity is None:
            return
        if not message.payload:
            # Somebody cleared the retained register, as a lab does at its end: the inventory keeps what it knew.
            self._emptied_total += 1
            self._in_hand.done(identity)
            return
        assert self._writer is not None
        try:
            device = read_device(self._topics, message.topic, message.payload)
        except BadPayload as error:
            letter = DeadLetter(reason=error.reason, detail=error.detail, topic=message.topic, payload=message.payload)
            self._dead_letters.post_aside(letter)
            self._in_hand.done(identity)
        else:
            self._writer.add(device, lambda: self._in_hand.done(identity))

    def _taken(self, device: DeviceDocument) -> None:
        self.witness.register(VIEW, device.terminal, _value(device))

    def _opened(self) -> Inventory:
        assert self._inventory is not None, "the stage was not started"
        return self._inventory

    def _health(self) -> Health:
        assert self._writer is not None
        return Health(
            broker_connected=self._client.connected.is_set(),
            waiting=self._writer.waiting,
            to_store=self._opened().to_store_count,
            stored_total=self._writer.stored_total,
            refused_total=self._writer.refused_total,
        )


def _value(device: DeviceDocument) -> list[object]:
    return [device.online, device.boot, device.bd_seq]
