"""``python -P -m consumers.olympus_dgs``: olympus_dgs as a stage's process."""

from consumers.olympus_dgs.stage import OlympusStage
from fleetwire.stage import main

if __name__ == "__main__":
    main(OlympusStage)
