package config

// The files that pawl init makes, side by side.
const (
	DefaultDatabase = "pawl.db"
	DefaultKeyFile  = "pawl.key"
)

// Template is the configuration file that pawl init writes. Nothing but store:
// is in force, so that a script may append blocks at its end.
func Template() []byte { return []byte(template) }

const template = `# Pawl's configuration. Every key: docs/configuration.md and config.example.yaml.
# Relative paths start at this file's folder. A running daemon reads the file
# again on SIGHUP.

store:
  sqlite:
    path: ` + DefaultDatabase + `
    key_file: ` + DefaultKeyFile + ` # back it up elsewhere: without it the secrets can't be read

# What rotates, and when. The secret itself (host, user name, password) is in
# the store: pawl secret create prod/app/db --engine postgres --host … --username …
#
# secrets:
#   - name: prod/app/db
#     schedule: rate(30 days) # or cron(0 2 ? * SUN *), in UTC; none = on demand only
#     window: 3h
#   - name: prod/shop/db
#     strategy: alternating-users # two users in turn: no login ever fails
#     superuser: prod/root

# scheduler:
#   minimum_interval: 4h # lower it to rotate more often

# Where this file's secrets are: part of their ARNs.
#
# account: 123456789012
# region: us-east-1

# The listener of the API and of the health check, for pawl serve --dev.
#
# server:
#   listen: 127.0.0.1:4566
`
