"""The first file of every Python process of ours: ``python -I run_module.py MODULE [ARGUMENT...]``.

Modules are looked for where :mod:`storefleet.own_python` says, and nowhere else; what it has said leaves the environment,
so that nobody inherits it. Run as a file and isolated, since only so no folder of somebody else's comes before ours. It
imports nothing of ours, and of the standard library's only what every Python has loaded by then, until the path is right.
"""

import os
import sys

PATH_VARIABLE = "STOREFLEET_MODULE_PATH"
"""Folders to look for modules in, in order, a line each."""
ENCODING_VARIABLE = "STOREFLEET_OUTPUT_ENCODING"
"""What standard output and standard error are read in; absent: UTF-8."""


def main() -> None:
    """Run the module that the first argument names as ``python -m`` does."""
    if path := os.environ.pop(PATH_VARIABLE, ""):
        sys.path[:] = path.split("\n")
    if encoding := os.environ.pop(ENCODING_VARIABLE, ""):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by whoever started us
                stream.reconfigure(encoding=encoding)  # type: ignore[union-attr]
    from runpy import run_module

    run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
