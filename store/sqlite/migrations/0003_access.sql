-- Who there is, and the keys that secrets name by KmsKeyId: the settings.
CREATE TABLE principals (
	id      INTEGER PRIMARY KEY,
	account TEXT NOT NULL,
	name    TEXT NOT NULL,
	record  TEXT NOT NULL, -- JSON, with the two above and the keys below
	UNIQUE (account, name)
) STRICT;

CREATE TABLE access_keys (
	id           TEXT PRIMARY KEY,
	principal_id INTEGER NOT NULL REFERENCES principals ON DELETE CASCADE,
	last_used    INTEGER -- null = never
) STRICT, WITHOUT ROWID;
CREATE INDEX access_keys_principal ON access_keys (principal_id);

CREATE TABLE named_keys (
	id     TEXT PRIMARY KEY,
	alias  TEXT NOT NULL UNIQUE,
	record TEXT NOT NULL -- JSON, with the two above
) STRICT, WITHOUT ROWID;

-- The settings' own number. It stands beside the secrets', so that one look
-- shows both. That a key was used is no change.
ALTER TABLE clock ADD COLUMN settings INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER principals_inserted  AFTER INSERT ON principals  BEGIN UPDATE clock SET settings = settings + 1; END;
CREATE TRIGGER principals_updated   AFTER UPDATE ON principals  BEGIN UPDATE clock SET settings = settings + 1; END;
CREATE TRIGGER principals_deleted   AFTER DELETE ON principals  BEGIN UPDATE clock SET settings = settings + 1; END;
CREATE TRIGGER access_keys_inserted AFTER INSERT ON access_keys BEGIN UPDATE clock SET settings = settings + 1; END;
CREATE TRIGGER access_keys_updated  AFTER UPDATE OF id, principal_id ON access_keys BEGIN UPDATE clock SET settings = settings + 1; END;
CREATE TRIGGER access_keys_deleted  AFTER DELETE ON access_keys BEGIN UPDATE clock SET settings = settings + 1; END;
CREATE TRIGGER named_keys_inserted  AFTER INSERT ON named_keys  BEGIN UPDATE clock SET settings = settings + 1; END;
CREATE TRIGGER named_keys_updated   AFTER UPDATE ON named_keys  BEGIN UPDATE clock SET settings = settings + 1; END;
CREATE TRIGGER named_keys_deleted   AFTER DELETE ON named_keys  BEGIN UPDATE clock SET settings = settings + 1; END;
