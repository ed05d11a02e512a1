-- Times are microseconds since 1970 UTC; null = never. Text compares byte by
-- byte. A secret's id is never used again: it names the secret's lock.
CREATE TABLE secrets (
	id            INTEGER PRIMARY KEY AUTOINCREMENT,
	account       TEXT NOT NULL,
	region        TEXT NOT NULL,
	name          TEXT NOT NULL,
	suffix        TEXT NOT NULL, -- the six random characters of the ARN
	partition     TEXT NOT NULL,
	description   TEXT NOT NULL,
	kms_key_id    TEXT NOT NULL,
	tags          TEXT,          -- [[key, value], …]; null = never tagged
	created       INTEGER,
	changed       INTEGER,
	accessed      INTEGER,
	deleted       INTEGER,
	purge_at      INTEGER,
	value_changed INTEGER,
	due_at        INTEGER,
	rotation      TEXT,          -- JSON; null = never configured
	UNIQUE (account, region, name)
) STRICT;

CREATE INDEX secrets_due ON secrets (due_at, name) WHERE due_at IS NOT NULL;
CREATE INDEX secrets_purge ON secrets (purge_at) WHERE purge_at IS NOT NULL;

CREATE TABLE versions (
	secret_id INTEGER NOT NULL REFERENCES secrets ON DELETE CASCADE,
	id        TEXT NOT NULL,
	seq       INTEGER NOT NULL, -- order among the versions of the secret
	created   INTEGER,
	accessed  INTEGER,
	labels    TEXT NOT NULL,    -- [label, …]
	key_id    TEXT NOT NULL,
	sealed    BLOB,             -- the encrypted value; null = none yet
	PRIMARY KEY (secret_id, id)
) STRICT, WITHOUT ROWID;

-- Facts about the store itself.
CREATE TABLE meta (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
