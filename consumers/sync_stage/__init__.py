"""The sync stage: canonical events and store statuses from the broker into the gateway's documents."""
