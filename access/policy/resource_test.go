package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func allowTo(principal string) string {
	return document(`{"Effect": "Allow", "Principal": ` + principal + `, "Action": "secretsmanager:GetSecretValue", "Resource": "*"}`)
}

func TestPrincipals(t *testing.T) {
	const (
		principal = "This resource policy contains an unsupported principal."
		service   = "This resource policy contains an unsupported service principal."
	)
	for _, c := range []struct{ principal, text string }{
		{`"*"`, ""},
		{`{"AWS": "*"}`, ""},
		{`{"AWS": "111122223333"}`, ""},
		{`{"AWS": ["arn:aws:iam::111122223333:root", "arn:aws-cn:iam::111122223333:user/alice"]}`, ""},
		{`{"AWS": "arn:aws-us-gov:iam::111122223333:role/team/sub/app+x=1,@y.z_-"}`, ""},
		{`{"AWS": "arn:aws:sts::111122223333:assumed-role/app/i-0123"}`, ""},
		{`{"AWS": "arn:aws:sts::111122223333:federated-user/bob"}`, ""},
		{`{"Service": "lambda.amazonaws.com"}`, ""},
		{`{"Service": ["logs.eu-west-1.amazonaws.com", "delivery.logs.amazonaws.com", "ec2.amazonaws.com.cn"]}`, ""},
		{`{"AWS": "111122223333", "Service": "rds.amazonaws.com"}`, ""},

		{`{"AWS": "1111222233334"}`, principal},
		{`{"AWS": "alice"}`, principal},
		{`{"AWS": "AIDAEXAMPLEEXAMPLE"}`, principal}, // what AWS shows for a deleted user
		{`{"AWS": "arn:aws:iam::111122223333:role/*"}`, principal},
		{`{"AWS": "arn:aws:iam::111122223333:role/a*/b"}`, principal},
		{`{"AWS": "arn:aws:iam::*:root"}`, principal},
		{`{"AWS": "arn:aws:iam::111122223333:*"}`, principal},
		{`{"AWS": "arn:aws:iam::111122223333:group/g"}`, principal},
		{`{"AWS": "arn:aws:iam:us-east-1:111122223333:root"}`, principal},
		{`{"AWS": "arn:aws:iam::111122223333:user/"}`, principal},
		{`{"AWS": "arn:aws:sts::111122223333:assumed-role/app"}`, principal},
		{`{"AWS": "arn:aws:s3:::bucket"}`, principal},
		{`{"AWS": ["111122223333", "x"]}`, principal},
		{`{"AWS": "lambda.amazonaws.com"}`, principal},
		{`{"Federated": "cognito-identity.amazonaws.com"}`, principal},
		{`{"CanonicalUser": "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"}`, principal},
		{`{"Service": "lambda.example.com"}`, service},
		{`{"Service": "lambda"}`, service},
		{`{"Service": "*"}`, service},
		{`{"Service": "*.amazonaws.com"}`, service},
		{`{"Service": "Lambda.amazonaws.com"}`, service},
		{`{"Service": ["lambda.amazonaws.com", "https://x.amazonaws.com"]}`, service},
	} {
		for _, kind := range []string{"Principal", "NotPrincipal"} {
			_, err := ParseResource(strings.Replace(allowTo(c.principal), "Principal", kind, 1))
			want := c.text
			if kind == "NotPrincipal" && want == "" && strings.Contains(c.principal, `"*"`) {
				want = principal
			}
			wantText(t, kind+" "+c.principal, err, want)
			if err != nil && !strings.HasPrefix(err.Error(), "Statement[0]."+kind) {
				t.Errorf("does not say where: %v", err)
			}
		}
	}
}

func wantText(t *testing.T, name string, err error, text string) {
	t.Helper()
	var e *Error
	switch {
	case text == "" && err == nil:
	case !errors.As(err, &e) || e.AWS() != text:
		t.Errorf("%s: got %v, want %q", name, err, text)
	}
}

func TestActionsOnASecret(t *testing.T) {
	const no = "This resource policy contains a syntax error."
	for action, text := range map[string]string{
		"*": "", "*:*": "", "secretsmanager:*": "", "SecretsManager:getsecretvalue": "", "secretsmanager:Get*": "", "secretsmanager:?etSecretValue": "",
		"s3:GetObject": no, "s3:*": no, "secretsmanager:GetSecrets": no, "secretsmanager:": no, "GetSecretValue": no, "secrets*:GetSecretValue": no,
	} {
		for _, kind := range []string{"Action", "NotAction"} {
			_, err := ParseResource(document(fmt.Sprintf(`{"Effect": "Allow", "Principal": "*", %q: [%q], "Resource": "*"}`, kind, action)))
			wantText(t, kind+" "+action, err, text)
		}
	}
	if len(actions) != 23 {
		t.Errorf("%d actions", len(actions))
	}
	for _, a := range actions {
		_, err := ParseResource(document(fmt.Sprintf(`{"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:%s", "Resource": "*"}`, a)))
		wantText(t, a, err, "")
	}
}

func TestWhatAPolicyOnASecretNeeds(t *testing.T) {
	for document, want := range map[string]string{
		document(`{"Effect": "Allow", "Action": "*", "Resource": "*"}`):                      "Statement[0] has no Principal: a policy on a secret says whom it is about",
		document(allow(""), `{"Effect": "Allow", "Principal": "*", "Action": "*"}`):          `Statement[1] has no Resource: write "*", which is the secret itself`,
		document(`{"Effect": "Nothing"}`):                                                    `Statement[0].Effect is "Nothing", neither Allow nor Deny`,
		document(`{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}`): `Statement[0] has the action "s3:*", which is none of Secrets Manager's (secretsmanager:GetSecretValue, secretsmanager:*)`,
	} {
		_, err := ParseResource(document)
		wantText(t, document, err, "This resource policy contains a syntax error.")
		if err != nil && err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if _, err := ParseResource(document(`{"Effect": "Allow", "NotPrincipal": {"AWS": "111122223333"}, "NotAction": "secretsmanager:DeleteSecret", "NotResource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:x-AbCdEf"}`)); err != nil {
		t.Error(err)
	}
}

func TestParseIdentity(t *testing.T) {
	for _, c := range []struct{ statement, want string }{
		{`{"Effect": "Allow", "Action": "*", "Resource": "*"}`, ""},
		{`{"Effect": "Deny", "NotAction": "s3:*", "NotResource": "arn:aws:s3:::b"}`, ""},
		{`{"Effect": "Allow", "Action": "*"}`, `Statement[1] has no Resource: write an ARN, or "*" for all`},
		{`{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}`, "Statement[1] has a Principal: this policy is about whom it is attached to"},
		{`{"Effect": "Deny", "NotPrincipal": {"AWS": "111122223333"}, "Action": "*", "Resource": "*"}`, "Statement[1] has a Principal: this policy is about whom it is attached to"},
		{`{"Effect": "Maybe"}`, `Statement[1].Effect is "Maybe", neither Allow nor Deny`},
	} {
		d, err := ParseIdentity(document(allowAll, c.statement))
		if got := fmt.Sprint(err); got != c.want && (c.want != "" || err != nil) || err == nil && len(d.Statements) != 2 {
			t.Errorf("%s: %v, want %s", c.statement, err, c.want)
		}
	}
}
