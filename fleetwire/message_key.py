"""What a message says of its event before anything of its payload is read: key and attempt."""

from __future__ import annotations

from fleetwire.envelope import MAXIMUM_ATTEMPT
from fleetwire.errors import BadPayload
from fleetwire.identity import Key
from fleetwire.mqtt import Message


def key_of(message: Message) -> Key | None:
    """The key by the topic's last level (the sender, whom the broker knows) and the user property ``sequence``."""
    try:
        return Key.parse(f"{message.topic.rpartition('/')[2]}.{message.user_property('sequence') or ''}")
    except BadPayload:
        return None


def attempt_of(message: Message) -> int:
    """How often the terminal has sent it, by the user property ``attempt``; 1 when that is missing or no number."""
    text = message.user_property("attempt") or "1"
    if not (text.isascii() and text.isdigit() and len(text) <= 7):
        return 1
    return min(max(int(text), 1), MAXIMUM_ATTEMPT)
