package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
)

// TestBadInput is the table of what a person sees: each file with the exact
// text of its error.
func TestBadInput(t *testing.T) {
	const plain = "is not a loopback address, and without TLS whoever is on the way could read the secrets; " +
		"add server.tls (pawl init --tls makes a certificate), or insecure: true where a proxy in front does TLS"
	const noStore = "sqlite: {path: pawl.db, key_file: pawl.key}, postgres: {dsn: postgres://pawl@db.example.com/pawl, key_file: pawl.key}, or aws: {region: us-east-1}"
	key := func(keys string) string { return "store:\n  sqlite:\n    path: a\n    " + keys + "\n" }
	const atAWS = "it is AWS that calls functions for secrets at AWS; leave it out and use " +
		"aws secretsmanager rotate-secret --secret-id NAME --rotation-lambda-arn ARN"
	atStore := func(keys string) string { return "store: {aws: {" + keys + "}}\n" }
	named := func(keys string) string {
		return minimal + "functions:\n  named:\n    - name: crm\n      " + keys + "\n"
	}
	const arn = "arn:aws:lambda:eu-central-1:123456789012:function:"
	const lambdaForm = "arn:aws:lambda:REGION:ACCOUNT:function:NAME"
	entry := func(keys string) string { return minimal + "secrets:\n  - name: a\n    " + keys + "\n" }
	for _, c := range []struct{ name, text, want string }{
		// The file as a whole.
		{"empty", "",
			"pawl.yaml: store: is missing: Pawl does not know where the secrets are; write the file with pawl init, or add store: {sqlite: {path: pawl.db, key_file: pawl.key}}"},
		{"only comments", "# nothing\n",
			"pawl.yaml: store: is missing: Pawl does not know where the secrets are; write the file with pawl init, or add store: {sqlite: {path: pawl.db, key_file: pawl.key}}"},
		{"two documents", minimal + "---\n" + minimal,
			"pawl.yaml:3:6: a second document; a configuration is one document, without ---"},
		{"a list", "- a\n",
			"pawl.yaml: must be keys with values, not a list"},
		{"a word", "hello\n",
			"pawl.yaml: must be keys with values, not a single value"},
		{"not text", "store: \xff\n",
			"pawl.yaml: not a text file; save it as UTF-8"},
		{"a NUL byte", "store: \x00\n",
			"pawl.yaml: not a text file; save it as UTF-8"},
		{"too deep brackets", strings.Repeat("[", 50000),
			"pawl.yaml:1:33: nested more than 32 deep"},
		{"too deep items", strings.Repeat("- ", 50000),
			"pawl.yaml:1:65: nested more than 32 deep"},
		{"open quote", minimal + "secrets: [{name: 'a\n",
			"pawl.yaml:2:18: not valid YAML: could not find end character of single-quoted text"},
		{"open bracket", minimal + "secrets: [{name: a\n",
			"pawl.yaml:2:11: not valid YAML: could not find flow mapping end token '}'"},
		{"tab", minimal + "secrets:\n\t- name: a\n",
			"pawl.yaml:3:1: not valid YAML: found character TAB that cannot start any token"},
		{"reserved character", minimal + "secrets: `a`\n",
			"pawl.yaml:2:10: not valid YAML"},
		{"bad escape", minimal + "secrets: [{name: \"\\q\"}]\n",
			"pawl.yaml:2:20: not valid YAML"},

		// Keys and types.
		{"unknown key with a near one", entry("shedule: rate(1 day)"),
			`pawl.yaml:4: secrets[0].shedule: unknown key; did you mean "schedule"?`},
		{"unknown key in another spelling", entry("checkQuery: SELECT 1"),
			`pawl.yaml:4: secrets[0].checkQuery: unknown key; did you mean "check_query"?`},
		{"unknown key of another section", minimal + "workers: 3\n",
			"pawl.yaml:2: workers: unknown key here; it belongs under scheduler"},
		{"key of the listener's tls in an entry", entry("tls: {cert_file: x.pem}"),
			"pawl.yaml:4: secrets[0].tls.cert_file: unknown key here; it belongs under server.tls"},
		{"key of the top and a section too", entry("region: x"),
			"pawl.yaml:4: secrets[0].region: unknown key; known: name, function, strategy, superuser, schedule, window, propagation_timeout, tls, plain_password, password, engine, hosts, admin_host, check_query, adopt_clone"},
		{"key of tls and entry confused", entry("ca_file: x.pem"),
			"pawl.yaml:4: secrets[0].ca_file: unknown key here; it belongs under defaults.tls or regions.REGION or secrets.tls"},
		{"unknown key without a near one", entry("frobnicate: 3"),
			"pawl.yaml:4: secrets[0].frobnicate: unknown key; known: name, function, strategy, superuser, schedule, window, propagation_timeout, tls, plain_password, password, engine, hosts, admin_host, check_query, adopt_clone"},
		{"unknown key that looks like no key", entry("hunter2Xy: 3"),
			"pawl.yaml:4: secrets[0]: an unknown key, not shown here; known: name, function, strategy, superuser, schedule, window, propagation_timeout, tls, plain_password, password, engine, hosts, admin_host, check_query, adopt_clone"},
		{"key that is no text", entry("[a, b]: 3"),
			"pawl.yaml:4:11: not valid YAML: found an invalid key for this map"},
		{"duplicate key", entry("window: 1h\n    schedule: rate(1 day)\n    window: 2h"),
			"pawl.yaml:6: secrets[0].window: the key is there twice, first on line 4; keep one"},
		{"duplicate section", minimal + minimal,
			"pawl.yaml:2: store: the key is there twice, first on line 1; keep one"},
		{"merge key", minimal + "secrets:\n  - &a {name: a}\n  - <<: *a\n    name: b\n",
			"pawl.yaml:4: secrets[1].<<: merge keys are not supported; put what secrets share under defaults:"},
		{"alias without anchor", entry("hosts: *h"),
			"pawl.yaml:4: secrets[0].hosts: an alias (*) of an anchor (&) that is not defined above it"},
		{"tag", entry("engine: !!str x"),
			"pawl.yaml:4: secrets[0].engine: YAML tags (!) have no meaning here; leave it out"},
		{"list for text", entry("engine: [postgres]"),
			"pawl.yaml:4: secrets[0].engine: must be a single value, not a list"},
		{"mapping for text", entry("engine: {postgres: 1}"),
			"pawl.yaml:4: secrets[0].engine: must be a single value, not keys with values"},
		{"text for list", entry("hosts: replica"),
			`pawl.yaml:4: secrets[0].hosts: must be a list, not a single value; write [a, b], or one "- item" a line`},
		{"mapping in list of text", entry("hosts: [ok, {a: b}]"),
			"pawl.yaml:4: secrets[0].hosts[1]: must be a single value, not keys with values"},
		{"text for mapping", entry("tls: require"),
			"pawl.yaml:4: secrets[0].tls: must be keys with values, not a single value"},
		{"text for entries", minimal + "secrets: a\n",
			`pawl.yaml:2: secrets: must be a list, not a single value; write [a, b], or one "- item" a line`},
		{"text for entry", minimal + "secrets: [a, b]\n",
			"pawl.yaml:2: secrets[0]: must be keys with values, not a single value\n" +
				"pawl.yaml:2: secrets[1]: must be keys with values, not a single value"},
		{"text for number", minimal + "scheduler: {workers: many, per_target: 1.5}\n",
			"pawl.yaml:2: scheduler.workers: must be a whole number\n" +
				"pawl.yaml:2: scheduler.per_target: must be a whole number"},
		{"text for boolean", entry("adopt_clone: yes"),
			"pawl.yaml:4: secrets[0].adopt_clone: must be true or false"},
		{"nothing for a number", minimal + "scheduler:\n  workers:\n",
			"pawl.yaml:3: scheduler.workers: has no value; give it one, or leave the key out"},

		// Store, server, scheduler.
		{"store of an unknown kind", "store: {mysql: {}}\n",
			"pawl.yaml:1: store.mysql: unknown key; known: sqlite, postgres, aws\n" +
				"pawl.yaml:1: store: names no store; add " + noStore},
		{"store without a kind", "store: {}\n",
			"pawl.yaml:1: store: names no store; add " + noStore},
		{"two stores", "store:\n  postgres: {dsn: postgres://u@h/d, key_file: k}\n  sqlite: {path: a, key_file: k}\n",
			"pawl.yaml:2: store.postgres: and sqlite are both there; secrets have one store, keep one of them"},
		{"three stores", "store:\n  postgres: {dsn: postgres://u@h/d, key_file: k}\n  aws: {}\n",
			"pawl.yaml:3: store.aws: and postgres are both there; secrets have one store, keep one of them"},
		{"store without paths", "store: {sqlite: {}}\n",
			"pawl.yaml:1: store.sqlite.path: is missing; give it a path, which starts at this file's folder unless it is absolute\n" +
				"pawl.yaml:1: store.sqlite.key_file: is missing; give it a path, which starts at this file's folder unless it is absolute"},
		{"store without key", "store:\n  sqlite:\n    path: a\n",
			"pawl.yaml:2: store.sqlite.key_file: is missing; give it a path, which starts at this file's folder unless it is absolute"},
		{"key in two places", key("key_file: k\n    key_env: KEY"),
			"pawl.yaml:5: store.sqlite.key_env: and key_file are both there; the master key has one place, keep one of them"},
		{"key itself for its variable", key("key_env: 3q2+7w=="),
			"pawl.yaml:4: store.sqlite.key_env: must be the name of an environment variable, such as PAWL_KEY, and not the key itself"},
		{"a variable that Pawl unsets", key("key_env: PGP_KEY"),
			"pawl.yaml:4: store.sqlite.key_env: must not begin with PG: Pawl unsets those variables, lest PostgreSQL's settings in them be minded"},
		{"path for a credential", key("key_credential: /run/credentials/k"),
			"pawl.yaml:4: store.sqlite.key_credential: must be the name that LoadCredential= or LoadCredentialEncrypted= gives it in the systemd unit, such as pawl.key"},
		{"credential outside its folder", key("key_credential: .."),
			"pawl.yaml:4: store.sqlite.key_credential: must be the name that LoadCredential= or LoadCredentialEncrypted= gives it in the systemd unit, such as pawl.key"},
		{"command that is a line", key("key_command: pass show pawl"),
			`pawl.yaml:4: store.sqlite.key_command: must be a list, not a single value; write [a, b], or one "- item" a line`},
		{"command that is a line in a list", key("key_command: [pass show pawl]"),
			"pawl.yaml:4: store.sqlite.key_command[0]: no shell reads it; make each word an item of the list, such as [pass, show, pawl]"},
		{"command of nothing", key("key_command: []"),
			"pawl.yaml:4: store.sqlite.key_command: is empty; list the program and its arguments, such as [pass, show, pawl]"},
		{"command without a program", key("key_command: ['', show]"),
			"pawl.yaml:4: store.sqlite.key_command: is empty; list the program and its arguments, such as [pass, show, pawl]"},
		{"command in the home", key("key_command: [~/key]"),
			"pawl.yaml:4: store.sqlite.key_command[0]: ~ is not expanded; write the whole path"},
		{"store in the home", "store: {sqlite: {path: ~/a, key_file: k}}\n",
			"pawl.yaml:1: store.sqlite.path: ~ is not expanded; write the whole path"},
		{"database and key the same", "store: {sqlite: {path: a, key_file: ./a}}\n",
			"pawl.yaml:1: store.sqlite.key_file: is the same file as path; give the key a file of its own"},
		{"database without anything", "store: {postgres: {}}\n",
			"pawl.yaml:1: store.postgres.key_file: is missing; give it a path, which starts at this file's folder unless it is absolute\n" +
				"pawl.yaml:1: store.postgres.dsn: is missing: which database it is; write for example dsn: postgres://pawl@db.example.com/pawl"},
		{"database with a key it has not", "store: {postgres: {dsn: postgres://u@h/d, key_file: k, pasword_file: p}}\n",
			`pawl.yaml:1: store.postgres.pasword_file: unknown key; did you mean "password_file"?`},
		{"database that is no DSN", "store:\n  postgres:\n    dsn: hunter2\n    key_file: k\n",
			"pawl.yaml:3: store.postgres.dsn: has a part that is no key=value pair; quote a value with spaces in it: key='two words'"},
		{"two passwords", "store:\n  postgres:\n    dsn: postgres://u:hunter2@h/d\n    password_file: p\n    key_file: k\n",
			"pawl.yaml:3: store.postgres.dsn: has a password in it, and password_file is there too; take it out here"},
		{"two passwords elsewhere", "store:\n  postgres:\n    dsn: postgres://u@h/d\n    password_file: p\n    password_env: P\n    key_file: k\n",
			"pawl.yaml:5: store.postgres.password_env: and password_file are both there; the password has one place, keep one of them"},
		{"password itself for its variable", "store:\n  postgres:\n    dsn: postgres://u@h/d\n    password_env: hunter2!\n    key_file: k\n",
			"pawl.yaml:4: store.postgres.password_env: must be the name of an environment variable, such as PAWL_DB_PASSWORD, and not the password itself"},
		{"password in a variable that Pawl unsets", "store:\n  postgres:\n    dsn: postgres://u@h/d\n    password_env: PGPASSWORD\n    key_file: k\n",
			"pawl.yaml:4: store.postgres.password_env: must not begin with PG: Pawl unsets those variables, lest PostgreSQL's settings in them be minded"},
		{"password and key the same", "store: {postgres: {dsn: postgres://u@h/d, key_file: k, password_file: ./k}}\n",
			"pawl.yaml:1: store.postgres.password_file: is the same file as key_file; give the password a file of its own"},
		{"one connection", "store: {postgres: {dsn: postgres://u@h/d, key_file: k, max_connections: 1}}\n",
			"pawl.yaml:1: store.postgres.max_connections: must be from 2 to 1000"},
		{"regions that are none", minimal + "regions:\n  hunter2: {endpoint: https://a, credentials_file: c}\n",
			"pawl.yaml:3: regions: a key that is not the name of a region, not shown here; write for example us-east-1"},
		{"a region twice", minimal + "regions:\n  eu-west-1: {endpoint: https://a, credentials_file: c}\n  eu-west-1: {endpoint: https://b, credentials_file: c}\n",
			"pawl.yaml:4: regions.eu-west-1: the key is there twice, first on line 3; keep one"},
		{"a region with nothing", minimal + "regions: {eu-west-1: {}}\n",
			"pawl.yaml:2: regions.eu-west-1.credentials_file: is missing; give it a path, which starts at this file's folder unless it is absolute\n" +
				"pawl.yaml:2: regions.eu-west-1.endpoint: is missing: where the region's own Pawl serves the API; write for example endpoint: https://secrets.eu-west-1.example.com:4566"},
		{"a region in plain HTTP", minimal + "regions:\n  eu-west-1:\n    endpoint: http://secrets.example.com\n    credentials_file: c\n",
			"pawl.yaml:4: regions.eu-west-1.endpoint: must be https:// unless it is a loopback address: secrets go there in the clear"},
		{"a region with a password in its address", minimal + "regions: {eu-west-1: {endpoint: 'https://u:hunter2@a', credentials_file: c}}\n",
			"pawl.yaml:2: regions.eu-west-1.endpoint: must be the address of a Pawl server, such as https://secrets.eu-west-1.example.com:4566"},
		{"a region without its authority", minimal + "regions: {eu-west-1: {endpoint: https://a, credentials_file: c, ca_file: nothing.pem}}\n",
			"pawl.yaml:2: regions.eu-west-1.ca_file: can't be used: no such file or directory; a relative path starts at this file's folder"},
		{"one's own region", minimal + "regions: {us-east-1: {endpoint: https://a, credentials_file: c}}\n",
			"pawl.yaml:2: regions.us-east-1: is the region of this file's own secrets; replicas are in others, leave it out"},
		{"regions that are a list", minimal + "regions: [eu-west-1]\n",
			"pawl.yaml:2: regions: must be keys with values, not a list"},
		{"regions at AWS", atStore("") + "regions: {eu-west-1: {endpoint: https://a, credentials_file: c}}\n",
			"pawl.yaml:2: regions: is of no use with store.aws: AWS replicates secrets itself; leave it out"},
		{"negative numbers", minimal + "scheduler:\n  workers: -1\n  per_target: 0\n  minimum_interval: -4h\n",
			"pawl.yaml:3: scheduler.workers: must be from 1 to 1000\n" +
				"pawl.yaml:4: scheduler.per_target: must be from 1 to 1000\n" +
				"pawl.yaml:5: scheduler.minimum_interval: must be at least 1s"},
		{"minimum without unit", minimal + "scheduler: {minimum_interval: 4}\n",
			"pawl.yaml:2: scheduler.minimum_interval: must be a duration with its unit, such as 30s or 4h"},
		{"minimum in days", minimal + "scheduler: {minimum_interval: 1d}\nsecrets: [{name: a, schedule: rate(1 minute)}]\n",
			"pawl.yaml:2: scheduler.minimum_interval: must be a duration in h, m or s; there is no unit for days, write 168h for a week"},
		{"catch_up", minimal + "scheduler: {catch_up: nextday}\n",
			`pawl.yaml:2: scheduler.catch_up: must be next-day or now; did you mean "next-day"?`},
		{"account and region", minimal + "account: 12345678901\nregion: EU-west-1\n",
			"pawl.yaml:2: account: must be the 12 digits of an account, such as 123456789012\n" +
				"pawl.yaml:3: region: must be the name of a region, such as us-east-1"},
		{"no account and no region", minimal + "account:\nregion:\n",
			"pawl.yaml:2: account: must be the 12 digits of an account, such as 123456789012\n" +
				"pawl.yaml:3: region: must be the name of a region, such as us-east-1"},
		{"a region that is a sentence", minimal + "region: " + strings.Repeat("a-", 64) + "1\n",
			"pawl.yaml:2: region: must be the name of a region, such as us-east-1"},
		{"listen everywhere", minimal + "server: {listen: ':80'}\n",
			"pawl.yaml:2: server.listen: " + plain},
		{"listen on all addresses", minimal + "server: {listen: 0.0.0.0:80}\n",
			"pawl.yaml:2: server.listen: " + plain},
		{"listen on all IPv6 addresses", minimal + "server: {listen: '[::]:80', insecure: false}\n",
			"pawl.yaml:2: server.listen: " + plain},
		{"listen on a name", minimal + "server: {listen: example.com:80}\n",
			"pawl.yaml:2: server.listen: " + plain},
		{"listen nowhere", minimal + "server: {listen: }\n",
			"pawl.yaml:2: server.listen: must be a host or host:port; write for example 127.0.0.1:4566"},
		{"listen on no port", minimal + "server: {listen: ':'}\n",
			"pawl.yaml:2: server.listen: the port must be a number from 1 to 65535; write for example 127.0.0.1:4566"},
		{"TLS and plain HTTP", minimal + "server:\n  listen: ':80'\n  insecure: true\n  tls: {cert_file: c, key_file: k}\n",
			"pawl.yaml:4: server.insecure: contradicts tls; insecure is for plain HTTP: remove one of the two"},
		{"TLS without a listener", minimal + "server: {tls: {cert_file: c, key_file: k}}\n",
			"pawl.yaml:2: server.tls: means nothing without listen; add listen: 127.0.0.1:4566, or leave tls out"},
		{"TLS without files", minimal + "server: {listen: ':80', tls: {}}\n",
			"pawl.yaml:2: server.tls.cert_file: is missing; give it a path, which starts at this file's folder unless it is absolute\n" +
				"pawl.yaml:2: server.tls.key_file: is missing; give it a path, which starts at this file's folder unless it is absolute"},
		{"TLS in the home", minimal + "server: {listen: ':80', tls: {cert_file: ~/c, key_file: k}}\n",
			"pawl.yaml:2: server.tls.cert_file: ~ is not expanded; write the whole path"},
		{"TLS that is a word", minimal + "server: {listen: ':80', tls: on}\n",
			"pawl.yaml:2: server.tls: must be keys with values, not a single value"},
		{"client certificates without authorities", minimal + "server: {listen: ':80', tls: {cert_file: c, key_file: k, client_certificates: required}}\n",
			"pawl.yaml:2: server.tls.client_certificates: needs client_ca_file, the authorities that client certificates are checked by; add it, or leave this out"},
		{"client certificates of no kind", minimal + "server: {listen: ':80', tls: {cert_file: c, key_file: k, client_ca_file: a, client_certificates: require}}\n",
			`pawl.yaml:2: server.tls.client_certificates: must be optional or required; did you mean "required"?`},
		{"insecure that is no boolean", minimal + "server: {listen: ':80', insecure: maybe}\n",
			"pawl.yaml:2: server.insecure: must be true or false"},
		{"rate limits below none", minimal + "server: {rate_limits: -0.5}\n",
			"pawl.yaml:2: server.rate_limits: must be 0 (no limits) or more; 1 is AWS's quotas, 2 is twice them"},
		{"rate limits that are no number", minimal + "server: {rate_limits: .nan}\n",
			"pawl.yaml:2: server.rate_limits: must be a number"},
		{"rate limits in words", minimal + "server: {rate_limits: none}\n",
			"pawl.yaml:2: server.rate_limits: must be a number"},
		{"KMS in no region", minimal + "aws_kms: {region: Frankfurt}\n",
			"pawl.yaml:2: aws_kms.region: must be the name of a region, such as us-east-1"},
		{"KMS at no address", minimal + "aws_kms: {endpoint: kms.us-east-1.amazonaws.com}\n",
			"pawl.yaml:2: aws_kms.endpoint: must be the address of a server, such as https://kms.us-east-1.amazonaws.com"},
		{"KMS in the clear", minimal + "aws_kms: {endpoint: 'http://kms.example.com'}\n",
			"pawl.yaml:2: aws_kms.endpoint: must be https:// unless it is a loopback address: data keys go there and come back in the clear"},
		{"listen without port", minimal + "server: {listen: 127.0.0.1}\n",
			"pawl.yaml:2: server.listen: has no port; write for example 127.0.0.1:4566"},
		{"listen on port 0", minimal + "server: {listen: 127.0.0.1:0}\n",
			"pawl.yaml:2: server.listen: the port must be a number from 1 to 65535; write for example 127.0.0.1:4566"},

		// AWS as the store.
		{"two stores", "store:\n  aws: {}\n  sqlite: {path: a, key_file: k}\n",
			"pawl.yaml:2: store.aws: and sqlite are both there; secrets have one store, keep one of them"},
		{"AWS of nothing", "store:\n  aws:\n",
			"pawl.yaml:2: store.aws: has no value; write aws: {} for the region and credentials of the environment"},
		{"AWS that is a word", "store: {aws: eu-west-1}\n",
			"pawl.yaml:1: store.aws: must be keys with values, not a single value"},
		{"AWS in no region", atStore("region: Frankfurt"),
			"pawl.yaml:1: store.aws.region: must be the name of a region, such as us-east-1"},
		{"AWS in two regions", "region: eu-west-1\n" + atStore("region: eu-central-1"),
			"pawl.yaml:1: region: is another one than store.aws.region; leave it out here"},
		{"AWS in no region, above", "region: Frankfurt\n" + atStore(""),
			"pawl.yaml:1: region: must be the name of a region, such as us-east-1"},
		{"AWS at no address", atStore("endpoint: secretsmanager.us-east-1.amazonaws.com"),
			"pawl.yaml:1: store.aws.endpoint: must be the address of a server, such as https://secretsmanager.us-east-1.amazonaws.com"},
		{"AWS at a path", atStore("endpoint: 'https://example.com/aws'"),
			"pawl.yaml:1: store.aws.endpoint: must be the address of a server, such as https://secretsmanager.us-east-1.amazonaws.com"},
		{"AWS in the clear", atStore("endpoint: 'http://example.com'"),
			"pawl.yaml:1: store.aws.endpoint: must be https:// unless it is a loopback address: secrets go there and come back in the clear"},
		{"AWS too often", atStore("refresh: 1s, rate_limits: 1.5"),
			"pawl.yaml:1: store.aws.refresh: must be from 10s to 24h\n" +
				"pawl.yaml:1: store.aws.rate_limits: must be more than 0 and at most 1, which is all of the account's quotas"},
		{"AWS never", atStore("refresh: 25h, rate_limits: 0"),
			"pawl.yaml:1: store.aws.refresh: must be from 10s to 24h\n" +
				"pawl.yaml:1: store.aws.rate_limits: must be more than 0 and at most 1, which is all of the account's quotas"},
		{"AWS by maybe", atStore("discover: maybe"),
			"pawl.yaml:1: store.aws.discover: must be true or false"},
		{"AWS misspelt", atStore("regoin: eu-west-1"),
			`pawl.yaml:1: store.aws.regoin: unknown key; did you mean "region"?`},
		{"AWS with what it knows and does itself", atStore("") + "account: 123456789012\nserver: {listen: ':80', rate_limits: 2}\naws_kms: {}\nfunctions: {named: [{}]}\nsecrets:\n  - name: a\n    function: crm\n    engine: mysql\n",
			"pawl.yaml:2: account: is of no use with store.aws: the account is that of the AWS credentials; leave it out\n" +
				"pawl.yaml:3: server.listen: is of no use with store.aws: AWS serves the API itself; leave it out\n" +
				"pawl.yaml:4: aws_kms: is of no use with store.aws: AWS encrypts each secret by the key it has there (KmsKeyId); leave it out\n" +
				"pawl.yaml:5: functions: is of no use with store.aws: " + atAWS + "\n" +
				"pawl.yaml:8: secrets[0].function: is of no use with store.aws: " + atAWS + "\n" +
				"pawl.yaml:9: secrets[0].engine: means nothing with function, which does the steps by itself; leave it out"},
		{"AWS with a server that listens nowhere", atStore("") + "server: {rate_limits: 2}\n",
			"pawl.yaml:2: server: is of no use with store.aws: AWS serves the API itself; leave it out"},

		// Functions.
		{"functions at no address", minimal + "functions: {endpoint: 'lambda:9001'}\n",
			"pawl.yaml:2: functions.endpoint: must be the address of a server, such as https://lambda.us-east-1.amazonaws.com"},
		{"functions in the clear", minimal + "functions: {endpoint: 'http://10.0.0.1:9001'}\n",
			"pawl.yaml:2: functions.endpoint: must be https:// unless it is a loopback address: requests there carry what lets a function finish a rotation"},
		{"functions allowed that are none", minimal + "functions:\n  allow:\n    - rotate-*\n    - '*'\n    - arn:aws:iam::123456789012:role/*\n    - arn:aws:lambda:eu-central-1:function:rotate\n    - " + arn + "rotate-*\n    - " + arn + "a:live\n",
			"pawl.yaml:4: functions.allow[0]: must be the ARN of a Lambda function, " + lambdaForm + ", in which * stands for any characters\n" +
				"pawl.yaml:5: functions.allow[1]: must be the ARN of a Lambda function, " + lambdaForm + ", in which * stands for any characters\n" +
				"pawl.yaml:6: functions.allow[2]: must be the ARN of a Lambda function, " + lambdaForm + ", in which * stands for any characters\n" +
				"pawl.yaml:7: functions.allow[3]: must be the ARN of a Lambda function, " + lambdaForm + ", in which * stands for any characters"},
		{"functions without a name", minimal + "functions:\n  named:\n    - command: [a]\n    - {name: a b, command: [a]}\n    - {name: pawl-mine, command: [a]}\n",
			"pawl.yaml:4: functions.named[0].name: is missing; every function has a name, by which an entry of secrets chooses it\n" +
				"pawl.yaml:5: functions.named[1].name: must have 1 to 64 letters, digits or any of -_\n" +
				"pawl.yaml:6: functions.named[2].name: must not begin with pawl-: those functions are Pawl's own"},
		{"functions of one name", minimal + "functions:\n  named:\n    - {name: a, command: [a]}\n    - {name: b, command: [b]}\n    - {name: a, command: [c]}\n",
			`pawl.yaml:6: functions.named[2].name: the name "a" is there twice, first on line 4; keep one`},
		{"function of nothing", named("timeout: 5m"),
			"pawl.yaml:4: functions.named[0]: has neither command nor url; add the one by which it is called"},
		{"function of both", named("command: [a]\n      url: https://a/b\n      key_file: k"),
			"pawl.yaml:6: functions.named[0].url: and command are both there; a function is one of the two, keep one of them"},
		{"function too quick", named("command: [a]\n      timeout: 500ms"),
			"pawl.yaml:6: functions.named[0].timeout: must be from 1s to 15m"},
		{"function too slow", named("command: [a]\n      timeout: 16m"),
			"pawl.yaml:6: functions.named[0].timeout: must be from 1s to 15m"},
		{"function by a line", named("command: rotate --prod"),
			`pawl.yaml:5: functions.named[0].command: must be a list, not a single value; write [a, b], or one "- item" a line`},
		{"function by a line in a list", named("command: [rotate --prod]"),
			"pawl.yaml:5: functions.named[0].command[0]: no shell reads it; make each word an item of the list, such as [/usr/local/libexec/rotate-crm, --prod]"},
		{"function by no words", named("command: []"),
			"pawl.yaml:5: functions.named[0].command: is empty; list the program and its arguments, such as [/usr/local/libexec/rotate-crm, --prod]"},
		{"function in the home", named("command: [~/rotate]"),
			"pawl.yaml:5: functions.named[0].command[0]: ~ is not expanded; write the whole path"},
		{"command with what a URL has", named("command: [a]\n      key_file: k"),
			"pawl.yaml:6: functions.named[0].key_file: means nothing with command, which is not called over the network; leave it out"},
		{"command with a role that is none", named("command: [a]\n      role: arn:aws:iam::123456789012:role/a"),
			"pawl.yaml:6: functions.named[0].role: must be the name of a role, as in pawl access create NAME --role"},
		{"command with an environment full of mistakes", named("command: [a]\n      role: r\n      environment: [A=1, A, '=2', a b=3, \"B=\\0\", PGHOST, PGPORT=1, {C: 4}, AWS_PROFILE=x, AWS_REGION]"),
			"pawl.yaml:7: functions.named[0].environment[7]: must be a single value, not keys with values\n" +
				"pawl.yaml:7: functions.named[0].environment[1]: the variable is there twice, first as number 1; keep one\n" +
				"pawl.yaml:7: functions.named[0].environment[2]: must be NAME=value, or NAME alone for the value in Pawl's own environment\n" +
				"pawl.yaml:7: functions.named[0].environment[3]: must be NAME=value, or NAME alone for the value in Pawl's own environment\n" +
				"pawl.yaml:7: functions.named[0].environment[4]: holds a NUL character, which no variable can\n" +
				"pawl.yaml:7: functions.named[0].environment[5]: must have its value here, as NAME=value: Pawl unsets variables that begin with PG, lest PostgreSQL's settings in them be minded\n" +
				"pawl.yaml:7: functions.named[0].environment[8]: contradicts role, whose credentials the command gets; remove one of the two"},
		{"URL without a key", named("url: https://a.example.com/b"),
			"pawl.yaml:4: functions.named[0].key_file: is missing; give it a path, which starts at this file's folder unless it is absolute"},
		{"URL in the clear", named("url: http://a.example.com/b\n      key_file: k"),
			"pawl.yaml:5: functions.named[0].url: must be https:// unless it is a loopback address: requests there carry what lets a function finish a rotation"},
		{"URL with a key in it", named("url: https://a.example.com/b?code=123\n      key_file: k"),
			"pawl.yaml:5: functions.named[0].url: must be https://HOST/PATH, without a user name, a query or a fragment: the signature says who calls"},
		{"URL with what a command has", named("url: https://a.example.com/b\n      key_file: k\n      role: r\n      environment: [A=1]"),
			"pawl.yaml:7: functions.named[0].role: means nothing with url: what answers there has credentials of its own; leave it out\n" +
				"pawl.yaml:8: functions.named[0].environment: means nothing with url; leave it out"},
		{"function in defaults", minimal + "defaults: {function: crm}\n",
			"pawl.yaml:2: defaults.function: unknown key here; it belongs under secrets"},
		{"function that is none, with a near one", named("command: [a]") + "secrets: [{name: a, function: cmr}]\n",
			`pawl.yaml:6: secrets[0].function: unknown function; did you mean "crm"?`},
		{"function that is none", named("command: [a]") + "secrets: [{name: a, function: billing}]\n",
			"pawl.yaml:6: secrets[0].function: unknown function; known: crm"},
		{"function where there are none", entry("function: crm"),
			"pawl.yaml:4: secrets[0].function: unknown function; describe it in functions.named, or give the ARN of a Lambda function"},
		{"function of no name", entry("function:"),
			"pawl.yaml:4: secrets[0].function: must be a name of functions.named, or the ARN of a Lambda function, " + lambdaForm},
		{"function that is a role", entry("function: arn:aws:iam::123456789012:role/a"),
			"pawl.yaml:4: secrets[0].function: must be a name of functions.named, or the ARN of a Lambda function, " + lambdaForm},
		{"function that is a list", entry("function: [a]"),
			"pawl.yaml:4: secrets[0].function: must be a single value, not a list"},
		{"function of Pawl's own", entry("function: pawl-single-user"),
			"pawl.yaml:4: secrets[0].function: is Pawl's own and no custom function; write strategy: single-user instead"},
		{"function of Pawl's own by ARN", minimal + "functions: {}\nsecrets: [{name: a, function: '" + arn + "pawl-alternating-users'}]\n",
			"pawl.yaml:3: secrets[0].function: is Pawl's own and no custom function; write strategy: alternating-users instead"},
		{"Lambda function without functions", entry("function: " + arn + "crm:live"),
			`pawl.yaml:4: secrets[0].function: is a Lambda function, and the file does not say that Pawl may call any; add functions: {allow: ["` + arn + `crm:live"]}`},
		{"Lambda function that is not allowed", minimal + "functions: {allow: ['" + arn + "rotate-*']}\nsecrets: [{name: a, function: '" + arn + "crm'}]\n",
			`pawl.yaml:3: secrets[0].function: is not among the Lambda functions that Pawl may call; add "` + arn + `crm" to functions.allow`},
		{"Lambda function where none is allowed", minimal + "functions: {allow: []}\nsecrets: [{name: a, function: '" + arn + "crm'}]\n",
			`pawl.yaml:3: secrets[0].function: is not among the Lambda functions that Pawl may call; add "` + arn + `crm" to functions.allow`},
		{"function and all that Pawl does itself", named("command: [a]") + "secrets:\n  - name: a\n    function: crm\n" +
			"    strategy: nonsense\n    superuser:\n    propagation_timeout: 0s\n    tls: {mode: x}\n    plain_password: deny\n    password: {length: 0}\n    engine: crm\n    hosts: ['?']\n    admin_host: '?'\n    check_query: a\n    adopt_clone: false\n    window: 1h\n    schedule: rate(1 hour)\n",
			func() (text string) {
				for i, name := range []string{"strategy", "superuser", "propagation_timeout", "tls", "plain_password", "password", "engine", "hosts", "admin_host", "check_query", "adopt_clone"} {
					text += fmt.Sprintf("pawl.yaml:%d: secrets[0].%s: means nothing with function, which does the steps by itself; leave it out\n", 9+i, name)
				}
				return text + `pawl.yaml:21: secrets[0].schedule: rate "1 hour": windows would open 1h apart, must be at least 4h; leave at least 4h between windows, or lower scheduler.minimum_interval in the configuration file`
			}()},
		{"function with a window and no schedule", named("command: [a]") + "secrets: [{name: a, function: crm, window: 1h}]\n",
			"pawl.yaml:6: secrets[0].window: means nothing without a schedule; add one, or leave the window out"},

		// Events.
		{"events nowhere", minimal + "events: {file: }\n",
			"pawl.yaml:2: events.file: is missing; give it a path, which starts at this file's folder unless it is absolute"},
		{"events in the home", minimal + "events: {file: ~/e}\n",
			"pawl.yaml:2: events.file: ~ is not expanded; write the whole path"},
		{"events over the database", minimal + "events: {file: ./pawl.db}\n",
			"pawl.yaml:2: events.file: is the same file as store.sqlite.path; give the events a file of their own"},
		{"events over the key", minimal + "events: {file: ./pawl.key}\n",
			"pawl.yaml:2: events.file: is the same file as store.sqlite.key_file; give the events a file of their own"},
		{"events over the file", atStore("") + "events: {file: pawl.yaml}\n",
			"pawl.yaml:2: events.file: is the same file as this configuration file; give the events a file of their own"},
		{"events over a certificate", minimal + "events: {file: c}\nserver: {listen: ':80', tls: {cert_file: c, key_file: k}}\n",
			"pawl.yaml:2: events.file: is the same file as server.tls.cert_file; give the events a file of their own"},
		{"events over a function's key", named("url: https://a/b\n      key_file: k") + "events: {file: k}\n",
			"pawl.yaml:7: events.file: is the same file as the key_file of a function; give the events a file of their own"},

		// Names and superusers.
		{"entry without name", minimal + "secrets:\n  - engine: mysql\n",
			"pawl.yaml:3: secrets[0].name: is missing; every entry names its secret"},
		{"empty name", minimal + "secrets: [{name: }]\n",
			"pawl.yaml:2: secrets[0].name: must have 1 to 512 letters, digits or any of -/_+=.@!"},
		{"bad name", minimal + "secrets: [{name: a b}, {name: a b}]\n",
			"pawl.yaml:2: secrets[0].name: must have 1 to 512 letters, digits or any of -/_+=.@!\n" +
				"pawl.yaml:2: secrets[1].name: must have 1 to 512 letters, digits or any of -/_+=.@!"},
		{"duplicate names", minimal + "secrets:\n  - name: a\n  - name: b\n  - engine: mysql\n    name: a\n",
			`pawl.yaml:6: secrets[2].name: the name "a" is there twice, first on line 3; keep one entry`},
		{"alternating without superuser", entry("strategy: alternating-users"),
			"pawl.yaml:4: secrets[0].strategy: alternating-users needs a superuser; add superuser: NAME, or a pairing in superusers: whose for: covers this secret"},
		{"alternating by default without superuser", minimal + "defaults: {strategy: alternating-users}\nsecrets: [{name: a}]\n",
			"pawl.yaml:3: secrets[0]: alternating-users needs a superuser; add superuser: NAME, or a pairing in superusers: whose for: covers this secret"},
		{"alternating outside the pairing", minimal + "superusers: [{secret: root, for: [b]}]\nsecrets: [{name: a, strategy: alternating-users}]\n",
			"pawl.yaml:3: secrets[0].strategy: alternating-users needs a superuser; add superuser: NAME, or a pairing in superusers: whose for: covers this secret"},
		{"its own superuser", entry("superuser: a"),
			"pawl.yaml:4: secrets[0].superuser: a secret can't be its own superuser; leave it out, and the user changes his password himself"},
		{"bad superuser", entry("superuser: 'a b'"),
			"pawl.yaml:4: secrets[0].superuser: must be the name or ARN of a secret"},
		{"pairing without for", minimal + "superusers: [{secret: root}]\n",
			`pawl.yaml:2: superusers[0].for: is missing; list the names of the secrets that may choose this superuser, such as ["prod/*"]`},
		{"pairing without secret", minimal + "superusers: [{for: ['*']}]\n",
			"pawl.yaml:2: superusers[0].secret: is missing; name the superuser's secret"},
		{"pairing full of mistakes", minimal + "superusers:\n  - secret: arn:aws:s3:x\n    for: ['a b', '']\n    hosts: ['a b']\n",
			"pawl.yaml:3: superusers[0].secret: must be the name or ARN of a secret\n" +
				"pawl.yaml:4: superusers[0].for[0]: must be a secret's name, in which * stands for any characters\n" +
				"pawl.yaml:4: superusers[0].for[1]: must be a secret's name, in which * stands for any characters\n" +
				"pawl.yaml:5: superusers[0].hosts[0]: must be a host or host:port"},

		// Rules.
		{"strategy", entry("strategy: alternating"),
			`pawl.yaml:4: secrets[0].strategy: must be single-user or alternating-users; did you mean "alternating-users"?`},
		{"strategy misspelt", entry("strategy: singel_user"),
			`pawl.yaml:4: secrets[0].strategy: must be single-user or alternating-users; did you mean "single-user"?`},
		{"schedule that is none", entry("schedule: hunter2"),
			"pawl.yaml:4: secrets[0].schedule: must be rate(…) or cron(…); write rate(30 days) or cron(0 2 ? * SUN *)"},
		{"schedule under the minimum", entry("schedule: rate(2 hours)"),
			`pawl.yaml:4: secrets[0].schedule: rate "2 hours": windows would open 2h apart, must be at least 4h; leave at least 4h between windows, or lower scheduler.minimum_interval in the configuration file`},
		{"schedule in minutes", entry("schedule: rate(10 minutes)"),
			`pawl.yaml:4: secrets[0].schedule: unit "minutes": must be hours or days while windows must be 4h apart; write rate(4 hours), or lower scheduler.minimum_interval in the configuration file`},
		{"cron under the minimum", minimal + "scheduler: {minimum_interval: 8h}\nsecrets: [{name: a, schedule: cron(0 /6 * * ? *)}]\n",
			`pawl.yaml:3: secrets[0].schedule: minutes "0" and hours "/6": windows would open 6h apart, must be at least 8h; leave at least 8h between windows, or lower scheduler.minimum_interval in the configuration file`},
		{"cron with five fields", entry("schedule: cron(0 2 * * ?)"),
			"pawl.yaml:4: secrets[0].schedule: has 5 fields, must have six: minutes hours day-of-month month day-of-week year; write cron(0 10 * * ? *) for every day at 10:00 UTC"},
		{"bad schedule in defaults, once", minimal + "defaults: {schedule: rate(0 days)}\nsecrets: [{name: a}, {name: b}]\n",
			`pawl.yaml:2: defaults.schedule: rate "0": must be from 1 to 999 for days; write rate(30 days)`},
		{"window", entry("schedule: rate(1 day)\n    window: 90m"),
			"pawl.yaml:5: secrets[0].window: must be whole hours, from 1h to 24h; write for example 3h"},
		{"window too long", entry("schedule: cron(0 22 * * ? *)\n    window: 3h"),
			"pawl.yaml:5: secrets[0].window: window 3h: reaches into the next UTC day, which begins 2h after the last window of cron(0 22 * * ? *) opens; write 2h or less"},
		{"window of defaults too long", minimal + "defaults: {window: 6h}\nsecrets: [{name: a, schedule: rate(4 hours)}]\n",
			"pawl.yaml:3: secrets[0].schedule: window 6h: reaches into the next window of rate(4 hours), which opens 4h later; write 4h or less"},
		{"window without schedule", entry("window: 3h"),
			"pawl.yaml:4: secrets[0].window: means nothing without a schedule; add one, or leave the window out"},
		{"propagation without unit", entry("propagation_timeout: 30"),
			"pawl.yaml:4: secrets[0].propagation_timeout: must be a duration with its unit, such as 30s or 4h"},
		{"propagation nonsense", entry("propagation_timeout: soon"),
			"pawl.yaml:4: secrets[0].propagation_timeout: must be a duration such as 30s, 5m or 4h"},
		{"propagation negative", entry("propagation_timeout: -1s"),
			"pawl.yaml:4: secrets[0].propagation_timeout: must be more than 0s and at most 1h"},
		{"propagation too long", entry("propagation_timeout: 2h"),
			"pawl.yaml:4: secrets[0].propagation_timeout: must be more than 0s and at most 1h"},
		{"tls mode", entry("tls: {mode: verify_full}"),
			`pawl.yaml:4: secrets[0].tls.mode: must be disable, require, verify-ca or verify-full; did you mean "verify-full"?`},
		{"tls mode of MySQL", entry("tls: {mode: preferred}"),
			"pawl.yaml:4: secrets[0].tls.mode: must be disable, require, verify-ca or verify-full"},
		{"CA file missing", entry("tls: {ca_file: none.pem}"),
			"pawl.yaml:4: secrets[0].tls.ca_file: can't be used: no such file or directory; a relative path starts at this file's folder"},
		{"CA file no PEM", entry("tls: {ca_file: pawl.yaml}"),
			"pawl.yaml:4: secrets[0].tls.ca_file: can't be used: it holds no PEM certificate; a relative path starts at this file's folder"},
		{"CA file in the home", entry("tls: {ca_file: ~/ca.pem}"),
			"pawl.yaml:4: secrets[0].tls.ca_file: ~ is not expanded; write the whole path"},
		{"CA file without verification", entry("tls: {ca_file: none.pem, mode: require}"),
			"pawl.yaml:4: secrets[0].tls.ca_file: is of no use with mode require, which verifies nothing; use verify-ca or verify-full, or leave it out\n" +
				"pawl.yaml:4: secrets[0].tls.ca_file: can't be used: no such file or directory; a relative path starts at this file's folder"},
		{"plain_password", entry("plain_password: maybe"),
			"pawl.yaml:4: secrets[0].plain_password: must be allow or deny"},
		{"hosts", entry("hosts: ['', 'a:0', 'a:b', '::1', '[::1', '[1.2.3.4]', '[::1]5', 'a/b', 'postgres://a', -a, 'a:+1']"),
			"pawl.yaml:4: secrets[0].hosts[0]: must be a host or host:port\n" +
				"pawl.yaml:4: secrets[0].hosts[1]: the port must be a number from 1 to 65535\n" +
				"pawl.yaml:4: secrets[0].hosts[2]: the port must be a number from 1 to 65535\n" +
				"pawl.yaml:4: secrets[0].hosts[3]: an IPv6 address stands in brackets: [::1] or [::1]:5432\n" +
				"pawl.yaml:4: secrets[0].hosts[4]: there is no IPv6 address between the brackets\n" +
				"pawl.yaml:4: secrets[0].hosts[5]: there is no IPv6 address between the brackets\n" +
				"pawl.yaml:4: secrets[0].hosts[6]: must be a host or host:port\n" +
				"pawl.yaml:4: secrets[0].hosts[7]: must be a host or host:port\n" +
				"pawl.yaml:4: secrets[0].hosts[8]: must be a host or host:port\n" +
				"pawl.yaml:4: secrets[0].hosts[9]: must be a host or host:port\n" +
				"pawl.yaml:4: secrets[0].hosts[10]: the port must be a number from 1 to 65535"},
		{"admin_host", entry("admin_host: a:70000"),
			"pawl.yaml:4: secrets[0].admin_host: the port must be a number from 1 to 65535"},
		{"password length", entry("password: {length: 0}"),
			"pawl.yaml:4: secrets[0].password.length: must be from 1 to 4096"},
		{"password too long", entry("password: {length: 5000}"),
			"pawl.yaml:4: secrets[0].password.length: must be from 1 to 4096"},
		{"password too short", entry("password: {length: 3}"),
			"pawl.yaml:4: secrets[0].password: length is too short for one character of each type; make it longer, or set require_each_included_type: false"},
		{"password of nothing", entry("password: {exclude_numbers: true, exclude_punctuation: true, exclude_uppercase: true, exclude_lowercase: true}"),
			"pawl.yaml:4: secrets[0].password: no character is left to make a password of; exclude less"},
		{"password without a type", entry("password: {exclude_characters: '0123456789'}"),
			"pawl.yaml:4: secrets[0].password: exclude_characters takes away every character of a type; exclude the type, or set require_each_included_type: false"},
		{"password with defaults", minimal + "defaults: {password: {length: 2, require_each_included_type: false}}\nsecrets: [{name: a, password: {require_each_included_type: true}}]\n",
			"pawl.yaml:3: secrets[0].password: length is too short for one character of each type; make it longer, or set require_each_included_type: false"},

		{"all at once", "defaults: {strategy: x}\nstore: {sqlite: {path: a}}\nsecrets:\n  - {name: '?', engin: mysql}\n  - name: b\n    window: 3\n",
			"pawl.yaml:1: defaults.strategy: must be single-user or alternating-users\n" +
				"pawl.yaml:2: store.sqlite.key_file: is missing; give it a path, which starts at this file's folder unless it is absolute\n" +
				`pawl.yaml:4: secrets[0].engin: unknown key; did you mean "engine"?` + "\n" +
				"pawl.yaml:4: secrets[0].name: must have 1 to 512 letters, digits or any of -/_+=.@!\n" +
				"pawl.yaml:6: secrets[1].window: must be whole hours, from 1h to 24h; write for example 3h"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.text)
			if err == nil {
				t.Fatal("no error")
			}
			if k := secrets.KindOf(err); k != secrets.Invalid {
				t.Errorf("kind %v", k)
			}
			if diff := cmp.Diff(strings.Split(c.want, "\n"), strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("want - got +\n%s", diff)
			}
		})
	}
}
