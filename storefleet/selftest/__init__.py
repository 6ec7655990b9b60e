"""The checker's own test: anomalies planted into a recorded run; each must be found, alone and in its place."""
