"""Stages behind the broker: documents, registers and the views that operations looks at."""
