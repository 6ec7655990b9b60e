"""Part ``hop``: what a hop of the chaos process adds to a round trip, and how fast a fault reaches its live connections.

The round trip is that of an event that a client publishes to its own subscription on the real broker, straight and through
the hop in turns. The time of a fault is that of the control call, from the lab's side, until it says done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from statistics import median
from typing import Final, NamedTuple

import uvloop

from chaos.descriptors import SPARE_DESCRIPTORS
from fleetwire.errors import ControlError, FleetError
from fleetwire.mqtt import Endpoint, Message, MqttError, Session, SessionGroup, SessionOptions, TopicFilter
from fleetwire.mqtt.frames import encode_connect, encode_publish, encode_subscribe
from fleetwire.settings import StageSettings
from storefleet import home
from storefleet.bench.crew import Crew
from storefleet.bench.report import Figure, percentile, spread
from storefleet.control_server import ControlServer
from storefleet.lab_options import require_descriptors, terminals_that_fit
from storefleet.broker import free_port
