"""``python -P -m parm_stub``."""

from fleetwire.stage import main
from parm_stub.stage import Parm

if __name__ == "__main__":
    main(Parm)
