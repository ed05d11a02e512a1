package config

import "strings"

// The files that pawl init makes, side by side.
const (
	DefaultDatabase = "pawl.db"
	DefaultKeyFile  = "pawl.key"
	DefaultCertFile = "pawl-tls.crt" // with --tls
	DefaultTLSKey   = "pawl-tls.key"
	// With --postgres; people write this one.
	DefaultPasswordFile = "pawl-db.password"
)

// DefaultListen is where the API is served unless the file says otherwise: the
// port that AWS emulators are expected at.
const DefaultListen = "127.0.0.1:4566"

// Template is the configuration file that pawl init writes. Nothing but store:
// is in force, so that a script may append blocks at its end.
func Template() []byte {
	return []byte(template + templateRest + "#\n" + commented(listener(DefaultListen)))
}

// TemplateTLS is the Template with the API at an address, by the certificate
// that pawl init --tls makes.
func TemplateTLS(listen string) []byte {
	return []byte(template + templateRest + "\n" + listener(listen))
}

// listener is the server: block. A quoted address may begin with a colon.
func listener(listen string) string {
	if strings.ContainsAny(listen[:1], ":[") {
		listen = "'" + listen + "'"
	}
	return `server:
  listen: ` + listen + `
  tls: {cert_file: ` + DefaultCertFile + `, key_file: ` + DefaultTLSKey + `}
`
}

// TemplateAWS is the configuration file that pawl init --aws writes: the secrets
// stay in AWS Secrets Manager in a region. Nothing but store: is in force.
func TemplateAWS(region string) []byte {
	return []byte(strings.Replace(templateAWS, "REGION", region, 1))
}

// TemplatePostgres is the configuration file that pawl init --postgres writes:
// the store is a database. Nothing but store: is in force.
func TemplatePostgres(dsn string) []byte {
	quoted := "'" + strings.ReplaceAll(dsn, "'", "''") + "'"
	return []byte(strings.Replace(templatePostgres, "DSN", quoted, 1) + templateRest + "#\n" + commented(listener(DefaultListen)))
}

func commented(block string) string {
	lines := strings.SplitAfter(strings.TrimSuffix(block, "\n"), "\n")
	return "# " + strings.Join(lines, "# ") + "\n"
}

const template = `# Pawl's configuration. Every key: docs/configuration.md and config.example.yaml.
# Relative paths start at this file's folder. A running daemon reads the file
# again on SIGHUP.

store:
  sqlite:
    path: ` + DefaultDatabase + `
    key_file: ` + DefaultKeyFile + ` # back it up elsewhere: without it the secrets can't be read
`

const templatePostgres = `# Pawl's configuration. Every key: docs/configuration.md and config.example.yaml.
# Relative paths start at this file's folder. A running daemon reads the file
# again on SIGHUP. Every Pawl on this database needs this file and the same key.

store:
  postgres:
    dsn: DSN
    password_file: ` + DefaultPasswordFile + ` # mode 0600; leave it out where none is asked for
    key_file: ` + DefaultKeyFile + ` # back it up elsewhere: without it the secrets can't be read
    # max_connections: 16 # of each Pawl
`

const templateRest = `
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

# The API's listener, which is read at the start only. On loopback it can do
# without tls; pawl init --tls makes a certificate.
`

const templateAWS = `# Pawl's configuration. Every key: docs/configuration.md and config.example.yaml.
# The secrets stay in AWS Secrets Manager, and Pawl rotates them from here. A
# running daemon reads the file again on SIGHUP.

store:
  aws:
    region: REGION
    # profile: rotator # of ~/.aws; without it the environment's credentials
    # discover: true # rotate, too, what has the tag pawl:strategy or pawl:schedule

# What rotates, and when, by the secrets' names. A secret that AWS itself rotates
# is left alone: aws secretsmanager cancel-rotate-secret --secret-id NAME
#
# secrets:
#   - name: prod/app/db
#     schedule: rate(30 days) # or cron(0 2 ? * SUN *), in UTC; none = on demand only
#     window: 3h
#   - name: prod/shop/db
#     strategy: alternating-users # two users in turn: no login ever fails
#     superuser: prod/root

# Which superusers a secret may choose, by its tag pawl:superuser or the masterarn
# in its value.
#
# superusers:
#   - secret: prod/root
#     for: ["prod/*"]

# scheduler:
#   minimum_interval: 4h # lower it to rotate more often

# What becomes of rotations, one line of JSON each, as in CloudTrail.
#
# events:
#   file: pawl-events.jsonl
`
