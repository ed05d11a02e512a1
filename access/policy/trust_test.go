package policy

import (
	"slices"
	"strings"
	"testing"
)

func trustDocument(statement string) string {
	return `{"Version": "2012-10-17", "Statement": [` + statement + `]}`
}

func TestParseTrust(t *testing.T) {
	const good = `{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}`
	const unsupported = UnsupportedPrincipal
	put := func(old, fresh string) string { return strings.Replace(good, old, fresh, 1) }
	for _, c := range []struct {
		statement string
		cause     Cause
		words     string // "" = it is good
	}{
		{good, 0, ""},
		{put(`"sts:AssumeRole"`, `["STS:assumerole", "sts:TagSession", "sts:SetSourceIdentity"]`), 0, ""},
		{put(`sts:AssumeRole`, `sts:*`), 0, ""},
		{put(`sts:AssumeRole`, `*`), 0, ""},
		{put(`{"AWS": "111122223333"}`, `"*"`), 0, ""},
		{put(`{"AWS": "111122223333"}`, `{"Service": "ec2.amazonaws.com"}`), 0, ""},
		{put(`{"AWS": "111122223333"}`, `{"AWS": ["arn:aws:iam::111122223333:user/ada", "arn:aws:sts::111122223333:assumed-role/app/s"]}`), 0, ""},
		{put(`"Action"`, `"Condition": {"StringEquals": {"sts:ExternalId": "x"}}, "Action"`), 0, ""},
		{`{"Effect": "Deny", "NotPrincipal": {"AWS": "111122223333"}, "NotAction": "sts:TagSession"}`, 0, ""},

		{put(`"Principal": {"AWS": "111122223333"}, `, ``), Syntax, "Statement[0] has no Principal"},
		{put(`"Principal"`, `"NotPrincipal"`), Syntax, "Statement[0].NotPrincipal would let"},
		{`{"Effect": "Deny", "NotPrincipal": "*", "Action": "sts:*"}`, unsupported, "nobody would be left"},
		{put(`"Action"`, `"Resource": "*", "Action"`), Syntax, "leave Resource out"},
		{put(`"Action"`, `"NotResource": "arn:aws:iam::111122223333:role/x", "Action"`), Syntax, "leave Resource out"},
		{put(`sts:AssumeRole`, `secretsmanager:GetSecretValue`), Syntax, "secretsmanager:GetSecretValue"},
		{put(`sts:AssumeRole`, `sts:Nothing`), Syntax, "sts:Nothing"},
		{put(`sts:AssumeRole`, `iam:*`), Syntax, "iam:*"},
		{put(`{"AWS": "111122223333"}`, `{"Federated": "accounts.google.com"}`), unsupported, "Statement[0].Principal.Federated is for identity providers"},
		{put(`{"AWS": "111122223333"}`, `{"AWS": "arn:aws:iam::111122223333:role/*"}`), unsupported, "Statement[0].Principal.AWS"},
		{`{"Effect": "Deny", "NotPrincipal": {"AWS": "ada"}, "Action": "sts:*"}`, unsupported, "Statement[0].NotPrincipal.AWS"},
		{put(`"Allow"`, `"allow"`), Syntax, "Statement[0].Effect"},
	} {
		d, err := ParseTrust(trustDocument(c.statement))
		if c.words == "" {
			if err != nil || !slices.Equal(d.Statements[0].Resource, []string{"*"}) {
				t.Errorf("%s: %v, %v", c.statement, d.Statements, err)
			}
			continue
		}
		e, ok := err.(*Error)
		if !ok || e.Cause != c.cause || !strings.Contains(e.Error(), c.words) {
			t.Errorf("%s:\ngot  %v\nwant %s", c.statement, err, c.words)
		}
	}
}
