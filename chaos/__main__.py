"""``python -P -m chaos``: one process of hop proxies, told by the environment like every stage."""

from chaos.hops import Hops
from fleetwire.stage import main

if __name__ == "__main__":
    main(Hops)
