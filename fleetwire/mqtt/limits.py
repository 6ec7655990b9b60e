"""What a server does not take, as its CONNACK says."""

from __future__ import annotations

from typing import Final

import mqtt5
import msgspec

from fleetwire.mqtt.errors import NotSupported
from fleetwire.mqtt.frames import LARGEST_PACKET


class ServerLimits(msgspec.Struct, frozen=True):
    """What a CONNACK (3.2.2.3) says that the server does not take; most sessions share one value."""

    packet_size: int
    maximum_qos: int
    retain_available: bool

    def check(self, qos: int, retain: bool, client_id: str) -> None:
        """Raise NotSupported for a publish that the server would disconnect us for."""
        if qos > self.maximum_qos or (retain and not self.retain_available):
            what = "retained messages" if qos <= self.maximum_qos else f"QoS {qos}"
            raise NotSupported(f"{client_id}: the broker takes no {what}: publish without, or configure it")


NO_LIMITS: Final = ServerLimits(LARGEST_PACKET, 2, True)


def read_limits(packet: mqtt5.ConnAckPacket) -> ServerLimits:
    """The limits of one CONNACK."""
    limits = ServerLimits(packet.max_packet_size or LARGEST_PACKET, int(packet.max_qos), packet.retain_available)
    return NO_LIMITS if limits == NO_LIMITS else limits
