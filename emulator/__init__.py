"""Stage 1: stores and their terminals, each with its own connection, will, clock, till and durable outbox."""
