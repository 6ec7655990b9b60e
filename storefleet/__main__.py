"""``storefleet`` and ``python -m storefleet``."""

from storefleet.endings import begin, end


def main() -> None:
    """Entry point: signals are heard before anything heavy is imported."""
    begin()
    from storefleet.cli import run

    end(run())


if __name__ == "__main__":
    main()
