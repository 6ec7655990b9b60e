"""The command line: every command, and what becomes of its errors; how it ends: :mod:`storefleet.endings`."""

from __future__ import annotations

import logging
from typing import Annotated, Final, NoReturn, cast

import typer

from fleetwire import stage_log
from fleetwire.errors import FleetError
from storefleet.cli_inspect import bench, clean, doctor, selftest, trace, verdict
from storefleet.cli_live import down, status, tail, wait
from storefleet.cli_log import log
from storefleet.cli_run import demo, up
from storefleet.cli_steer import rebuild, trade
from storefleet.command_output import fail, out, say_progress
from storefleet.endings import DID_NOT_BEGIN, UNKNOWN, VALID

UsageError: Final = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
"""Root of what Typer says about options, whichever Click it brings along."""

app = typer.Typer(
    name="storefleet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            out(f"storefleet {version('storefleet')}")
        except PackageNotFoundError:
            fail("no installed package says which version this is; install it: scripts/set-up, or pip install")
        raise typer.Exit


@app.callback()
def _program(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Say which version this is.")
    ] = False,
) -> None:
    """A live MQTT store-fleet emulator and test harness with a verdict."""


def run() -> int:
    """Run the command that was asked for; its exit status. Every error of ours is one line and exit status 2."""
    try:
        _run()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # Typer takes any broken connection for its own pipe
            say_progress("storefleet: a connection broke off; nothing is known of what it was for")
            return UNKNOWN
        return ended.code if isinstance(ended.code, int) else VALID


def _run() -> NoReturn:
    stage_log.begin(logging.WARNING, stage_log.COMMAND_FORMAT)
    try:
        raise SystemExit(app(prog_name="storefleet", standalone_mode=False))
    except UsageError as error:
        _fail_usage(error)
    except FleetError as error:
        fail(str(error))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        fail(f"{error.strerror or error}{where}; is the disk full, or not yours?")
    except Exception:
        logging.getLogger(__name__).exception("this is a bug of storefleet; nothing is known about the run")
        raise SystemExit(UNKNOWN) from None


def _fail_usage(error: typer.BadParameter) -> NoReturn:
    """One line instead of a box; nothing where Typer has shown the help already."""
    message = error.format_message()
    if not message:
        raise SystemExit(DID_NOT_BEGIN)
    fail(f"{message.rstrip('.')}; see: {error.ctx.command_path if error.ctx else 'storefleet'} --help")


for _command in (
    demo, up, wait, down, status, log, trade, rebuild, verdict, trace, tail, doctor, clean, bench, selftest,
):  # fmt: skip
    app.command()(_command)
