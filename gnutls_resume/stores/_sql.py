"""The tables of an ``SQLiteStore`` and what is asked of them.

Rules of this file:

1. Other processes, of other releases too, have the same file open: a change of SCHEMA is a new
   VERSION. Views and triggers that are TEMP are those of one connection, and may change.
2. Each call of a store is one statement. What takes two is a trigger on a view.
3. Before each value stands PADDING, so many zeros that no part of the value is in a page that it
   shares with other entries. SQLite moves entries from page to page, and leaves copies behind in
   what it no longer uses, ``secure_delete`` or not; but it never moves the pages that a long row
   has to itself, and overwrites them when they are freed.
"""
# ruff: noqa: S608 - all that is put into these texts is in this file, but for one checked number

APPLICATION_ID = 0x67545253
VERSION = 1
PAGE = 2048  # bytes
PADDING = f"zeroblob({PAGE // 4})"  # what of a row stays in a shared page is less
BATCH = 100  # entries that are purged, cleared or listed in one statement
BEFORE_ALL = float("-inf")  # a key to begin with: numbers are less than any bytes

# Without a rowid, a row is in the tree of its primary key, and needs no second one.
SINGLE = """CREATE TABLE single (
    key BLOB NOT NULL PRIMARY KEY, expires REAL NOT NULL, padding BLOB NOT NULL,
    value BLOB NOT NULL
) WITHOUT ROWID"""
STACK = """CREATE TABLE stack (
    key BLOB NOT NULL, id INTEGER NOT NULL, expires REAL NOT NULL, padding BLOB NOT NULL,
    value BLOB NOT NULL, PRIMARY KEY (key, id)
) WITHOUT ROWID"""
# To count 100,000 rows would take milliseconds, so their number is kept.
COUNTED = "CREATE TABLE counted (entries INTEGER NOT NULL)"
COUNTING = tuple(
    f"""CREATE TRIGGER {table}_{event} AFTER {event} ON {table} BEGIN
    UPDATE counted SET entries = entries {change};
END"""
    for table in ("single", "stack")
    for event, change in (("insert", "+ 1"), ("delete", "- 1"))
)
SCHEMA = (
    SINGLE,
    STACK,
    "CREATE INDEX single_expires ON single (expires)",
    "CREATE INDEX stack_expires ON stack (expires)",
    COUNTED,
    *COUNTING,
)
START_COUNTING = "INSERT INTO counted VALUES (0)"

# Where there is no room for one more, what expires first goes, so that the expired go before the
# living. Where there are far too many, since another process allows more, two go for each.
MAKE_ROOM = """CREATE TEMP TRIGGER {table}_room BEFORE INSERT ON main.{table}
WHEN (SELECT entries FROM counted) >= {max_entries} AND {new} BEGIN
    DELETE FROM single WHERE key = (SELECT key FROM single ORDER BY expires LIMIT 1)
        AND ifnull((SELECT min(expires) FROM single) <= (SELECT min(expires) FROM stack), 1);
    DELETE FROM stack WHERE (key, id) = (SELECT key, id FROM stack ORDER BY expires LIMIT 1)
        AND (SELECT entries FROM counted) >= {max_entries};
    DELETE FROM single WHERE key = (SELECT key FROM single ORDER BY expires LIMIT 1)
        AND (SELECT entries FROM counted) >= {max_entries};
END"""
NEW_KEY = "NOT EXISTS (SELECT 1 FROM single WHERE key = NEW.key)"  # else one is replaced
PUSHED = "CREATE TEMP VIEW pushed AS SELECT key, expires, value, 1 AS keep FROM main.stack"
ON_PUSHED = f"""CREATE TEMP TRIGGER push INSTEAD OF INSERT ON pushed BEGIN
    DELETE FROM stack WHERE key = NEW.key AND id <= (
        SELECT id FROM stack WHERE key = NEW.key ORDER BY id DESC LIMIT 1 OFFSET NEW.keep - 1
    );
    INSERT INTO stack (key, id, expires, padding, value) VALUES (
        NEW.key, ifnull((SELECT max(id) FROM stack WHERE key = NEW.key), 0) + 1,
        NEW.expires, {PADDING}, NEW.value
    );
END"""
REMOVED = "CREATE TEMP VIEW removed AS SELECT key FROM main.single"
ON_REMOVED = """CREATE TEMP TRIGGER remove INSTEAD OF INSERT ON removed BEGIN
    DELETE FROM single WHERE key = NEW.key;
    DELETE FROM stack WHERE key = NEW.key;
END"""


def of_one_connection(max_entries: int) -> tuple[str, ...]:
    """The views and triggers that a connection needs."""
    return (
        MAKE_ROOM.format(table="single", max_entries=max_entries, new=NEW_KEY),
        MAKE_ROOM.format(table="stack", max_entries=max_entries, new=1),
        PUSHED,
        ON_PUSHED,
        REMOVED,
        ON_REMOVED,
    )


GET = "SELECT value FROM single WHERE key = ? AND expires > ?"
PUT = f"""INSERT INTO single (key, expires, padding, value) VALUES (?, ?, {PADDING}, ?)
    ON CONFLICT (key) DO UPDATE SET expires = excluded.expires, value = excluded.value"""
ADD = f"{PUT} WHERE single.expires <= ? RETURNING 1"
DROP = "DELETE FROM single WHERE key = ?"
PUSH = "INSERT INTO pushed (key, expires, value, keep) VALUES (?, ?, ?, ?)"
TAKE = """DELETE FROM stack WHERE key = ? AND id = (SELECT max(id) FROM stack WHERE key = ?)
    RETURNING value, expires"""
REMOVE = "INSERT INTO removed (key) VALUES (?)"
COUNT = "SELECT entries FROM counted"
PURGE_SINGLE = f"""DELETE FROM single WHERE key IN (
    SELECT key FROM single WHERE expires <= ? ORDER BY expires LIMIT {BATCH})"""
PURGE_STACK = f"""DELETE FROM stack WHERE (key, id) IN (
    SELECT key, id FROM stack WHERE expires <= ? ORDER BY expires LIMIT {BATCH})"""
LIST_SINGLE = f"""SELECT key, expires, length(value), 0 FROM single
    WHERE typeof(key) = 'blob' AND key > ? AND expires > ? ORDER BY key LIMIT {BATCH}"""
LIST_STACK = f"""SELECT key, max(expires), sum(length(value)), count(*) FROM stack
    WHERE typeof(key) = 'blob' AND key > ? AND expires > ?
    GROUP BY key ORDER BY key LIMIT {BATCH}"""
CLEAR_SINGLE, CLEAR_STACK = (
    f"""DELETE FROM {table} WHERE key IN (
    SELECT key FROM {table} WHERE key > ? ORDER BY key LIMIT {BATCH}) RETURNING key"""
    for table in ("single", "stack")
)
EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"
