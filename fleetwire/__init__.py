"""The contract that every stage of storefleet speaks; it opens no socket at import and knows no stage."""
