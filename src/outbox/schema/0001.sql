-- The outbox of version 0.1.0.
--
-- Times are milliseconds since 1970-01-01 UTC. Addresses are folded to lower case: they are compared, never shown.

-- A folder of the inbox that files came through. Entries point here and not at list names, so that a corrected
-- configuration applies to rows that already wait.
CREATE TABLE route (
    id     INTEGER PRIMARY KEY,
    folder TEXT NOT NULL UNIQUE
) STRICT;

-- A drop file that was read to its end. Its rows' fates are counted here as they are decided; the CHECK is the promise
-- that every row is accounted for.
CREATE TABLE file (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    route       INTEGER NOT NULL REFERENCES route (id),
    sha256      TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    -- recorded: committed here, still in the inbox. archived: renamed away. answered: its receipt is written.
    stage       TEXT    NOT NULL CHECK (stage IN ('recorded', 'archived', 'answered')),
    -- The archived file's path below the spool.
    archived_as TEXT,
    -- The column that the addresses were taken from, where the file has several that could hold them.
    address_column TEXT,
    settled_at  INTEGER,
    first_entry INTEGER NOT NULL,
    -- When a file of the same bytes was first written, if there was one: then this is a replay, and nobody agreed anew.
    replay_of   INTEGER,
    -- The earliest consent of its rows: from then on it must be known who left before one of them is sent.
    consent_from INTEGER NOT NULL,
    rows        INTEGER NOT NULL,
    queued      INTEGER NOT NULL CHECK (queued >= 0),
    sending     INTEGER NOT NULL CHECK (sending >= 0),
    created     INTEGER NOT NULL CHECK (created >= 0),
    updated     INTEGER NOT NULL CHECK (updated >= 0),
    imported    INTEGER NOT NULL CHECK (imported >= 0),
    unchanged   INTEGER NOT NULL CHECK (unchanged >= 0),
    duplicate   INTEGER NOT NULL CHECK (duplicate >= 0),
    rejected    INTEGER NOT NULL CHECK (rejected >= 0),
    held        INTEGER NOT NULL CHECK (held >= 0),
    CHECK (rows = queued + sending + created + updated + imported + unchanged + duplicate + rejected + held)
) STRICT;

-- Few files are ever unfinished: the loops look here for what is left to archive and to answer.
CREATE INDEX file_unfinished ON file (stage, id) WHERE stage <> 'answered';
-- Were these bytes seen before?
CREATE INDEX file_bytes ON file (sha256);
-- Where rows that wait begin: nothing older needs to be looked at.
CREATE INDEX file_waiting ON file (first_entry) WHERE queued + sending > 0;

-- Bulk imports of rows whose consent is implicit. The account tells of a job only by its id, and of its rows only in
-- counts: which rows went with it is kept in entry.import.
CREATE TABLE import (
    id           INTEGER PRIMARY KEY,
    -- The set of lists, as in delivered.lists.
    lists        TEXT    NOT NULL,
    -- open: rows are being added. ready: to be posted. posted: the call has left. doubt: its answer was lost, so that the
    -- account is asked before it is posted again. running: the account works on it. short: done, and fewer rows landed
    -- than were sent. landed: every row that is still in it has landed. failed: its rows go back to the queue.
    -- refused: its rows are held. done.
    state        TEXT    NOT NULL
                 CHECK (state IN ('open', 'ready', 'posted', 'doubt', 'running', 'short', 'landed', 'failed', 'refused',
                                 'done')),
    rows         INTEGER NOT NULL DEFAULT 0,
    -- When the next thing is to be done about it.
    due_at       INTEGER NOT NULL,
    posted_at    INTEGER,
    activity_id  TEXT UNIQUE,
    -- When the account took it, by the account's clock.
    taken_at     INTEGER,
    -- Lists of the set that its contacts left, as JSON: they are not put back on them.
    without      TEXT NOT NULL DEFAULT '[]',
    -- Polls of a running job, or calls that came to nothing: the pauses grow by them.
    tries        INTEGER NOT NULL DEFAULT 0,
    -- What the account counted at the end.
    persons      INTEGER,
    refused      INTEGER,
    unsubscribed INTEGER,
    reason       TEXT,
    CHECK (state NOT IN ('running', 'short') OR activity_id IS NOT NULL)
) STRICT;

-- Few imports are ever unfinished.
CREATE INDEX import_unfinished ON import (due_at, id) WHERE state <> 'done';

-- One row of a drop file. The rows of a file have consecutive ids, from file.first_entry on.
CREATE TABLE entry (
    id          INTEGER PRIMARY KEY,
    file        INTEGER NOT NULL REFERENCES file (id),
    route       INTEGER NOT NULL REFERENCES route (id),
    line        INTEGER NOT NULL,
    -- NULL when the row holds no usable address; then email has what stood there.
    address     TEXT,
    email       TEXT,
    -- The contact as JSON; NULL when the row was rejected while it was read.
    contact     TEXT,
    digest      BLOB,
    -- When the person agreed, as the row says it; NULL when it does not: then the file's modified_at counts.
    consent_at  INTEGER,
    -- What else the row says about that, as JSON with source and ip. Kept for whoever asks; never sent.
    evidence    TEXT,
    state       TEXT    NOT NULL CHECK (state IN ('queued', 'sending', 'delivered', 'unchanged', 'rejected', 'held')),
    -- What exactly became of it: created, updated, imported, unchanged, duplicate.
    outcome     TEXT,
    -- 0: of a file that queues few rows, which somebody waits for. 1: of the backlog.
    rank        INTEGER NOT NULL DEFAULT 0 CHECK (rank IN (0, 1)),
    -- When to try; NULL while an older row of the same address is before it.
    due_at      INTEGER,
    attempts    INTEGER NOT NULL DEFAULT 0,
    tried_since INTEGER,
    contact_id  TEXT,
    field       TEXT,
    reason      TEXT,
    -- For held rows: the person left after giving consent; it was tried too long; the account refused the call itself;
    -- the operator wanted it. Only the first needs new consent before it is released.
    held_because TEXT   CHECK (held_because IN ('left', 'given_up', 'refused_call', 'operator')),
    settled_at  INTEGER,
    -- The bulk import that it goes or went with.
    import      INTEGER REFERENCES import (id),
    CHECK ((state = 'held') = (held_because IS NOT NULL))
) STRICT;

-- The drain's question: what is due on a route that can be sent, of those who go first and of the backlog?
CREATE INDEX entry_due ON entry (route, rank, due_at, id) WHERE state = 'queued' AND due_at IS NOT NULL;
-- The plan's questions: does an older row of this address still wait, was it in this file before? And the operator's:
-- where did it come from? One index for all three, because it is most of the cost of taking a row in; whoever asks for
-- waiting rows begins at the first row of the oldest file that has any (file_waiting).
CREATE INDEX entry_address ON entry (address) WHERE address IS NOT NULL;
-- The operator's question: what waits for a person?
CREATE INDEX entry_held ON entry (id) WHERE state = 'held';
-- The question at start-up: what was under way?
CREATE INDEX entry_sending ON entry (id) WHERE state = 'sending';
-- The question when an import ends: which rows are in it?
CREATE INDEX entry_import ON entry (import, id) WHERE state = 'sending' AND import IS NOT NULL;

-- What was done to a row besides its fate, in words: a field that was left out (field names it), a row that a newer one
-- replaced. In the order they were written; few rows have any.
CREATE TABLE note (
    entry  INTEGER NOT NULL REFERENCES entry (id),
    number INTEGER NOT NULL,
    field  TEXT,
    reason TEXT    NOT NULL,
    PRIMARY KEY (entry, number)
) STRICT, WITHOUT ROWID;

-- What the account was last given for an address on a set of lists. A row that says the same again costs no call. The
-- digest is all zeros where another route's row has overwritten it since.
CREATE TABLE delivered (
    address      TEXT    NOT NULL,
    lists        TEXT    NOT NULL,
    digest       BLOB    NOT NULL,
    delivered_at INTEGER NOT NULL,
    PRIMARY KEY (address, lists)
) STRICT, WITHOUT ROWID;

-- Who left, by the account's clock and by folded address: whoever did so after agreeing is not put back.
CREATE TABLE opt_out (
    address         TEXT PRIMARY KEY,
    unsubscribed_at INTEGER,
    deleted_at      INTEGER,
    CHECK (unsubscribed_at IS NOT NULL OR deleted_at IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- How far the account was read for those who left. A reading goes on page by page, also after a restart.
CREATE TABLE opt_out_reading (
    left_by      TEXT PRIMARY KEY CHECK (left_by IN ('unsubscribing', 'deletion')),
    -- All who left from then on, by the account's clock, and before known_at, by ours, are in opt_out. NULL before the
    -- first reading is whole.
    covered_from INTEGER,
    known_at     INTEGER,
    -- The latest date that the account has shown: the next reading begins a little before it.
    seen_at      INTEGER,
    -- The reading under way: when it began, from which date on it reads, its next page, and the latest date so far.
    began_at     INTEGER,
    since        INTEGER,
    next         TEXT,
    latest       INTEGER,
    CHECK ((covered_from IS NULL) = (known_at IS NULL) AND (began_at IS NULL) = (since IS NULL))
) STRICT, WITHOUT ROWID;

-- What single look-ups showed: good for minutes, and forgotten with the history.
CREATE TABLE looked_up (
    address    TEXT PRIMARY KEY,
    at         INTEGER NOT NULL,
    -- When the contact last changed there; NULL when the account holds none.
    updated_at INTEGER,
    -- Whether the account may mail it, and the ids of its lists as JSON.
    active     INTEGER NOT NULL,
    lists      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Each call to the API, written before it leaves. Without answered_at it is under way, or its answer was lost.
CREATE TABLE attempt (
    id          INTEGER PRIMARY KEY,
    -- NULL for calls that concern the account as a whole.
    entry       INTEGER REFERENCES entry (id),
    endpoint    TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    answered_at INTEGER,
    -- 0 when it surely did not reach the contact: no connection, or refused for a limit or a token.
    reached     INTEGER,
    status      INTEGER,
    error_key   TEXT,
    message     TEXT
) STRICT;

CREATE INDEX attempt_entry ON attempt (entry) WHERE entry IS NOT NULL;

-- Calls of each UTC day, because the service counts them so and never says how many are left.
CREATE TABLE budget (
    day   TEXT PRIMARY KEY,
    calls INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The account's lists and custom fields as last read.
CREATE TABLE list (
    list_id TEXT PRIMARY KEY,
    name    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE custom_field (
    custom_field_id TEXT PRIMARY KEY,
    name            TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What stands in the way, by whom it concerns: 'inbox', 'account', 'authorization', 'route members',
-- 'configuration', and 'operator' for a pause, whose reason is the operator's own words. Gone when it is.
CREATE TABLE trouble (
    scope  TEXT PRIMARY KEY,
    health TEXT    NOT NULL CHECK (health IN ('waiting', 'attention')),
    reason TEXT    NOT NULL,
    since  INTEGER NOT NULL,
    -- Until when it is known to last.
    until  INTEGER
) STRICT, WITHOUT ROWID;

-- Single facts that must survive a restart: when the directory was read, how long the account asked us to wait.
CREATE TABLE fact (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The folders that a daemon watches, and how.
CREATE TABLE watched (
    path   TEXT PRIMARY KEY,
    watch  TEXT NOT NULL CHECK (watch IN ('events', 'polling')),
    -- Why it is polled; empty where there are events.
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How it went, a few times an hour, for the plots of the status page: rows delivered since the outbox began, as far as it
-- remembers, and rows that waited.
CREATE TABLE sample (
    at        INTEGER PRIMARY KEY,
    delivered INTEGER NOT NULL,
    waiting   INTEGER NOT NULL
) STRICT;
