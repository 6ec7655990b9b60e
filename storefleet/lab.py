"""One lab, assembled: the only file that knows every stage. Read it like the journey.

    terminals -> [terminals-broker] -> broker -> [parm-broker] -> parm -> broker -> [sync-broker] -> sync_stage
      -> [sync-gateway] -> gateway -> [poseidon-gateway] -> poseidon -> [poseidon-broker] -> broker -> terminals
                               gateway -> [views-gateway] -> views      broker -> [olympus-broker] -> olympus_dgs

Names in brackets are hops: each goes through the chaos process, from the start. The lab speaks to a process driver, to the
control plane and to the observatory; it never touches an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shlex
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fleetwire.clock import heartbeat_interval_s, now_ms
from fleetwire.control import Handler
from fleetwire.errors import ControlError, FleetError, SettingsError
from fleetwire.host_port import host_port, read_host_port
from fleetwire.ledger_format import LEDGER_FILE_NAME
from fleetwire.mqtt import Endpoint
from fleetwire.settings import StageSettings
from fleetwire.topics import Topics
from storefleet import broker as broker_module
from storefleet import home
from storefleet.broker import BrokerAddress
from storefleet.broker_watch import BrokerWatch
from storefleet.control_server import ControlServer, Member
from storefleet.last_words import last_words
from storefleet.letter_box import LetterBox
from storefleet.machine_size import START_LIMIT_S
from storefleet.observatory import Observatory
from storefleet.observer import OBSERVED_VIEWS, Observer, endpoint, require_answer
from storefleet.own_python import own_process, path_variable
from storefleet.past_run import BROKER, GATEWAY, PastRun, take_over_lab_file
from storefleet.plan import DEFAULT_DATABASE, EXTERNAL, STAGES, TERMINALS_HOP, LabPlan, brand_pairs
from storefleet.ports import Ports, port_answers
from storefleet.process_journal import ProcessJournal
from storefleet.processes import Child, Processes, record_text
from storefleet.run_clock import RunClock
from storefleet.run_log import RunLog
from storefleet.stage_credentials import credential_file
from storefleet.unfinished_runs import LAB_FILE_NAME
from storefleet.verdict.letter_file import LETTERS_FILE_NAME
from storefleet.verdict.log_file import LOG_FILE_NAME, LogHeader
from storefleet.verdict.run_format import WITNESSES_FILE_NAME, WitnessesHeader

COMMAND_GRACE_S: Final = 1.5
"""A user's command that still runs after so long counts as started."""
JOURNEY_TIMEOUT_S: Final = 3.0
HEARTBEATS_MISSED: Final = 2.5

_log = logging.getLogger(__name__)


class Lab:
    """A running lab. ``async with Lab(...)``: leaving it ends every process and forgets the lab."""

    def __init__(
        self, plan: LabPlan, run_folder: Path, secret_password: str | None = None, past: PastRun | None = None
    ) -> None:
        """``past``: the run of this folder, when an earlier lab has begun it."""
        self.plan = plan
        self.run_folder = run_folder
        self.past = past
        self.folder = home.make_lab_folder(plan.name, record_text(()))
        self.journal = past.journal if past is not None else ProcessJournal(run_folder)
        """Whoever conducts the lab closes it, once nothing of the run is written any more: only then may it go on."""
        self.started_s = (past.record.started_at_ms if past is not None else now_ms()) / 1000
        """When the run began, whichever lab began it: business time runs from then on."""
        started_at_ms = round(self.started_s * 1000)
        log_header = LogHeader(run=plan.name, started_at_ms=started_at_ms)
        self.log = RunLog(run_folder / LOG_FILE_NAME, log_header, RunClock().now_ms)
        """Whoever conducts the lab ends it, once nothing happens any more."""
        self.processes = Processes(self.folder, self.journal, self.log.note, self._secrets_of)
        header = WitnessesHeader(run=plan.name, started_at_ms=started_at_ms)
        self.observatory = Observatory(run_folder / WITNESSES_FILE_NAME, header, self.log.note)
        self.client_handlers: dict[str, Handler] = {}
        """What commands may call; filled by whoever conducts the lab (see storefleet.run)."""
        self.control = ControlServer(
            secrets.token_urlsafe(24), on_snapshot=self.observatory.receive, client_handlers=self.client_handlers
        )
        if past is not None:
            self.control.refused_reports.update(past.record.refused_reports)
        self.letters: LetterBox | None = None
        self.observer: Observer | None = None
        self.broker_watch: BrokerWatch | None = None
        """What our own broker says of itself; None for somebody else's."""
        self.tidy = past is None or not (plan.external_broker and take_over_lab_file(run_folder, self.folder))
        """Nothing of ours lies on somebody else's broker. Else the lab stays written down, for 'storefleet clean'."""
        self.last_work: Callable[[], Awaitable[None]] | None = None
        """What is done once every process has ended, before the lab is forgotten."""
        self.ready = asyncio.Event()
        self.waiting_for = ""
        """A stage that somebody else is to run, and with what; empty while nobody is waited for."""
        self._password = secret_password
        self._ports = Ports({TERMINALS_HOP: plan.port} | past.ports if past is not None else {})
        self._hops: dict[str, tuple[str, str]] = {}
        self._broker_address = "127.0.0.1:0"
        self._gateway_address = "127.0.0.1:0"
        self._control_address = ""

    # -- life ----------------------------------------------------------------------------------------------------

    async def recall(self) -> None:
        """Read again what an earlier lab of the run has heard; a long run takes a while, and the loop goes on meanwhile."""
        try:
            await asyncio.to_thread(self.observatory.recall)
        except BaseException:
            await self.__aexit__()
            raise
        for (stage, instance), figures in self.observatory.instances.items():
            self.journal.know(f"{stage}-{instance}", figures.incarnation)

    async def __aenter__(self) -> Lab:
        try:
            await self.processes.__aenter__()
            self._control_address = await self.control.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        async with contextlib.AsyncExitStack() as end:  # from the bottom up, whoever is stopped or fails on the way
            if self.tidy:
                end.callback(home.remove_lab_folder, self.plan.name)
            if self.last_work is not None:
                end.push_async_callback(self.last_work)
            end.callback(self._ports.close)
            end.callback(self.observatory.close)
            end.push_async_callback(self.control.stop)
            end.push_async_callback(self.processes.__aexit__)
            if self.observer is not None:
                end.push_async_callback(self.observer.close)

    async def start(self, *, trade: bool) -> None:
        """Bring the whole journey up, in the order in which nobody waits for nobody; raises SettingsError."""
        with _one_voice():
            try:
                await self._start_own(trade=trade)
            except BaseException:
                self.processes.start_none_again()
                raise
        for stage, command in self.plan.commands.items():
            if command == EXTERNAL:
                await self._until_external_ready(stage)
        self.waiting_for = ""
        self._write_lab_file()
        self.ready.set()

    async def _start_own(self, *, trade: bool) -> None:
        self._write_secrets()
        await self._start_broker()
        self._lay_hops()
        self._write_lab_file()
        if self._hops:
            await self._start_stage("chaos", 1)
            await self._until_ready("chaos", self._ready_deadline_s())
        begun_ms = round(self.started_s * 1000) if self.past is not None else None
        self.letters = LetterBox(
            self.run_folder / LETTERS_FILE_NAME,
            Topics(self.plan.topic_root),
            missed_since_ms=begun_ms,
            note=self.log.note,
        )
        self.observer = await Observer.open(
            self.plan,
            self.broker_endpoint,
            self.letters,
            username=self.username,
            password=self.password,
            missed_some=self.past is not None,
        )
        self.tidy = not self.plan.external_broker
        if not self.plan.external_broker:
            before = self.past.record.broker if self.past is not None else None
            self.broker_watch = BrokerWatch(lambda: self.processes.children["broker-1"].incarnation, before)
            self.observer.watch_broker(self.broker_watch)
        for stage in self.plan.stages:
            for instance in range(1, self.plan.instance_count(stage) + 1):
                await self._start_stage(stage, instance)
        deadline_s = self._ready_deadline_s()  # of all of them: they come up at the same time
        for stage in self.plan.stages:
            await self._until_ready(stage, deadline_s)
        await self._start_stage("emulator", 1, {"trade_at_start": trade})
        await self._until_ready("emulator", self._ready_deadline_s())

    async def hear_out(self) -> None:
        """Wait for the last dead letters, once nobody writes any more; bounded."""
        if self.observer is not None:
            await self.observer.hear_out()

    async def stop_stages(self) -> None:
        """End the stages in the order of the journey, terminals first, so that nothing is cut off in between."""
        await self.processes.stop(["emulator-1"], timeout_s=8.0)
        behind = [name for name in self.processes.children if name.rpartition("-")[0] in self.plan.stages]
        await self.processes.stop(behind, timeout_s=5.0)
        await self.processes.stop([name for name in self.processes.children if name.startswith("chaos")], timeout_s=2.0)

    # -- the journey ---------------------------------------------------------------------------------------------

    async def _start_broker(self) -> None:
        if self.plan.external_broker:
            self._broker_address = BrokerAddress(self.plan.broker).upstream
            await require_answer(*self.broker_address())
            return
        binary = broker_module.find_mosquitto()
        port = self._ports.reserve(BROKER)
        configuration = self.run_folder / "mosquitto.conf"
        text = broker_module.configuration(
            port,
            self.plan.terminals,
            self.plan.broker_options,
            read_by_the_lab=self.plan.outcome_stage in OBSERVED_VIEWS,
        )
        configuration.write_text(text, encoding="utf-8")
        self._broker_address = f"127.0.0.1:{port}"
        await self._start_child(
            Child(
                name="broker-1",
                command=(binary, "-c", str(configuration)),
                environment=lambda _: {},
                log_file=self._log_file("broker-1"),
            )
        )
        await self._until_port_answers("broker-1", port)

    def _lay_hops(self) -> None:
        """Give every hop an address that stays the same however often a process is started again."""
        self._gateway_address = f"127.0.0.1:{self._ports.reserve(GATEWAY)}"
        if self.plan.bare_hops:
            return
        wanted = {TERMINALS_HOP: self._broker_address}
        for stage in self.plan.stages:
            row = STAGES[stage]
            if row.broker_hop:
                wanted[row.broker_hop] = self._broker_address
            if row.gateway_hop:
                wanted[row.gateway_hop] = self._gateway_address
        fixed = {TERMINALS_HOP: self.plan.port} if self.past is None else {}
        for hop, upstream in wanted.items():
            self._hops[hop] = (f"127.0.0.1:{fixed.get(hop) or self._ports.reserve(hop)}", upstream)

    async def _start_stage(self, stage: str, instance: int, options: Mapping[str, Any] | None = None) -> None:
        name = f"{stage}-{instance}"
        command = self.plan.commands.get(stage)
        self.control.credentials.write(self.folder, stage, instance)
        if command == EXTERNAL:
            self._write_environment_file(stage, instance)
            return
        words = shlex.split(command) if command else own_process(self._module(stage)).command
        only_ours = {} if command else path_variable()
        state = self.run_folder / "state" / name
        state.mkdir(parents=True, exist_ok=True)
        await self._start_child(
            Child(
                name=name,
                command=words,
                environment=lambda incarnation: {
                    **self._settings(stage, instance, incarnation, options or {}).environment(),
                    **only_ours,
                },
                log_file=self._log_file(name),
                working_folder=Path(self.plan.working_folder) if command and self.plan.working_folder else None,
            )
        )

    async def _start_child(self, child: Child) -> None:
        try:
            await self.processes.start(child)
        except OSError as error:
            raise SettingsError(f"{child.name}: cannot run {child.command[0]}: {error.strerror}") from error

    def _module(self, stage: str) -> str:
        return {"chaos": "chaos", "emulator": "emulator"}.get(stage) or STAGES[stage].module

    # -- settings ------------------------------------------------------------------------------------------------

    def _settings(self, stage: str, instance: int, incarnation: int, options: Mapping[str, Any]) -> StageSettings:
        plan = self.plan
        row = STAGES.get(stage)
        broker_hop = row.broker_hop if row else TERMINALS_HOP
        return StageSettings(
            stage=stage,
            instance=instance,
            instances=plan.instance_count(stage),
            incarnation=incarnation,
            client_id=f"{plan.name}.{stage}-{instance}",
            client_id_prefix=f"{plan.name}." if plan.external_broker else "",
            broker_url=self._broker_url(broker_hop),
            broker_ca_file=plan.broker_ca_file,
            username=self.username,
            password_file=str(self.folder / "password") if self._password is not None else "",
            topic_root=plan.topic_root,
            gateway_url=self._gateway_url(row.gateway_hop) if row and row.gateway_hop else "",
            state_dir=str(self.run_folder / "state" / f"{stage}-{instance}"),
            listen=self._gateway_address if stage == "gateway" else "127.0.0.1:0",
            brands=brand_pairs(plan.brands),
            outcomes=stage == plan.outcome_stage,
            control=self._control_address,
            token_file=str(credential_file(self.folder, stage, instance)),
            real_start_s=self.started_s,
            business_start_s=plan.business_start_s,
            time_scale=plan.time_scale,
            options=json.dumps({**self._own_options(stage), **plan.stage_options.get(stage, {}), **options}),
        )

    def _own_options(self, stage: str) -> dict[str, Any]:
        plan = self.plan
        if stage == "chaos":
            foreign_hops = {STAGES[one].broker_hop for one in plan.commands}
            hops = [
                {
                    "name": hop,
                    "listen": listen,
                    "upstream": upstream,
                    "protocol": "http" if "gateway" in hop else "mqtt",
                    "counts_publishes": hop in foreign_hops,
                }
                for hop, (listen, upstream) in self._hops.items()
            ]
            return {
                "hops": hops,
                "seed": plan.seed,
                "client_id_prefix": f"{plan.name}." if plan.external_broker else "",
            }
        if stage == "parm":
            interval_s = heartbeat_interval_s(plan.heartbeat_interval_s, plan.time_scale)
            return {"heartbeat_timeout_s": HEARTBEATS_MISSED * interval_s}
        if stage == "emulator":
            return {
                "fleet": plan.fleet,
                "seed": plan.seed,
                "rate_per_s": plan.rate_per_s,
                "events": plan.trade_events,
                "accept_puback": plan.outcome_stage == "broker",
                "ledger": str(self.run_folder / LEDGER_FILE_NAME),
                **plan.shares,
            }
        return {}

    def broker_address(self, hop: str = "") -> tuple[str, int]:
        """Host and port of the broker, directly or through a hop."""
        return read_host_port(self._hops[hop][0] if hop in self._hops else self._broker_address)

    def _broker_url(self, hop: str) -> str:
        return f"{'mqtts' if self.broker_tls else 'mqtt'}://{host_port(*self.broker_address(hop))}"

    def _gateway_url(self, hop: str) -> str:
        listen = self._hops[hop][0] if hop in self._hops else self._gateway_address
        return f"http://{listen}/{DEFAULT_DATABASE}"

    @property
    def broker_tls(self) -> bool:
        """Whether the broker is spoken to by TLS."""
        return self.plan.external_broker and BrokerAddress(self.plan.broker).tls

    @property
    def broker_endpoint(self) -> Endpoint:
        """The broker itself, not through a hop."""
        host, port = self.broker_address()
        return endpoint(host, port, tls=self.broker_tls, ca_file=self.plan.broker_ca_file)

    @property
    def username(self) -> str:
        """Our MQTT user name; empty on our own broker."""
        return BrokerAddress(self.plan.broker).username if self.plan.external_broker else ""

    @property
    def gateway_url(self) -> str:
        """The gateway's database, not through a hop."""
        return f"http://{self._gateway_address}/{DEFAULT_DATABASE}"

    @property
    def password(self) -> bytes | None:
        """The broker's password, when it is somebody else's."""
        return self._password.encode() if self._password is not None else None

    # -- what is written down ------------------------------------------------------------------------------------

    def _write_secrets(self) -> None:
        """The broker's password, and what commands need; each stage's credential is written as it is started."""
        if self._password is not None:
            home.write_private(self.folder / "password", self._password)
        control = {"address": self._control_address, "token": self.control.token}
        home.write_private(self.folder / "control.json", json.dumps(control, indent=1))

    def description(self) -> dict[str, Any]:
        """``lab.json``: every endpoint, so that any MQTT or HTTP client can join. No secret is in it."""
        served = {
            f"{member.stage}-{member.instance}": member.endpoints
            for member in self.control.members.values()
            if member.endpoints and member.stage != "chaos"
        }
        return {
            "format": 1,
            "name": self.plan.name,
            "run_folder": str(self.run_folder),
            "process_id": os.getpid(),
            "topic_root": self.plan.topic_root,
            "broker": {
                "kind": "external" if self.plan.external_broker else "local",
                "address": self._broker_address,
                "username": self.username,
                "ca_file": self.plan.broker_ca_file,
                "url": self._broker_url(""),
            },
            "join": self._broker_url(TERMINALS_HOP),
            "gateway": self.gateway_url if "gateway" in self.plan.stages else None,
            "hops": {hop: {"listen": listen, "upstream": upstream} for hop, (listen, upstream) in self._hops.items()},
            "http": served,
            "stages": list(self.plan.stages),
            "foreign": dict(self.plan.commands),
            "stage_client_ids": self.plan.stage_client_ids,
            "control_file": str(self.folder / "control.json"),
        }

    def _write_lab_file(self) -> None:
        text = json.dumps(self.description(), indent=1) + "\n"
        home.write_private(self.folder / LAB_FILE_NAME, text)
        written = self.run_folder / f"{LAB_FILE_NAME}.new"
        written.write_text(text, encoding="utf-8")
        written.replace(self.run_folder / LAB_FILE_NAME)

    def _write_environment_file(self, stage: str, instance: int) -> None:
        lines = self._settings(stage, instance, 1, {}).environment().items()
        text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in lines)
        (self.run_folder / f"{stage}-{instance}.env").write_text(text, encoding="utf-8")
        state = self.run_folder / "state" / f"{stage}-{instance}"
        state.mkdir(parents=True, exist_ok=True)

    def _log_file(self, name: str) -> Path:
        logs = self.run_folder / "logs"
        logs.mkdir(exist_ok=True)
        return logs / f"{name}.log"

    # -- waiting -------------------------------------------------------------------------------------------------

    async def _until_port_answers(self, name: str, port: int) -> None:
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            child = self.processes.children[name]
            if child.restarts > 2:
                break
            if await port_answers("127.0.0.1", port):
                return
            await asyncio.sleep(0.01)
        raise FleetError(f"{name} does not come up: {self.last_log_line(name)}")

    @staticmethod
    def _ready_deadline_s() -> float:
        return time.monotonic() + START_LIMIT_S

    async def _until_ready(self, stage: str, deadline_s: float) -> None:
        if stage in self.plan.commands:
            await self._until_foreign_ready(stage)
            return
        wanted = self.plan.instance_count(stage)
        while sum(member.ready for member in self.control.stage(stage)) < wanted:
            failing = [name for name, child in self.processes.children.items() if child.restarts > 2]
            if failing or time.monotonic() > deadline_s:
                name = failing[0] if failing else f"{stage}-1"
                raise FleetError(f"{name} does not come up: {self.last_log_line(name)} (log: {self._log_file(name)})")
            await self._member_change(0.1)

    async def _member_change(self, timeout_s: float) -> None:
        self.control.changed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self.control.changed.wait()
        except TimeoutError:
            return

    async def _until_foreign_ready(self, stage: str) -> None:
        """A user's command: once it has survived its first moments. An external one is waited for later."""
        if self.plan.commands[stage] == EXTERNAL:
            return
        await asyncio.sleep(COMMAND_GRACE_S)
        for name, child in self.processes.children.items():
            if name.rpartition("-")[0] == stage and (child.restarts or not child.running):
                raise FleetError(f"{name} ended at once: {child.last_exit}")

    async def _until_external_ready(self, stage: str) -> None:
        """Somebody else runs it: the gateway is there when its port answers, PARM when a canonical event is heard, any
        stage when its birth lies on its host topic. There is no deadline; who waits can stop."""
        gateway = read_host_port(self._gateway_address)
        self.waiting_for = f"{stage} with the environment in {self.run_folder / f'{stage}-1.env'}"
        _log.warning("waiting until somebody runs %s", self.waiting_for)
        while True:
            if stage == "gateway" and await port_answers(*gateway):
                return
            assert self.observer is not None
            heard = stage == "parm" and self.observer.heard_canonical.is_set()
            if heard or any(topic.partition("/")[0] == stage for topic in self.observer.hosts):
                return
            await asyncio.sleep(0.1)

    def last_log_line(self, name: str) -> str:
        """What a process said last; for an error message."""
        return last_words(self._log_file(name), secrets=self._secrets_of(name)) or "it said nothing"

    def _secrets_of(self, name: str) -> list[str]:
        """What a process knows and its last words must not tell."""
        stage, _, instance = name.rpartition("-")
        credentials = [self.control.credentials.of(stage, int(instance))] if instance.isdecimal() else []
        return [self._password or "", self.control.token, *credentials]

    # -- what commands may ask -----------------------------------------------------------------------------------

    async def stage_call(self, stage: str, method: str, params: object = None, *, timeout_s: float = 30.0) -> list[Any]:
        """Call every instance of a stage; raises ControlError."""
        return await self.control.call(stage, method, params, timeout_s=timeout_s)

    async def journey(self, source: str, sequence: int) -> dict[str, Any]:
        """What every connected stage remembers of one event; who does not answer within JOURNEY_TIMEOUT_S, nothing."""
        found: dict[str, Any] = {}

        async def ask(member: Member) -> None:
            params = {"source": source, "sequence": sequence}
            with contextlib.suppress(ControlError):
                step = await member.channel.call("journey", params, timeout_s=JOURNEY_TIMEOUT_S)
                if step is not None:
                    found[f"{member.stage}-{member.instance}"] = step

        await asyncio.gather(*map(ask, list(self.control.members.values())))
        return found


@contextlib.contextmanager
def _one_voice() -> Iterator[None]:
    """While a lab comes up, the error that ends it says it all: what was tried again before is not told beside it."""
    loggers = [logging.getLogger(name) for name in ("storefleet.processes", "fleetwire.mqtt")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
