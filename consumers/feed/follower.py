"""Follows one channel of a gateway's changes feed for as long as the process lives, from the fold's own checkpoint.

At-least-once: the checkpoint moves in the transaction that stores what came before it, so whatever the gateway or the
network does, a change is applied again rather than missed. A gateway that is down, restarts, answers 503 or 404, stops
in the middle of a line or goes silent is asked again with full-jitter back-off, at most RETRY_CAP_S apart; a full disk
likewise. What has been read and not applied is one read of the socket; the rest waits in the gateway.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from consumers.feed.fold_file import BATCH_CHANGES, FoldFile
from consumers.feed.lines import (
    MAXIMUM_LINE_BYTES,
    Change,
    Entry,
    LineSplitter,
    Unusable,
    last_sequence,
    read_line,
)
from fleetwire.errors import GatewayError, StorageError

CONNECT_TIMEOUT_S: Final = 2.0
SILENCE_S: Final = 10.0
RETRY_BASE_S: Final = 0.05
RETRY_CAP_S: Final = 2.0
GATHER_S: Final = 0.005
_LARGEST_EXPONENT: Final = 10

_log = logging.getLogger(__name__)


class Follower:
    """One feed connection; ``await run()`` never returns. The counters are for the stage's witness.

    ``reconnects_total`` counts feeds that ended or failed, not those asked for anew because nothing happened.
    """

    def __init__(
        self,
        url: str,
        file: FoldFile[Any],
        *,
        silence_s: float = SILENCE_S,
        retry_cap_s: float = RETRY_CAP_S,
        line_limit: int = MAXIMUM_LINE_BYTES,
    ) -> None:
        """``url`` is ``http://host:port/database``; a feed silent for ``silence_s`` is asked for anew."""
        self.file = file
        self.backlog = 0
        self.connected = False
        self.failure = "it is silent"
        """What ended the feed the last time that it failed; until then only silence can be the matter."""
        self.reconnects_total = 0
        self.failures_total = 0
        self._url = f"{url.rstrip('/')}/_changes"
        self._silence_s = silence_s
        self._retry_cap_s = retry_cap_s
        self._line_limit = line_limit
        self._heard_s = 0.0
        self._failures = 0
        self._beginnings = 0
        self._scope: asyncio.Timeout | None = None

    @property
    def age_ms(self) -> int | None:
        """How long ago the gateway last said something; None before the first time."""
        return round((time.monotonic() - self._heard_s) * 1000) if self._heard_s else None

    def rebuild(self) -> None:
        """Forget all that the fold knows and read it again from the beginning; raises StorageError.

        What was read before and is not applied yet is not applied any more: its checkpoint lies far ahead.
        """
        self.file.forget()
        self._beginnings += 1
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Follow until cancelled."""
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S)
        headers = {"Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers, auto_decompress=False) as client:
            while True:
                was_only_silent = await self._follow_once(client)
                self.connected = False
                self.backlog = 0
                self.reconnects_total += not was_only_silent
                await asyncio.sleep(self._pause_s())

    async def _follow_once(self, client: aiohttp.ClientSession) -> bool:
        """Follow until the feed ends; True when it is only asked for anew because nothing happened."""
        try:
            async with asyncio.timeout(self._silence_s + CONNECT_TIMEOUT_S) as self._scope:
                await self._read(client, self._scope)
            self._failures = max(self._failures, 1)  # a feed that ends by itself has a gateway that stops
        except aiohttp.ServerTimeoutError as error:  # a TimeoutError too: the gateway does not answer at all
            self._failed(f"{error or type(error).__name__}")
        except TimeoutError:
            _log.debug("%s: silent for %g s, or to be rebuilt; asking again", self._url, self._silence_s)
            return self.connected
        except (aiohttp.ClientError, OSError, GatewayError, StorageError) as error:
            self._failed(f"{error or type(error).__name__}")
        except Exception:  # noqa: BLE001 - the stage must go on following, and says what happened
            _log.exception("fold %s: the feed failed in a way nobody foresaw", self.file.fold.name)
            self._failed("see the traceback above")
        finally:
            self._scope = None
        return False

    async def _read(self, client: aiohttp.ClientSession, scope: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        splitter = LineSplitter(self._line_limit)
        beginning = self._beginnings
        async with client.get(self._url, params=self._query(), allow_redirects=False) as answer:
            if answer.status != HTTPStatus.OK:
                raise GatewayError(f"{self._url}: {answer.status}", status=answer.status)
            self.connected = True
            async for chunk in answer.content.iter_any():
                began_s = loop.time()
                scope.reschedule(began_s + self._silence_s)
                self._heard_s = time.monotonic()
                self._failures = 0
                await self._apply([read_line(line) for line in splitter.split(chunk)], beginning)
                if beginning != self._beginnings:
                    return
                if (early_s := began_s + GATHER_S - loop.time()) > 0:
                    # Small chunks that follow each other closely are read together next time: a commit costs the same.
                    await asyncio.sleep(early_s)

    async def _apply(self, entries: list[Entry], beginning: int) -> None:
        for start in range(0, len(entries), BATCH_CHANGES):
            if beginning != self._beginnings:
                return
            batch = entries[start : start + BATCH_CHANGES]
            self.backlog = len(entries) - start - len(batch)
            self._commit(batch)
            if self.backlog:
                await asyncio.sleep(0)

    def _commit(self, entries: Sequence[Entry]) -> None:
        changes = [entry for entry in entries if type(entry) is Change]
        unusables = [entry for entry in entries if type(entry) is Unusable]
        checkpoint = last_sequence(entries)
        if checkpoint or unusables:
            self.file.commit(changes, unusables, checkpoint)

    def _query(self) -> dict[str, str | int]:
        return {
            "feed": "continuous",
            "include_docs": "true",
            "filter": "sync_gateway/bychannel",
            "channels": self.file.fold.channel,
            "since": self.file.checkpoint,
        }

    def _failed(self, what: str) -> None:
        self.failures_total += 1
        self.failure = what
        if self._failures == 0:
            _log.warning("fold %s: %s; trying again from %s", self.file.fold.name, what, self.file.checkpoint)
        self._failures += 1

    def _pause_s(self) -> float:
        if not self._failures:
            return 0.0
        exponent = min(self._failures - 1, _LARGEST_EXPONENT)
        return random.uniform(RETRY_BASE_S / 2, min(self._retry_cap_s, RETRY_BASE_S * 2**exponent) + RETRY_BASE_S)
