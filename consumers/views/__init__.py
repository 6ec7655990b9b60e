"""What operations looks at: three views, each with its own feed, file and checkpoint, each alive without the others."""
