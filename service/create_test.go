package service_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func TestCreateSecret(t *testing.T) {
	h := open(t, service.Config{})
	in := service.CreateSecretInput{
		Name: "prod/db", ClientRequestToken: tok("v1"), Description: "the db", KmsKeyID: "alias/x",
		GivenValue: service.Give(secrets.Text("s3cret")), Tags: []service.Tag{{Key: "b", Value: "2"}, {Key: "a", Value: ""}},
	}
	out, err := h.CreateSecret(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	id, err := secrets.ParseID(out.ARN)
	if err != nil || id.ByName || out.Name != "prod/db" || out.VersionID != tok("v1") {
		t.Fatalf("got %+v, %v", out, err)
	}
	now := h.clock.now()
	want := &service.Secret{
		ARN: id.ARN, Description: "the db", KMSKeyID: "alias/x", Tags: in.Tags, Created: now, Changed: now, ValueChanged: now,
		Versions: secrets.Versions{{ID: tok("v1"), Created: now, Labels: []string{"AWSCURRENT"}, KeyID: "alias/x"}},
	}
	if diff := cmp.Diff(want, h.record("prod/db")); diff != "" {
		t.Error(diff)
	}
	if got := h.value("prod/db", "v1"); got != "s3cret" {
		t.Error("the value came back otherwise")
	}
}

func TestCreateSecretWithoutValue(t *testing.T) {
	h := open(t, service.Config{Region: "cn-north-1", Account: "123456789012"})
	out, err := h.CreateSecret(t.Context(), service.CreateSecretInput{Name: "s", ClientRequestToken: tok("v1")})
	if err != nil || out.VersionID != "" || !strings.HasPrefix(out.ARN, "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:s-") {
		t.Fatalf("got %+v, %v", out, err)
	}
	d, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
	if err != nil || d.VersionIDsToStages != nil || d.Tags != nil {
		t.Errorf("got %+v, %v", d, err)
	}
	_, err = h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"})
	wantErr(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT")
	// Its first value is current, whatever label it is given.
	if _, err := h.PutSecretValue(t.Context(), service.PutSecretValueInput{
		SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: service.Give(secrets.Text("x")), VersionStages: []string{"MINE"},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err = h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"}); err != nil {
		t.Error(err)
	}
}

func TestCreateSecretRefuses(t *testing.T) {
	h := open(t, service.Config{})
	h.create("taken", "x")
	h.create("going", "x")
	if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "going"}); err != nil {
		t.Fatal(err)
	}
	text := service.Give(secrets.Text("y"))
	for _, c := range []struct {
		name string
		in   service.CreateSecretInput
		code string
		text string
	}{
		{"no name", service.CreateSecretInput{}, "ValidationException", "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null"},
		{"bad name", service.CreateSecretInput{Name: "a b", ClientRequestToken: tok("v")}, "ValidationException", nameText},
		{"no token", service.CreateSecretInput{Name: "taken"}, "InvalidRequestException", tokenText},
		{
			"two bounds", service.CreateSecretInput{Name: strings.Repeat("n", 513), ClientRequestToken: "short"}, "ValidationException",
			"2 validation errors detected: Value '" + strings.Repeat("n", 513) + "' at 'name' failed to satisfy constraint: Member must have length less than or equal to 512; " +
				"Value 'short' at 'clientRequestToken' failed to satisfy constraint: Member must have length greater than or equal to 32",
		},
		{
			"both values", service.CreateSecretInput{Name: "n", ClientRequestToken: tok("v"), GivenValue: service.GivenValue{SecretString: text.SecretString, SecretBinary: service.SecretBlob{Value: secrets.Binary([]byte("y"))}}},
			"InvalidParameterException", bothText,
		},
		{
			"a value too large stays unsaid", service.CreateSecretInput{Name: "n", ClientRequestToken: tok("v"), GivenValue: service.Give(secrets.Text(strings.Repeat("y", 65537)))},
			"ValidationException", "1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536",
		},
		{"taken", service.CreateSecretInput{Name: "taken", ClientRequestToken: tok("v2"), GivenValue: text}, "ResourceExistsException", "The operation failed because the secret taken already exists."},
		{"taken, without value", service.CreateSecretInput{Name: "taken", ClientRequestToken: tok("v1")}, "ResourceExistsException", "The operation failed because the secret taken already exists."},
		{
			"token of another value", service.CreateSecretInput{Name: "taken", ClientRequestToken: tok("v1"), GivenValue: text}, "ResourceExistsException",
			"You can't use ClientRequestToken " + tok("v1") + " because that value is already in use for a version of secret " + h.record("taken").ARN.String() + ".",
		},
		{"scheduled for deletion", service.CreateSecretInput{Name: "going", ClientRequestToken: tok("v1"), GivenValue: service.Give(secrets.Text("x"))}, "InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion."},
		{"a system tag", service.CreateSecretInput{Name: "n", ClientRequestToken: tok("v"), Tags: []service.Tag{{Key: "aws:x", Value: "y"}}}, "InvalidParameterException", "You can't modify system tags. Tag key: 'aws:x'."},
		{"a tag without key", service.CreateSecretInput{Name: "n", ClientRequestToken: tok("v"), Tags: []service.Tag{{Value: "y"}}}, "ValidationException", "1 validation error detected: Value null at 'tags.1.member.key' failed to satisfy constraint: Member must not be null"},
		{"no key", service.CreateSecretInput{Name: "n", ClientRequestToken: tok("v"), KmsKeyID: "mine"}, "InvalidParameterException", "The operation failed because of an invalid KMS key: Invalid keyId"},
		{"another region's key", service.CreateSecretInput{Name: "n", ClientRequestToken: tok("v"), KmsKeyID: "arn:aws:kms:eu-west-1:123456789012:alias/x", GivenValue: text}, "InvalidParameterException", "The operation failed because of an invalid KMS key: Invalid arn eu-west-1"},
		{"another service's key", service.CreateSecretInput{Name: "n", ClientRequestToken: tok("v"), KmsKeyID: "alias/aws/rds"}, "AccessDeniedException", "Access to KMS is not allowed"},
		{"a replica at home", service.CreateSecretInput{Name: "n", ClientRequestToken: tok("v"), AddReplicaRegions: []service.ReplicaRegionType{{Region: "us-east-1"}}}, "InvalidParameterException", "Invalid replica region."},
		{"a tag twice", service.CreateSecretInput{Name: "n", ClientRequestToken: tok("v"), Tags: []service.Tag{{Key: "k"}, {Key: "k"}}}, "InvalidParameterException", "Duplicate tag key: 'k'."},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.CreateSecret(t.Context(), c.in)
			wantErr(t, err, c.code, c.text)
			if secrets.KindOf(err) != secrets.Invalid {
				t.Errorf("kind %s", secrets.KindOf(err))
			}
		})
	}
	if list, err := h.ListSecrets(t.Context(), service.ListSecretsInput{IncludePlannedDeletion: true}); err != nil || len(list.SecretList) != 2 {
		t.Errorf("a refused creation left something: %+v, %v", list, err)
	}
	if _, err := h.CreateSecret(t.Context(), service.CreateSecretInput{Name: "n", ClientRequestToken: tok("v"), GivenValue: service.Give(secrets.Text("\xff"))}); secrets.KindOf(err) != secrets.Invalid {
		t.Errorf("text that is not UTF-8: %v", err)
	}
}

func TestCreateSecretAgain(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "x")
	h.put("s", "v2")
	h.clock.add(time.Hour)
	before := h.record("s")
	out, err := h.CreateSecret(t.Context(), service.CreateSecretInput{Name: "s", ClientRequestToken: tok("v1"), GivenValue: service.Give(secrets.Text("x"))})
	if err != nil || out.ARN != arn || out.VersionID != tok("v1") {
		t.Errorf("got %+v, %v", out, err)
	}
	if diff := cmp.Diff(before, h.record("s")); diff != "" {
		t.Error(diff)
	}
}

// What was never said is not remembered: a token alone repeats nothing.
func TestCreateSecretWithoutValueAgain(t *testing.T) {
	h := open(t, service.Config{})
	in := service.CreateSecretInput{Name: "s", ClientRequestToken: tok("v1")}
	if _, err := h.CreateSecret(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	const exists = "The operation failed because the secret s already exists."
	_, err := h.CreateSecret(t.Context(), in)
	wantErr(t, err, "ResourceExistsException", exists)
	in.GivenValue = service.Give(secrets.Text("x"))
	_, err = h.CreateSecret(t.Context(), in)
	wantErr(t, err, "ResourceExistsException", exists)
}

func TestCreateSecretWithReplicas(t *testing.T) {
	h := open(t, service.Config{})
	in := service.CreateSecretInput{
		Name: "s", ClientRequestToken: tok("v1"), GivenValue: service.Give(secrets.Text("x")), Type: "GitLabAccessToken",
		AddReplicaRegions: []service.ReplicaRegionType{{Region: "eu-west-1", KmsKeyID: "alias/x"}, {Region: "eu-west-2"}},
	}
	first, err := h.CreateSecret(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range first.ReplicationStatus {
		if r.Status != service.InSync {
			t.Errorf("got %+v", r)
		}
	}
	if len(first.ReplicationStatus) != 2 || first.VersionID != tok("v1") {
		t.Errorf("got %+v", first)
	}
	again, err := h.CreateSecret(t.Context(), in)
	if diff := cmp.Diff(first, again); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, region := range []string{"us-east-1", "eu-west-1", "eu-west-2"} {
		there := h.As(service.Caller{Region: region, Account: "123456789012"})
		d, err := there.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
		if err != nil || d.PrimaryRegion != "us-east-1" || d.Type != "GitLabAccessToken" || (len(d.ReplicationStatus) == 2) != (region == "us-east-1") {
			t.Errorf("%s: %+v, %v", region, d, err)
		}
		if out, err := there.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"}); err != nil || !out.Value.Equal(secrets.Text("x")) {
			t.Errorf("%s: %v", region, err)
		}
		list, err := there.ListSecrets(t.Context(), service.ListSecretsInput{Filters: []service.Filter{{Key: "primary-region", Values: []string{"us-"}}}})
		if err != nil || len(list.SecretList) != 1 || list.SecretList[0].PrimaryRegion != "us-east-1" {
			t.Errorf("%s: %+v, %v", region, list, err)
		}
	}
	// Neither a primary nor a replica is deleted as if it were alone.
	for _, force := range []bool{false, true} {
		in := service.DeleteSecretInput{SecretID: "s", ForceDeleteWithoutRecovery: force}
		_, err = h.DeleteSecret(t.Context(), in)
		wantErr(t, err, "InvalidParameterException", "You can't delete secret "+first.ARN+" that still has replica regions [eu-west-1, eu-west-2].")
		there := h.As(service.Caller{Region: "eu-west-1", Account: "123456789012"})
		const replica = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
		_, err = there.DeleteSecret(t.Context(), in)
		wantErr(t, err, "InvalidParameterException", replica)
		_, err = there.RestoreSecret(t.Context(), service.RestoreSecretInput{SecretID: "s"})
		wantErr(t, err, "InvalidParameterException", replica)
	}
	if _, err := h.RemoveRegionsFromReplication(t.Context(), service.RemoveRegionsFromReplicationInput{SecretID: "s", RemoveReplicaRegions: []string{"eu-west-1", "eu-west-2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s", ForceDeleteWithoutRecovery: true}); err != nil {
		t.Error(err)
	}
}

func TestANameIsFreeWhenItsRecoveryWindowEnds(t *testing.T) {
	h := open(t, service.Config{})
	old := h.create("s", "x")
	if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s", RecoveryWindowInDays: new(int64(7))}); err != nil {
		t.Fatal(err)
	}
	h.clock.add(7 * 24 * time.Hour)
	if fresh := h.create("s", "y"); fresh == old {
		t.Error("the new secret has the old one's ARN")
	}
	if h.value("s", "v1") != "y" {
		t.Error("the old value came back")
	}
}

func TestNewVersionID(t *testing.T) {
	id, err := service.NewVersionID(bytes.NewReader(bytes.Repeat([]byte{0xff}, 16)))
	if err != nil || id != "ffffffff-ffff-4fff-bfff-ffffffffffff" {
		t.Errorf("got %s, %v", id, err)
	}
	if err := secrets.ValidateVersionID(id); err != nil {
		t.Error(err)
	}
	if _, err := service.NewVersionID(strings.NewReader("short")); err == nil {
		t.Error("made an id of too little randomness")
	}
}
