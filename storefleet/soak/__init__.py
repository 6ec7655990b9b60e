"""The soak: a lab under load, driven from outside, whose processes, its own among them, suffer what Hypothesis draws."""
