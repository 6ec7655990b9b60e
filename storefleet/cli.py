"""The command line's entry point: every command, and how each of them ends.

Exit status, everywhere: 0 valid; 1 invalid; 2 it did not begin; 3 unknown; 130 stopped by a second Ctrl-C.
"""

from __future__ import annotations

import logging
import os
import signal
from types import FrameType
from typing import Annotated, Final, NoReturn, cast

import typer

from fleetwire import stage_log
from fleetwire.errors import FleetError
from storefleet.cli_inspect import bench, clean, doctor, selftest, trace, verdict
from storefleet.cli_live import down, status, tail, wait
from storefleet.cli_log import log
from storefleet.cli_run import demo, up
from storefleet.cli_steer import rebuild, trade
from storefleet.command_output import DID_NOT_BEGIN, SECOND_INTERRUPT, UNKNOWN, fail, out

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


def main() -> None:
    """Entry point: every error of ours is one line and exit status 2."""
    stage_log.begin(logging.WARNING, stage_log.COMMAND_FORMAT)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _on_early_signal)
    try:
        raise SystemExit(app(standalone_mode=False))
    except UsageError as error:
        _fail_usage(error)
    except typer.Abort:
        fail("stopped", SECOND_INTERRUPT)
    except FleetError as error:
        fail(str(error))
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        fail(f"{error.strerror or error}{where}; is the disk full, or not yours?")
    except Exception:
        logging.getLogger(__name__).exception("this is a bug of storefleet; nothing is known about the run")
        raise SystemExit(UNKNOWN) from None


def _on_early_signal(_number: int, _frame: FrameType | None) -> NoReturn:
    """Nothing has begun: a lab that has takes the signals over (see storefleet.conductor)."""
    fail("stopped before anything began")


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
