"""``python -P -m consumers.poseidon``: Poseidon as a stage's process."""

from consumers.poseidon.stage import PoseidonStage
from fleetwire.stage import main

if __name__ == "__main__":
    main(PoseidonStage)
