"""``python -P -m consumers.views``: all views as one stage's process."""

from consumers.views.stage import ViewsStage
from fleetwire.stage import main

if __name__ == "__main__":
    main(ViewsStage)
