"""``python -P -m consumers.sync_stage``."""

from consumers.sync_stage.stage import SyncStage
from fleetwire.stage import main

if __name__ == "__main__":
    main(SyncStage)
