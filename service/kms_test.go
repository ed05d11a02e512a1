package service

import (
	"strings"
	"testing"

	"github.com/pawlhq/pawl/secrets"
)

func TestCheckKey(t *testing.T) {
	const (
		uuid    = "1234abcd-12ab-34cd-56ef-1234567890ab"
		arn     = "arn:aws:kms:us-east-1:111122223333:"
		invalid = "The operation failed because of an invalid KMS key: "
	)
	for key, want := range map[string]string{
		"":                                     "",
		uuid:                                   "",
		strings.ToUpper(uuid):                  "",
		"mrk-1234abcd12ab34cd56ef1234567890ab": "",
		"alias/x":                              "",
		"alias/team/db_1-x":                    "",
		"alias/aws/secretsmanager":             "",
		arn + "key/" + uuid:                    "",
		arn + "key/mrk-1234abcd12ab34cd56ef1234567890ab": "",
		arn + "alias/x":                                      "",
		arn + "alias/aws/secretsmanager":                     "",
		"arn:aws:kms:eu-west-1:111122223333:key/" + uuid:     invalid + "Invalid arn eu-west-1",
		"arn:aws:kms:eu-west-1:111122223333:alias/x":         invalid + "Invalid arn eu-west-1",
		"arn:aws-cn:kms:cn-north-1:111122223333:key/" + uuid: invalid + "Invalid arn cn-north-1",
		"alias/aws/s3":                       "Access to KMS is not allowed",
		arn + "alias/aws/rds":                "Access to KMS is not allowed",
		"key":                                invalid + "Invalid keyId",
		"key/" + uuid:                        invalid + "Invalid keyId",
		uuid + "0":                           invalid + "Invalid keyId",
		"mrk-1234":                           invalid + "Invalid keyId",
		"alias/":                             invalid + "Invalid keyId",
		"alias/a b":                          invalid + "Invalid keyId",
		"arn:":                               invalid + "Invalid keyId",
		"arn:aws:kms:us-east-1":              invalid + "Invalid keyId",
		"arn:aws:kms:us-east-1::key/" + uuid: invalid + "Invalid keyId",
		"arn:aws:s3:us-east-1:111122223333:key/" + uuid: invalid + "Invalid keyId",
		"arn:aws:s3:eu-west-1:111122223333:key/" + uuid: invalid + "Invalid keyId",
		arn + uuid:    invalid + "Invalid keyId",
		arn + "key/x": invalid + "Invalid keyId",
		"arn:aws:secretsmanager:us-east-1:111122223333:secret:alias/x": invalid + "Invalid keyId",
		"alias/aws/secretsmanager2":                                    "Access to KMS is not allowed",
		"alias/" + strings.Repeat("a", 251):                            invalid + "Invalid keyId",
	} {
		err := checkKey("s", key, "us-east-1")
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", key, err)
		case want != "" && (err == nil || textOf(err) != want):
			t.Errorf("%s: %v, want %s", key, err, want)
		case want != "":
			code := "InvalidParameterException"
			if strings.HasPrefix(want, "Access") {
				code = "AccessDeniedException"
			}
			if secrets.CodeOf(err) != code || secrets.KindOf(err) != secrets.Invalid {
				t.Errorf("%s: %s", key, secrets.CodeOf(err))
			}
		}
	}
	for key, want := range map[string]bool{"": true, DefaultKey: true, arn + DefaultKey: true, uuid: false, "alias/x": false, arn + "alias/x": false} {
		if isDefaultKey(key) != want {
			t.Errorf("%q is the default key: %v", key, !want)
		}
	}
}
