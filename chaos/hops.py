"""The hop proxies as a stage: options in, endpoints out, faults by control calls, figures by the witness.

Options (JSON): ``{"hops": [{"name", "listen", "upstream", "protocol"}...], "seed": 1, "reuse_port": false,
"client_id_prefix": ""}``; the prefix defaults to the lab's. With ``reuse_port`` several processes serve a hop behind
one address, and each is told of every fault. Counters are named ``hop.<name>.<counter>``.

    add_fault     {hop, name, type, attributes, stream, toxicity, lease_s} -> FaultState
    change_fault  {hop, name, attributes, toxicity} -> FaultState   (attributes are merged into the fault's own)
    remove_fault  {hop, name} -> FaultState with its last evidence
    renew_fault   {hop, name, lease_s} -> FaultState                (lease_s may be left out)
    faults        {} -> [FaultState...]
    links         {} -> {hop: {counter: number}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from chaos import registry
from chaos.active_fault import LEASE_LIMIT_S, FaultSettings, FaultState
from chaos.descriptors import LinkBudget, link_limit, raise_limit
from chaos.hop import Hop, HopOptions
from fleetwire import bounded_json
from fleetwire.control import Handler, Params
from fleetwire.errors import ControlError, SettingsError
from fleetwire.plain_words import plain
from fleetwire.settings import StageSettings
from fleetwire.witness import Witness

_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Lease = Annotated[float, Meta(gt=0, le=LEASE_LIMIT_S)]
_Call = TypeVar("_Call", bound=Struct)


class HopsOptions(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The stage's options; see the module."""

    hops: Annotated[list[HopOptions], Meta(min_length=1, max_length=100)]
    seed: int = 1
    reuse_port: bool = False
    client_id_prefix: str | None = None


class AddFault(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Params of ``add_fault``; ``stream`` is upstream, downstream, both or empty (the type's own)."""

    hop: str
    name: _Name
    type: str
    attributes: dict[str, object] = field(default_factory=dict)
    stream: Annotated[str, Meta(pattern="^(upstream|downstream|both|)$")] = ""
    toxicity: _Share = 1.0
    lease_s: _Lease = 60.0


class ChangeFault(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Params of ``change_fault``."""

    hop: str
    name: _Name
    attributes: dict[str, object] = field(default_factory=dict)
    toxicity: _Share | None = None


class RemoveFault(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Params of ``remove_fault``."""

    hop: str
    name: _Name


class RenewFault(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Params of ``renew_fault``."""

    hop: str
    name: _Name
    lease_s: _Lease | None = None


class Hops:
    """Every hop of one process; implements :class:`fleetwire.stage.Stage`."""

    def __init__(self, settings: StageSettings) -> None:
        self.witness = Witness()
        options = _read_options(settings)
        budget = LinkBudget(link_limit(raise_limit()))
        prefix = settings.client_id_prefix if options.client_id_prefix is None else options.client_id_prefix
        self._hops = {
            hop.name: Hop(hop, seed=options.seed, reuse_port=options.reuse_port, client_id_prefix=prefix, budget=budget)
            for hop in options.hops
        }

    async def start(self) -> Mapping[str, str]:
        """Listen on every hop, or on none; returns host:port by hop name."""
        try:
            return {name: hop.open() for name, hop in self._hops.items()}
        except SettingsError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End every link and listener."""
        for hop in self._hops.values():
            await hop.close()

    def measure(self) -> None:
        """Bring the witness's counters up to date."""
        for name, hop in self._hops.items():
            for counter, value in hop.counters().items():
                self.witness.counters[f"hop.{name}.{counter}"] = value

    def handlers(self) -> Mapping[str, Handler]:
        """The control methods of the module's table."""
        return {
            "add_fault": self._on_add_fault,
            "change_fault": self._on_change_fault,
            "remove_fault": self._on_remove_fault,
            "renew_fault": self._on_renew_fault,
            "faults": self._on_faults,
            "links": self._on_links,
        }

    async def _on_add_fault(self, params: Params) -> FaultState:
        call = _read(params, AddFault)
        hop, row = self._find(call.hop), registry.find(call.type)
        return hop.add_fault(
            FaultSettings(
                name=call.name,
                type=call.type,
                attributes=call.attributes,
                stream=call.stream or row.stream,
                toxicity=call.toxicity,
                lease_s=call.lease_s,
            )
        )

    async def _on_change_fault(self, params: Params) -> FaultState:
        call = _read(params, ChangeFault)
        return self._find(call.hop).change_fault(call.name, call.attributes, call.toxicity)

    async def _on_remove_fault(self, params: Params) -> FaultState:
        call = _read(params, RemoveFault)
        return self._find(call.hop).remove_fault(call.name)

    async def _on_renew_fault(self, params: Params) -> FaultState:
        call = _read(params, RenewFault)
        return self._find(call.hop).renew_fault(call.name, call.lease_s)

    async def _on_faults(self, _: Params) -> list[FaultState]:
        return [state for hop in self._hops.values() for state in hop.faults()]

    async def _on_links(self, _: Params) -> dict[str, dict[str, float]]:
        return {name: hop.counters() for name, hop in self._hops.items()}

    def _find(self, name: str) -> Hop:
        hop = self._hops.get(name)
        if hop is None:
            raise ControlError(f"no hop {name[:60]!r} here; known: {', '.join(self._hops)}")
        return hop


def _read_options(settings: StageSettings) -> HopsOptions:
    try:
        options = bounded_json.decode(settings.options, type=HopsOptions)
    except msgspec.DecodeError as error:
        raise SettingsError(f"STOREFLEET_OPTIONS of {settings.stage}: {plain(error)}") from error
    names = [hop.name for hop in options.hops]
    if len(set(names)) != len(names):
        raise SettingsError(f"STOREFLEET_OPTIONS of {settings.stage}: a hop is named twice in {', '.join(names)}")
    return options


def _read(params: Params, call: type[_Call]) -> _Call:
    try:
        return msgspec.convert(params, call)
    except msgspec.ValidationError as error:
        raise ControlError(f"params of a fault call: {plain(error)}") from error
