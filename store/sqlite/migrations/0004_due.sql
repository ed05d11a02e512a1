-- What is due is read on from a place in it: the index has all that it is sorted by.
DROP INDEX secrets_due;
CREATE INDEX secrets_due ON secrets (due_at, name, account, region) WHERE due_at IS NOT NULL;
