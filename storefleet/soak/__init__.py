"""The soak: one lab under load, whose processes are killed, paused and restarted by a seeded schedule."""
