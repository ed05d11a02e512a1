-- What the whole of Secrets Manager keeps: policies, partners' secrets, replicas.
ALTER TABLE secrets ADD COLUMN policy         TEXT NOT NULL DEFAULT '';
ALTER TABLE secrets ADD COLUMN type           TEXT NOT NULL DEFAULT '';
ALTER TABLE secrets ADD COLUMN owning_service TEXT NOT NULL DEFAULT '';
ALTER TABLE secrets ADD COLUMN external       TEXT;                        -- JSON; null = none
ALTER TABLE secrets ADD COLUMN primary_region TEXT NOT NULL DEFAULT '';    -- '' = no replica
ALTER TABLE secrets ADD COLUMN replicas       TEXT;                        -- JSON; null = none
ALTER TABLE secrets ADD COLUMN revision       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE secrets ADD COLUMN follow_at      INTEGER;

CREATE INDEX secrets_follow ON secrets (follow_at) WHERE follow_at IS NOT NULL;

-- Listings sort secrets that were never accessed as if in 1970. An index on an
-- expression can't find a place by (expression, name); one on a column can.
ALTER TABLE secrets ADD COLUMN accessed_or_1970 INTEGER AS (ifnull(accessed, 0)) VIRTUAL;

-- One for each order of a listing. They hold the name, so that a listing by a
-- prefix need not look at the rows of other names.
CREATE INDEX secrets_created  ON secrets (account, region, created, name);
CREATE INDEX secrets_changed  ON secrets (account, region, changed, name);
CREATE INDEX secrets_accessed ON secrets (account, region, accessed_or_1970, name);

-- Values apart from their versions: the versions of a secret, which each new one
-- changes, then share a page, and new values follow one another.
CREATE TABLE sealed_values (
	id    INTEGER PRIMARY KEY,
	value BLOB NOT NULL -- encrypted
) STRICT;
INSERT INTO sealed_values (id, value)
	SELECT row_number() OVER (ORDER BY secret_id, id), sealed FROM versions WHERE sealed IS NOT NULL;

CREATE TABLE new_versions (
	secret_id INTEGER NOT NULL REFERENCES secrets ON DELETE CASCADE,
	id        TEXT NOT NULL,
	seq       INTEGER NOT NULL, -- order among the versions of the secret
	created   INTEGER,
	accessed  INTEGER,
	labels    TEXT NOT NULL,    -- [label, …]
	key_id    TEXT NOT NULL,
	value_id  INTEGER,          -- in sealed_values; null = no value yet
	PRIMARY KEY (secret_id, id)
) STRICT, WITHOUT ROWID;
INSERT INTO new_versions (secret_id, id, seq, created, accessed, labels, key_id, value_id)
	SELECT secret_id, id, seq, created, accessed, labels, key_id, CASE WHEN sealed IS NOT NULL THEN
		row_number() OVER (PARTITION BY sealed IS NOT NULL ORDER BY secret_id, id) END FROM versions;
DROP TABLE versions;
ALTER TABLE new_versions RENAME TO versions;

-- What readers keep in memory is true as long as this number stays: it rises
-- with every row that anybody writes, whatever program he uses.
CREATE TABLE clock (n INTEGER NOT NULL) STRICT;
INSERT INTO clock VALUES (0);

CREATE TRIGGER secrets_inserted  AFTER INSERT ON secrets  BEGIN UPDATE clock SET n = n + 1; END;
CREATE TRIGGER secrets_updated   AFTER UPDATE ON secrets  BEGIN UPDATE clock SET n = n + 1; END;
CREATE TRIGGER secrets_deleted   AFTER DELETE ON secrets  BEGIN UPDATE clock SET n = n + 1; END;
CREATE TRIGGER versions_inserted AFTER INSERT ON versions BEGIN UPDATE clock SET n = n + 1; END;
CREATE TRIGGER versions_updated  AFTER UPDATE ON versions BEGIN UPDATE clock SET n = n + 1; END;
CREATE TRIGGER versions_deleted  AFTER DELETE ON versions BEGIN
	UPDATE clock SET n = n + 1;
	DELETE FROM sealed_values WHERE id = OLD.value_id;
END;
CREATE TRIGGER values_updated AFTER UPDATE ON sealed_values BEGIN UPDATE clock SET n = n + 1; END;
