"""Following a changes feed from a durable checkpoint: lines in, state and checkpoint in one local transaction out."""
