"""``storefleet`` and ``python -m storefleet``."""

import os

from storefleet import own_python


def main() -> None:
    """Entry point: nothing else is imported before it is sure where from, and nothing heavy before signals are heard."""
    own_python.enter()
    from storefleet.endings import begin, end

    begin()
    from storefleet.cli import run
    from storefleet.output_encoding import replace_what_cannot_be_written

    replace_what_cannot_be_written()
    _forget_a_size_of_nothing()
    end(run())


def _forget_a_size_of_nothing() -> None:
    """A terminal that does not know its size says 0, which is no width to draw a table in."""
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "").strip("0 "):
            os.environ.pop(name, None)


if __name__ == "__main__":
    main()
