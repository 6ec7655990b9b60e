"""The options of the command line: what each is called and what its help says, for every command that has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fleetwire.errors import SettingsError


class WrongWord(typer.BadParameter):
    """What is wrong with an option, in a sentence of its own that names it."""

    def format_message(self) -> str:
        """The sentence alone."""
        return self.message


def whole(option: str, least: int, most: int) -> Callable[[str], int]:
    """A reader of whole numbers that refuses by the limit, and knows no digits but 0 to 9."""

    def read(text: str) -> int:
        from storefleet.quantities import read_whole

        try:
            return read_whole(str(text), option, least, most)
        except SettingsError as error:
            raise WrongWord(str(error)) from error

    return read


StoresOption = Annotated[
    int | None,
    typer.Option(
        "--stores", parser=whole("--stores", 1, 100_000), metavar="N", help="Number of stores.", show_default="200"
    ),
]
TerminalsOption = Annotated[
    int | None,
    typer.Option(
        "--terminals-per-store",
        parser=whole("--terminals-per-store", 1, 99),
        metavar="N",
        help="Terminals of each store.",
        show_default="3",
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed", parser=whole("--seed", 0, 2**63 - 1), metavar="N", help="Same seed, same business.", show_default="1"
    ),
]
FleetOption = Annotated[Path | None, typer.Option("--fleet", help="A fleet as a TOML file; see examples/chain.toml.")]
RateOption = Annotated[str, typer.Option("--rate", help="Events over the whole fleet: 200/s, 600/min.")]
ScaleOption = Annotated[float, typer.Option("--time-scale", help="Business seconds per second.")]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the lab.", show_default="generated")]
LabOption = Annotated[str | None, typer.Option("--name", help="Which lab, when several run.")]
BrokerOption = Annotated[
    str, typer.Option("--broker", help="'local', or mqtt[s]://[user@]host[:port] of somebody else's.")
]
ExternalOption = Annotated[bool, typer.Option("--yes-external", help="Yes, put load on that broker.")]
BrokerLineOption = Annotated[
    list[str] | None,
    typer.Option("--broker-option", help="A line for our own broker's configuration, e.g. 'max_queued_messages 20'."),
]
PasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--broker-password-file", help="File (mode 0600) with the broker's password; or STOREFLEET_BROKER_PASSWORD."
    ),
]
AuthorityOption = Annotated[
    Path | None,
    typer.Option(
        "--broker-ca-file",
        help="PEM file of the authority to trust for mqtts, not the system's; or STOREFLEET_BROKER_CA_FILE.",
    ),
]
PortOption = Annotated[
    int,
    typer.Option(
        "--port", parser=whole("--port", 0, 65_535), metavar="N", help="Port at which terminals join; 0: any free one."
    ),
]
WithoutOption = Annotated[list[str] | None, typer.Option("--without", help="Leave out a stage and what is behind it.")]
StageOption = Annotated[
    list[str] | None, typer.Option("--stage", help="NAME=COMMAND or NAME=external: yours in its place.")
]
InstancesOption = Annotated[list[str] | None, typer.Option("--instances", help="STAGE=N: several side by side.")]
ResumeOption = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="RUN",
        help="Go on with a run whose lab died: its folder, or 'latest' in runs/. It is as it was planned; what "
        "'storefleet trade' has changed since is not kept.",
    ),
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder for run folders.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for programs instead of text for people.")]
JsonLinesOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="JSON lines for programs: lab.json when ready, then {run_folder, exit_status, verdict} at the end.",
    ),
]
EndedJsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON line for programs: {run_folder, exit_status, verdict}, as up's last.")
]
DrainOption = Annotated[
    str | None,
    typer.Option(
        "--drain",
        help="How long the end of a run waits for events without an outcome and views that are behind: 10s; less than the "
        "deadline leaves what had not its whole deadline unknown.",
        show_default="the deadline",
    ),
]
ForOption = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="TIME",
        help="Trade so long after ready, then drain, judge and end: 60s, 10m.",
        show_default="until stopped",
    ),
]
EventsOption = Annotated[
    int | None,
    typer.Option(
        "--events",
        help="Trade exactly so many events, then drain, judge and end; with --for, whichever comes first.",
        show_default="any number",
    ),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="NAME=NUMBER",
        help="Budgets: more than so many make the run invalid, e.g. healed=0,restarts=0,dead-letters=0; there are healed, "
        "restarts, resent, repeats, dead-letters, guests.",
    ),
]
KeepOption = Annotated[
    str,
    typer.Option(
        "--keep",
        metavar="slim|all",
        help="What stays of a valid run's folder: 'slim' is enough to judge and trace it again, 'all' is everything.",
    ),
]
TimeoutOption = Annotated[str, typer.Option("--timeout", help="How long to wait: 60s, 2m.")]
MalformedOption = Annotated[float | None, typer.Option("--malformed", help="Share of malformed payloads, 0 to 1.")]
RepeatedOption = Annotated[float | None, typer.Option("--repeated", help="Share of repeated payloads, 0 to 1.")]
ConflictingOption = Annotated[float | None, typer.Option("--conflicting", help="Share of payloads sent again changed.")]
