-- Times are microseconds since 1970 UTC; null = never. Text compares byte by
-- byte. A secret is one row: whoever has locked that row sees all of it as it is
-- now, and its values change only under that lock.
CREATE TABLE pawl.secrets (
	id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- never used again
	account         text COLLATE "C" NOT NULL,
	region          text COLLATE "C" NOT NULL,
	name            text COLLATE "C" NOT NULL,
	suffix          text COLLATE "C" NOT NULL, -- the six random characters of the ARN
	partition       text COLLATE "C" NOT NULL,
	place           text COLLATE "C" NOT NULL GENERATED ALWAYS AS (account || '/' || region) STORED,
	record          text NOT NULL,             -- JSON: all but the ARN
	-- Out of the record, for indexes. Listings sort what never was as if in 1970.
	created         bigint NOT NULL,
	changed         bigint NOT NULL,
	accessed        bigint NOT NULL,
	due_at          bigint,
	purge_at        bigint,
	follow_at       bigint,
	current_version text COLLATE "C",          -- the one that is AWSCURRENT
	-- How often the row was written, and what its last writer marked it with: so
	-- he finds out whether a COMMIT that was not answered is there.
	writes          bigint NOT NULL DEFAULT 0,
	mark            bigint NOT NULL,
	UNIQUE (account, region, name)
);

-- One for each order of a listing. They hold the name, so that a listing by a
-- prefix need not look at the rows of other names. They begin with a column of
-- their own: so they never look as good for finding one name as the index of names,
-- not even to a planner that thinks the table empty.
CREATE INDEX secrets_created  ON pawl.secrets (place, created, name);
CREATE INDEX secrets_changed  ON pawl.secrets (place, changed, name);
CREATE INDEX secrets_accessed ON pawl.secrets (place, accessed, name);

CREATE INDEX secrets_due    ON pawl.secrets (due_at, name, account, region) WHERE due_at IS NOT NULL;
CREATE INDEX secrets_purge  ON pawl.secrets (purge_at, id) WHERE purge_at IS NOT NULL;
CREATE INDEX secrets_follow ON pawl.secrets (follow_at, id) WHERE follow_at IS NOT NULL;

CREATE TABLE pawl.sealed_values (
	secret_id  bigint NOT NULL REFERENCES pawl.secrets ON DELETE CASCADE,
	version_id text COLLATE "C" NOT NULL,
	value      bytea NOT NULL, -- encrypted
	PRIMARY KEY (secret_id, version_id)
);
-- What is encrypted can't be compressed.
ALTER TABLE pawl.sealed_values ALTER COLUMN value SET STORAGE EXTERNAL;

-- Who rotates what. A lease that has ended may be taken over; its number, the
-- epoch, is never used again. That goes together with its owner, because after a
-- fail-over to a server that lagged the sequence may come to a number again. It
-- refers to the secret's row and does not lock it: a claim never waits for who
-- writes the secret. What a dead owner leaves of a secret that is gone is swept up.
CREATE TABLE pawl.leases (
	secret_id bigint PRIMARY KEY,
	epoch     bigint NOT NULL,
	owner     bigint NOT NULL,      -- a random number of the process's
	holder    text NOT NULL,        -- what he says he is, for people
	beat      bigint NOT NULL,      -- rises whenever the holder is heard of
	until     timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE SEQUENCE pawl.lease_epochs;

-- Facts about the store itself.
CREATE TABLE pawl.meta (
	name  text COLLATE "C" PRIMARY KEY,
	value bytea NOT NULL
);

-- Who there is, and the keys that secrets name by KmsKeyId: the settings.
CREATE TABLE pawl.principals (
	id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account text COLLATE "C" NOT NULL,
	name    text COLLATE "C" NOT NULL,
	record  text NOT NULL, -- JSON, with the two above and the keys below
	UNIQUE (account, name)
);

CREATE TABLE pawl.access_keys (
	id           text COLLATE "C" PRIMARY KEY,
	principal_id bigint NOT NULL REFERENCES pawl.principals ON DELETE CASCADE,
	last_used    bigint -- null = never
);
CREATE INDEX access_keys_principal ON pawl.access_keys (principal_id);

CREATE TABLE pawl.named_keys (
	id     text COLLATE "C" PRIMARY KEY,
	alias  text COLLATE "C" NOT NULL UNIQUE,
	record text NOT NULL -- JSON, with the two above
);

-- The number of the settings. It rises with every change of them, whatever
-- program makes it, in the same transaction. That a key was used is no change.
-- Writers of settings lock the row first, so that one works at a time.
CREATE TABLE pawl.settings (
	one      boolean PRIMARY KEY DEFAULT true CHECK (one),
	revision bigint NOT NULL DEFAULT 0,
	mark     bigint NOT NULL DEFAULT 0 -- as of secrets
);
INSERT INTO pawl.settings DEFAULT VALUES;

CREATE FUNCTION pawl.settings_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE pawl.settings SET revision = revision + 1;
	RETURN NULL;
END
$$;

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON pawl.principals
	FOR EACH ROW EXECUTE FUNCTION pawl.settings_changed();
CREATE TRIGGER changed AFTER INSERT OR DELETE OR UPDATE OF id, principal_id ON pawl.access_keys
	FOR EACH ROW EXECUTE FUNCTION pawl.settings_changed();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON pawl.named_keys
	FOR EACH ROW EXECUTE FUNCTION pawl.settings_changed();
CREATE TRIGGER emptied AFTER TRUNCATE ON pawl.principals
	FOR EACH STATEMENT EXECUTE FUNCTION pawl.settings_changed();
CREATE TRIGGER emptied AFTER TRUNCATE ON pawl.access_keys
	FOR EACH STATEMENT EXECUTE FUNCTION pawl.settings_changed();
CREATE TRIGGER emptied AFTER TRUNCATE ON pawl.named_keys
	FOR EACH STATEMENT EXECUTE FUNCTION pawl.settings_changed();
