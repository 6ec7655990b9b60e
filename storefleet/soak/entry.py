"""How the scripts of this folder begin: every error of ours, or of the disk, is one line and exit status 2."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NoReturn

import typer

from fleetwire.errors import FleetError
from storefleet.cli import UsageError
from storefleet.command_output import fail
from storefleet.endings import DID_NOT_BEGIN


def run_script(command: Callable[..., None], name: str, *, interrupted_status: int = DID_NOT_BEGIN) -> NoReturn:
    """Run a command with the options that it was given; ``interrupted_status``: of a Ctrl-C before it began."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    try:
        raise SystemExit(app(standalone_mode=False, prog_name=name))
    except UsageError as error:
        fail(f"{error.format_message().rstrip('.')}; see: {name} --help")
    except (typer.Abort, KeyboardInterrupt):
        fail("stopped before anything began", interrupted_status)
    except FleetError as error:
        fail(str(error))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        fail(f"{error.strerror or error}{where}; is the disk full, or not yours?")
