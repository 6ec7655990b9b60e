"""The lab: it assembles the stages, watches them, judges what they did, and teaches with it."""
