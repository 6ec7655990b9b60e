"""A PARM whose transformation dies with the process on a payload that names the poison; run by a test."""

import os

from fleetwire.envelope import Properties
from fleetwire.events import CanonicalEvent
from fleetwire.settings import StageSettings
from fleetwire.stage import main
from fleetwire.topics import Topics
from parm_stub.stage import Parm
from parm_stub.transform import Transformer


def build(settings: StageSettings) -> Parm:
    """PARM with the poisonous transformation."""
    good = Transformer(Topics(settings.topic_root), settings.dialects).transform

    def transform(topic: str, properties: Properties, payload: bytes, content_type: str | None) -> CanonicalEvent:
        if b"poison" in payload:
            os._exit(9)
        return good(topic, properties, payload, content_type)

    return Parm(settings, transform)


if __name__ == "__main__":
    main(build)
