package replica

import (
	"strings"
	"testing"

	"github.com/pawlhq/pawl/secrets"
)

func TestCredentialsFiles(t *testing.T) {
	const id, secret, token = "PAWLAKID", "s3cr=t/+", "t0ken"
	for name, c := range map[string]struct {
		text  string
		token string
		bad   string // a part of the error; "" = good
	}{
		"of access create --json":     {`{"Name":"x","Credentials":{"Version":1,"AccessKeyId":"PAWLAKID","SecretAccessKey":"s3cr=t/+","Arn":"a"}}`, "", ""},
		"of access rotate-key --json": {`{"AccessKeyId":"PAWLAKID","SecretAccessKey":"s3cr=t/+"}`, "", ""},
		"for a shell":                 {"export AWS_ACCESS_KEY_ID=PAWLAKID\nexport AWS_SECRET_ACCESS_KEY=s3cr=t/+\nunset AWS_SESSION_TOKEN\n", "", ""},
		"of a session":                {"# for a day\nAWS_ACCESS_KEY_ID='PAWLAKID'\r\nAWS_SECRET_ACCESS_KEY=\"s3cr=t/+\"\n\nexport AWS_SESSION_TOKEN=t0ken", token, ""},
		"half":                        {"export AWS_ACCESS_KEY_ID=PAWLAKID", "", "no access key"},
		"half JSON":                   {`{"AccessKeyId":"PAWLAKID","SecretAcc`, "", "not JSON"},
		"a secret alone":              {secret + "\n" + strings.ReplaceAll(secret, "=", ""), "", "not NAME=VALUE"},
		"something else":              {`{"password":"s3cr=t/+"}`, "", "no access key"},
	} {
		k, err := parse(secrets.NewPassword(c.text))
		switch {
		case c.bad != "":
			if err == nil || !strings.Contains(err.Error(), c.bad) || strings.Contains(err.Error(), "s3cr") {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || k.id != id || k.secret.Reveal() != secret || k.token.Reveal() != c.token:
			t.Errorf("%s: %v, id %q", name, err, k.id)
		}
	}
}
