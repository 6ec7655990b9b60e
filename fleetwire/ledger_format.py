"""The ledger file, format version 1: what terminals really did. The emulator writes it, the checker reads it.

One SQLite database in WAL mode. ``event``, ``outcome``, ``attempt`` and ``planted`` are append-only logs
without any key: the writer's counters make (source, sequence) unique and ascending, and an index would make a write
three times as dear (12 µs an event instead of 4, measured with 10,000 sources in batches of 50). Only the small
tables that change in place, ``outbox`` and ``register``, have keys. Times are unix milliseconds of the emulator's
host.

A reader refuses a file whose version is newer than its own. ``docs/contract.md`` explains the tables.
"""

from __future__ import annotations

from typing import Final

LEDGER_FORMAT_NAME: Final = "storefleet-ledger"
LEDGER_FORMAT_VERSION: Final = 1
LEDGER_FILE_NAME: Final = "ledger.sqlite"
BATCH_EVENTS: Final = 50
"""At so many events a writer commits, or after its tick, whichever is first."""

PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",  # survives the death of the process; power loss is not promised
    "PRAGMA cache_size = -16384",
    "PRAGMA wal_autocheckpoint = 2000",
)

DDL: Final = """
CREATE TABLE IF NOT EXISTS meta (
  name  TEXT PRIMARY KEY,            -- 'format', 'version', 'seed', 'created_at_ms', 'shard', 'closed_at_ms'
  value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS source (
  number INTEGER PRIMARY KEY,        -- what the other tables call it
  id     TEXT NOT NULL UNIQUE        -- brand.region.store.terminal
);

CREATE TABLE IF NOT EXISTS event (   -- one row for every durable event, at its commit, ascending by source
  source            INTEGER NOT NULL,
  sequence          INTEGER NOT NULL, -- from 1, no gaps
  type              TEXT NOT NULL,    -- a key of fleetwire.events.EVENT_TYPES, also for a malformed event
  hash              BLOB NOT NULL,    -- fleetwire.content.content_hash of the canonical event, 8 bytes
  business_day_date TEXT NOT NULL,
  amount_cents      INTEGER NOT NULL, -- signed part of the store's sales total; 0 for what is no sale
  effect            BLOB,             -- fleetwire.effects.effect_hash, 8 bytes; NULL = not said (an older writer)
  action            TEXT NOT NULL DEFAULT '',   -- this and the next three: fleetwire.effects.TillEntry
  refers_to         INTEGER NOT NULL DEFAULT 0, -- of a return or void: number of the same terminal's sale
  cash_cents        INTEGER NOT NULL DEFAULT 0, -- what it moves into the drawer; a void takes back its sale's
  operator_id       TEXT NOT NULL DEFAULT '',   -- of a SIGN_ON: who
  committed_at_ms   INTEGER NOT NULL,
  expected_reason   TEXT NOT NULL,    -- '' = well-formed; else the code under which it must be rejected
  sales_count       INTEGER NOT NULL DEFAULT 1 -- 0 = a sale in training: no transaction (fleetwire.amounts)
);

CREATE TABLE IF NOT EXISTS outcome ( -- what the terminal was told, as it was told; ranges may overlap
  source  INTEGER NOT NULL,
  first   INTEGER NOT NULL,
  last    INTEGER NOT NULL,
  verdict TEXT NOT NULL CHECK (verdict IN ('applied', 'rejected')),
  stage   TEXT NOT NULL,             -- who said it
  reason  TEXT NOT NULL,             -- '' when applied
  at_ms   INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS attempt ( -- every sending after the first
  source   INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  attempt  INTEGER NOT NULL CHECK (attempt > 1),
  at_ms    INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS planted ( -- what the emulator sent on purpose beyond its events
  source   INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  kind     TEXT NOT NULL CHECK (kind IN ('repeat', 'conflict')), -- same content again | other content
  at_ms    INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS outbox (  -- unresolved events as they go on the wire; a row goes with its outcome
  source     INTEGER NOT NULL,
  sequence   INTEGER NOT NULL,
  attempt    INTEGER NOT NULL,       -- of the last sending; 0 = not sent yet
  topic      TEXT NOT NULL,
  type       TEXT NOT NULL,
  time       TEXT NOT NULL,          -- of the envelope
  properties TEXT NOT NULL,          -- '' = the envelope's own; else JSON [[name, value], ...] instead
  payload    BLOB NOT NULL,
  PRIMARY KEY (source, sequence)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS register ( -- the true last state of every terminal
  source INTEGER PRIMARY KEY,
  online INTEGER NOT NULL,
  reason TEXT NOT NULL,              -- birth | lost | planned_close
  boot   INTEGER NOT NULL,
  bd_seq INTEGER NOT NULL,
  at_ms  INTEGER NOT NULL
);
"""

LATER_COLUMNS: Final = {
    "sales_count": "INTEGER NOT NULL DEFAULT 1",
    "effect": "BLOB",
    "action": "TEXT NOT NULL DEFAULT ''",
    "refers_to": "INTEGER NOT NULL DEFAULT 0",
    "cash_cents": "INTEGER NOT NULL DEFAULT 0",
    "operator_id": "TEXT NOT NULL DEFAULT ''",
}
"""Columns of ``event`` that an older ledger does not have: a writer adds them, a reader must do without."""

META_ROWS: Final = (("format", LEDGER_FORMAT_NAME), ("version", str(LEDGER_FORMAT_VERSION)))

INSERT_META: Final = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"
INSERT_SOURCE: Final = "INSERT OR IGNORE INTO source (number, id) VALUES (?, ?)"
INSERT_EVENT: Final = (
    "INSERT INTO event (source, sequence, type, hash, business_day_date, amount_cents, committed_at_ms,"
    " expected_reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_TRADED_EVENT: Final = (
    "INSERT INTO event (source, sequence, type, hash, business_day_date, amount_cents, committed_at_ms,"
    " expected_reason, sales_count, effect, action, refers_to, cash_cents, operator_id)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""The same with what the event does to its till."""
INSERT_OUTCOME: Final = (
    "INSERT INTO outcome (source, first, last, verdict, stage, reason, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
INSERT_ATTEMPT: Final = "INSERT INTO attempt (source, sequence, attempt, at_ms) VALUES (?, ?, ?, ?)"
INSERT_PLANTED: Final = "INSERT INTO planted (source, sequence, kind, at_ms) VALUES (?, ?, ?, ?)"
INSERT_OUTBOX: Final = (
    "INSERT INTO outbox (source, sequence, attempt, topic, type, time, properties, payload)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
PUT_REGISTER: Final = (
    "INSERT OR REPLACE INTO register (source, online, reason, boot, bd_seq, at_ms) VALUES (?, ?, ?, ?, ?, ?)"
)
