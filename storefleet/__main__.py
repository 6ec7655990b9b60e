"""``storefleet`` and ``python -m storefleet``."""

from storefleet.cli import main

if __name__ == "__main__":
    main()
