"""The checker's own test: anomalies planted into a recorded run, each of which must be found, alone and in its place."""
