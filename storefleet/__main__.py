"""``storefleet`` and ``python -m storefleet``."""

from storefleet import own_python


def main() -> None:
    """Entry point: nothing else is imported before it is sure where from."""
    own_python.enter()
    from storefleet.cli import main as run
    from storefleet.output_encoding import replace_what_cannot_be_written

    replace_what_cannot_be_written()
    run()


if __name__ == "__main__":
    main()
