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

-- One for each order of a listing. They hold the name, so that a listing by a
-- prefix need not look at the rows of other names.
CREATE INDEX secrets_created  ON secrets (account, region, created, name);
CREATE INDEX secrets_changed  ON secrets (account, region, changed, name);
CREATE INDEX secrets_accessed ON secrets (account, region, ifnull(accessed, 0), name);
