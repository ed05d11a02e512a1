package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// plan is one of his.
type plan struct {
	name   string
	victim string // how the victim is named, where that matters; "" = anyhow
	only   string // the strategy; "" = both
	mount  func(*burglar)
}

// plans hold wherever prod's superuser is paired with prod/* and dev's own with
// dev/*, though both are superusers of one server.
var plans = []plan{
	{name: "dev's superuser, and the version that a rotation is about to fill", mount: func(b *burglar) {
		b.byHand = true
		b.create(b.own().With("masterarn", b.devRoot()))
		out, err := b.sdk.RotateSecret(b.t.Context(), b.rotation(secrets.SingleUser))
		if b.try(out, err) {
			b.try(b.sdk.PutSecretValue(b.t.Context(), &secretsmanager.PutSecretValueInput{
				SecretId: &b.id, SecretString: text(b.desired.With("masterarn", b.devRoot())), ClientRequestToken: out.VersionId, VersionStages: []string{secrets.Pending},
			}))
		}
		b.goOn()
		b.put(b.desired.With("masterarn", b.devRoot()))
	}},
	{name: "dev's superuser during a rotation", mount: func(b *burglar) {
		b.byHand = true
		b.create(b.own().With("masterarn", b.devRoot()))
		v := b.put(b.desired.With("masterarn", b.devRoot()), "MINE")
		b.try(b.sdk.RotateSecret(b.t.Context(), b.rotation(secrets.SingleUser)))
		b.stage(secrets.Current, v)
	}},
	{name: "AWSCURRENT names the victim", mount: func(b *burglar) { b.create(b.desired) }},
	{name: "masterarn, by name", mount: func(b *burglar) { b.create(b.desired.With("masterarn", b.prodRoot())) }},
	{name: "masterarn, by ARN", mount: func(b *burglar) { b.create(b.desired.With("masterarn", b.arn(b.prodRoot()))) }},
	{name: "masterarn, by ARN without its suffix", mount: func(b *burglar) {
		arn := b.arn(b.prodRoot())
		b.create(b.desired.With("masterarn", arn[:len(arn)-7]))
	}},
	{name: "masterarn in another case", only: secrets.SingleUser, mount: func(b *burglar) { b.create(b.desired.With("masterarn", strings.ToUpper(b.prodRoot()))) }},
	{name: "masterarn, by the victim's own secret", only: secrets.AlternatingUsers, mount: func(b *burglar) { b.create(b.desired.With("masterarn", b.prod)) }},
	{name: "masterarn, by a secret of his own that says so", mount: func(b *burglar) {
		b.must(b.sdk.CreateSecret(b.t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(b.id + "-root"), SecretString: text(b.own().With("masterarn", b.prodRoot()))}))
		b.create(b.desired.With("masterarn", b.id+"-root"))
	}},
	{name: "a user of his own, served by prod's superuser", mount: func(b *burglar) {
		b.create(b.own().With("masterarn", b.prodRoot()))
		b.refused(b.sdk.RotateSecret(b.t.Context(), b.rotation(secrets.SingleUser)))
	}},
	{name: "masterarn, when rotation is on", mount: func(b *burglar) {
		b.create(b.own())
		b.rotate(secrets.SingleUser)
		b.put(b.desired.With("masterarn", b.prodRoot()))
	}},
	{name: "masterarn, while a rotation is under way", mount: func(b *burglar) {
		b.byHand = true
		b.create(b.own())
		b.try(b.sdk.RotateSecret(b.t.Context(), b.rotation(secrets.SingleUser)))
		b.put(b.desired.With("masterarn", b.prodRoot()))
		b.settle()
	}},
	{name: "masterarn and a pending value, without asking for a rotation", mount: func(b *burglar) {
		b.create(b.own())
		b.rotate(secrets.SingleUser)
		b.put(b.desired.With("masterarn", b.prodRoot()))
		b.put(b.desired.With("masterarn", b.prodRoot()), secrets.Pending)
		b.settle()
	}},
	{name: "dev's superuser", mount: func(b *burglar) { b.create(b.desired.With("masterarn", b.devRoot())) }},
	{name: "dev's superuser and a pending value", mount: func(b *burglar) {
		b.create(b.own().With("masterarn", b.devRoot()))
		b.rotate(secrets.SingleUser)
		b.put(b.desired.With("masterarn", b.devRoot()), secrets.Pending)
		b.settle()
	}},
	{name: "dev's superuser and a pending value that was dropped", mount: func(b *burglar) {
		b.create(b.own().With("masterarn", b.devRoot()))
		b.put(b.desired.With("masterarn", b.devRoot()), secrets.Pending)
		b.rotate(secrets.SingleUser)
		b.put(b.desired.With("password", fresh(b.t)).With("masterarn", b.devRoot()))
		b.rotate("")
		b.stage(secrets.Pending, "")
	}},
	{name: "dev's superuser, and the victim in AWSPREVIOUS", mount: func(b *burglar) {
		own := b.own().With("masterarn", b.devRoot())
		b.create(own)
		b.put(b.desired.With("password", fresh(b.t)).With("masterarn", b.devRoot()), secrets.Pending)
		b.rotate(secrets.SingleUser)
		b.put(b.desired.With("masterarn", b.devRoot()))
		b.put(own)
	}},
	{name: "a user whose clone the victim would be", victim: "own_%s_%d_clone", only: secrets.AlternatingUsers, mount: func(b *burglar) {
		b.create(b.own().With("masterarn", b.devRoot()))
	}},
	{name: "a user who would be the victim's clone", only: secrets.AlternatingUsers, mount: func(b *burglar) {
		b.create(b.place.addUser(b.t, b.victim.Username()+"_clone").With("masterarn", b.devRoot()))
	}},
	{name: "an account of the victim's name at another host", mount: (*burglar).byHost},
	{name: "the victim's name in other spellings", only: secrets.SingleUser, mount: func(b *burglar) {
		name := b.victim.Username()
		b.create(b.own().With("masterarn", b.devRoot()))
		for _, as := range []string{strings.ToUpper(name), " " + name, name + " ", `"` + name + `"`, "'" + name + "'", name + "@%", name + "\x00", `x"; ALTER ROLE ` + name + ` PASSWORD 'y`} {
			b.put(b.desired.With("username", as).With("masterarn", b.devRoot()))
			b.rotate(secrets.SingleUser)
		}
	}},
	{name: "prod's server in other spellings", only: secrets.AlternatingUsers, mount: func(b *burglar) {
		port := fmt.Sprint(b.place.db.Server.Port)
		b.create(b.desired)
		for _, host := range []string{"localhost", "LOCALHOST", "127.0.0.1.", "127.1", "::1", "::ffff:127.0.0.1", "127.0.0.1:" + port} {
			for _, root := range []string{b.prodRoot(), b.devRoot()} {
				b.put(b.desired.With("host", host).With("port", port).With("masterarn", root))
				b.rotate(secrets.SingleUser)
			}
		}
	}},
	{name: "a server of his own, to hear the superuser's password", only: secrets.SingleUser, mount: func(b *burglar) {
		b.byHand = true
		port, heard := b.tap()
		own := b.own()
		b.create(own)
		b.rotate(secrets.SingleUser)
		for _, root := range []string{b.prodRoot(), b.devRoot()} {
			c := b.current(b.id).WithNumber("port", fmt.Sprint(port)).With("masterarn", root)
			b.put(c)
			b.put(c, secrets.Pending)
			b.rotate("")
			b.stage(secrets.Pending, "")
		}
		if !strings.Contains(heard.String(), own.Username()) {
			b.t.Error("nobody came by")
		}
		for _, root := range []secrets.Credentials{b.place.prodRoot, b.place.devRoot} {
			if strings.Contains(heard.String(), root.Username()+"\x00") {
				b.t.Errorf("%s came by", root.Username())
			}
		}
	}},
	{name: "tags", only: secrets.SingleUser, mount: func(b *burglar) {
		b.create(b.desired)
		for _, key := range []string{"masterarn", "superuser", "pawl:superuser", "superusers", "for", "admin_host", "adopt_clone"} {
			for _, value := range []string{b.prodRoot(), "prod/*", "true"} {
				b.must(b.sdk.TagResource(b.t.Context(), &secretsmanager.TagResourceInput{SecretId: &b.id, Tags: tagged(key, value)}))
			}
			b.refused(b.sdk.TagResource(b.t.Context(), &secretsmanager.TagResourceInput{SecretId: &b.prod, Tags: tagged(key, b.id)}))
		}
	}},
	{name: "description and type", only: secrets.AlternatingUsers, mount: func(b *burglar) {
		said := fmt.Sprintf(`{"masterarn":%q,"superuser":%[1]q}`, b.prodRoot())
		b.must(b.sdk.CreateSecret(b.t.Context(), &secretsmanager.CreateSecretInput{Name: &b.id, SecretString: text(b.desired), Description: &said}))
		b.rotate(secrets.SingleUser)
		b.try(b.sdk.UpdateSecret(b.t.Context(), &secretsmanager.UpdateSecretInput{SecretId: &b.id, Description: aws.String(b.prodRoot()), Type: aws.String("MongoDBAtlasDatabaseUser")}))
		b.try(b.sdk.RotateSecret(b.t.Context(), &secretsmanager.RotateSecretInput{
			SecretId: &b.id, ExternalSecretRotationRoleArn: aws.String("arn:aws:iam::" + homeAccount + ":role/any"), ExternalSecretRotationMetadata: metadata("masterarn", b.prodRoot()),
		}))
		b.settle()
	}},
	{name: "a replica that becomes a secret", only: secrets.SingleUser, mount: (*burglar).byReplica},
	{name: "policies on secrets", only: secrets.SingleUser, mount: (*burglar).byPolicies},
	{name: "functions that are not Pawl's", only: secrets.SingleUser, mount: func(b *burglar) {
		b.create(b.desired.With("masterarn", b.prodRoot()))
		for _, f := range []string{"function:mine", "function:pawl-single-user:1", "function:pawl-single-user:$LATEST", "function:PAWL-single-user", "function:pawl-partner", "function:pawl-"} {
			b.refused(b.sdk.RotateSecret(b.t.Context(), &secretsmanager.RotateSecretInput{SecretId: &b.id, RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:" + homeAccount + ":" + f)}))
		}
		b.refused(b.sdk.RotateSecret(b.t.Context(), &secretsmanager.RotateSecretInput{SecretId: &b.id, RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:210987654321:function:pawl-single-user")}))
	}},
	{name: "prod's secret itself", only: secrets.SingleUser, mount: (*burglar).atProd},
}

func metadata(key, value string) []types.ExternalSecretRotationMetadataItem {
	return []types.ExternalSecretRotationMetadataItem{{Key: &key, Value: &value}}
}

func tagged(key, value string) []types.Tag { return []types.Tag{{Key: &key, Value: &value}} }

// byHost: to MySQL and MariaDB a user is a name at a host, so that somebody else
// may have an account of the victim's name. Pawl's connections, and the tests',
// come from there: while it exists it is that user to them.
func (b *burglar) byHost() {
	db, c := b.place.db, b.desired.With("masterarn", b.devRoot())
	if db.Server.Kind.IsPostgres() {
		b.create(c)
		return
	}
	c = c.With("password", fresh(b.t))
	at := "'" + b.victim.Username() + "'@'127.0.0.1'"
	b.must(nil, db.Exec(b.t.Context(), "CREATE USER "+at+" IDENTIFIED BY '"+c.Password().Reveal()+"'", "GRANT SELECT ON "+db.Name+".items TO "+at))
	mustLogin(b.t, db, "the account of that name", c)
	b.create(c)
	b.push(b.strategy)
	mustLogin(b.t, db, "the account of that name", c)
	b.must(nil, db.Exec(b.t.Context(), "DROP USER "+at))
}

// byReplica: in another region the superusers' names are free, but for policies.
func (b *burglar) byReplica() {
	const there = "eu-west-1"
	at := func(o *secretsmanager.Options) { o.Region = there }
	thereSvc := b.svc.As(service.Caller{Region: there, Account: homeAccount})
	b.create(b.desired.With("masterarn", b.devRoot()))
	b.must(b.sdk.ReplicateSecretToRegions(b.t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: &b.id, AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String(there)}}}))
	b.refused(b.sdk.ReplicateSecretToRegions(b.t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: &b.prod, AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String(there)}}}))
	until(b.t, "the replica", func() bool {
		_, err := thereSvc.DescribeSecret(b.t.Context(), service.DescribeSecretInput{SecretID: b.id})
		return err == nil
	})
	b.try(b.sdk.RotateSecret(b.t.Context(), &secretsmanager.RotateSecretInput{SecretId: &b.id, RotationLambdaARN: functionARN(secrets.SingleUser, there)}, at))
	b.must(b.sdk.StopReplicationToReplica(b.t.Context(), &secretsmanager.StopReplicationToReplicaInput{SecretId: &b.id}, at))
	rotate := func(root string) {
		b.must(b.sdk.PutSecretValue(b.t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &b.id, SecretString: text(b.desired.With("masterarn", root))}, at))
		for _, strategy := range []string{secrets.SingleUser, secrets.AlternatingUsers} {
			b.try(b.sdk.RotateSecret(b.t.Context(), &secretsmanager.RotateSecretInput{SecretId: &b.id, RotationLambdaARN: functionARN(strategy, there)}, at))
			b.settleAt(thereSvc)
		}
	}
	for _, root := range []string{b.prodRoot(), b.arn(b.prodRoot()), b.devRoot(), b.arn(b.devRoot())} {
		rotate(root)
	}
	b.refused(b.sdk.CreateSecret(b.t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(b.prodRoot()), SecretString: text(b.place.devRoot)}, at))
	b.try(b.sdk.CreateSecret(b.t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(b.devRoot()), SecretString: text(b.place.devRoot)}, at))
	rotate(b.devRoot())
}

// byPolicies: what he writes on his own secret speaks of that one alone.
func (b *burglar) byPolicies() {
	b.create(b.desired)
	ctx, arn := b.t.Context(), b.arn(b.prod)
	for _, statement := range []string{
		`{"Effect":"Allow","Principal":"*","Action":"secretsmanager:*","Resource":"*"}`,
		`{"Effect":"Allow","Principal":"*","Action":"*","Resource":"` + arn + `"}`,
		`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + homeAccount + `:user/burglar"},"Action":"secretsmanager:*","Resource":"` + allSecrets + `prod/*"}`,
	} {
		document := policyOf(statement)
		b.try(b.sdk.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: &b.id, ResourcePolicy: &document}))
		b.refused(b.sdk.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: &b.prod, ResourcePolicy: &document}))
		b.refused(b.sdk.ValidateResourcePolicy(ctx, &secretsmanager.ValidateResourcePolicyInput{SecretId: &b.prod, ResourcePolicy: &document}))
		b.try(b.sdk.ValidateResourcePolicy(ctx, &secretsmanager.ValidateResourcePolicyInput{ResourcePolicy: &document}))
		b.refused(b.sdk.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &b.prod}))
		b.refused(b.sdk.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: &b.prod, RotationLambdaARN: functionARN(secrets.SingleUser, homeRegion)}))
	}
	root := b.prodRoot()
	for _, in := range []*secretsmanager.BatchGetSecretValueInput{
		{SecretIdList: []string{b.prod, arn, root, b.id}},
		{Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{"prod/"}}}},
		{Filters: []types.Filter{{Key: types.FilterNameStringTypeAll, Values: []string{"app"}}}},
	} {
		out, err := b.sdk.BatchGetSecretValue(ctx, in)
		b.must(out, err)
		if err != nil {
			continue
		}
		for _, v := range out.SecretValues {
			if !strings.HasPrefix(*v.Name, "dev/") {
				b.t.Errorf("he reads %s", *v.Name)
			}
		}
		if len(out.Errors) == 0 {
			b.t.Error("nothing is refused")
		}
	}
}

// atProd: every operation on prod's secret is refused, whatever he calls it.
func (b *burglar) atProd() {
	b.create(b.desired)
	ctx, arn, token := b.t.Context(), b.arn(b.prod), aws.String(b.token())
	version := b.holder(b.prod, secrets.Current)
	document := policyOf(`{"Effect":"Allow","Principal":"*","Action":"secretsmanager:*","Resource":"*"}`)
	region := []types.ReplicaRegionType{{Region: aws.String("eu-west-1")}}
	for _, name := range []string{b.prod, arn, arn[:len(arn)-7], b.prodRoot(), b.arn(b.prodRoot())} {
		id := &name
		b.refused(b.sdk.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id}))
		b.refused(b.sdk.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: id}))
		b.refused(b.sdk.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{SecretId: id}))
		b.refused(b.sdk.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: id, SecretString: text(b.desired)}))
		b.refused(b.sdk.UpdateSecret(ctx, &secretsmanager.UpdateSecretInput{SecretId: id, SecretString: text(b.desired)}))
		b.refused(b.sdk.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: id, VersionStage: aws.String("X"), MoveToVersionId: &version}))
		b.refused(b.sdk.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: id, Tags: tagged("team", "dev")}))
		b.refused(b.sdk.UntagResource(ctx, &secretsmanager.UntagResourceInput{SecretId: id, TagKeys: []string{"team"}}))
		b.refused(b.sdk.GetResourcePolicy(ctx, &secretsmanager.GetResourcePolicyInput{SecretId: id}))
		b.refused(b.sdk.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: id, ResourcePolicy: &document}))
		b.refused(b.sdk.DeleteResourcePolicy(ctx, &secretsmanager.DeleteResourcePolicyInput{SecretId: id}))
		b.refused(b.sdk.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: id, ForceDeleteWithoutRecovery: aws.Bool(true)}))
		b.refused(b.sdk.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: id}))
		b.refused(b.sdk.CancelRotateSecret(ctx, &secretsmanager.CancelRotateSecretInput{SecretId: id}))
		b.refused(b.sdk.ReplicateSecretToRegions(ctx, &secretsmanager.ReplicateSecretToRegionsInput{SecretId: id, AddReplicaRegions: region}))
		b.refused(b.sdk.RemoveRegionsFromReplication(ctx, &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: id, RemoveReplicaRegions: []string{"eu-west-1"}}))
		b.refused(b.sdk.StopReplicationToReplica(ctx, &secretsmanager.StopReplicationToReplicaInput{SecretId: id}))
		for _, strategy := range []string{secrets.SingleUser, secrets.AlternatingUsers} {
			b.refused(b.sdk.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: id, RotationLambdaARN: functionARN(strategy, homeRegion), ClientRequestToken: token}))
		}
		b.refused(b.ours.StartRotation(ctx, service.StartRotationInput{SecretID: name, ClientRequestToken: *token}))
		b.refused(b.ours.TestRotation(ctx, service.TestRotationInput{SecretID: name}))
		b.refused(b.ours.ListRotations(ctx, service.ListRotationsInput{SecretIDs: []string{name}}))
		b.refused(nil, b.ours.Pause(ctx, name))
		b.refused(nil, b.ours.Resume(ctx, name))
	}
	b.refused(b.sdk.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &b.prod, SecretString: text(b.desired)}))
	b.refused(b.sdk.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String(b.prod + "x"), SecretString: text(b.desired)}))
}

// TestPrivilegeUnderADefaultSuperuser: the configuration's default superuser
// serves whatever it rotates, so that nobody has a secret rotated by him who may
// not read him; and who may write a secret that others have had rotated so, or
// that the file declares, gains nothing either.
func TestPrivilegeUnderADefaultSuperuser(t *testing.T) {
	g := newGuarded(t, `
defaults: {superuser: prod/root}
scheduler: {minimum_interval: 1s}
superusers:
  - {secret: prod/root, for: ["prod/*"]}
secrets:
  - {name: dev/app0, schedule: rate(1 second)}
  - {name: dev/app1, schedule: rate(1 second), strategy: alternating-users}
  - {name: dev/app2}
`)
	who := g.enrol("burglar", burglary)
	p := newPlace(t, g, "", database(t, servers.Postgres15, "privilege_default"))
	tried := func(b *burglar) {
		b.t.Helper()
		until(b.t, "a rotation that fails", func() bool {
			out, err := b.svc.ListRotations(b.t.Context(), service.ListRotationsInput{SecretIDs: []string{b.id}})
			return err == nil && len(out.Rotations) == 1 && out.Rotations[0].Attempt.Tries > 0
		})
	}
	asksInVain := func(b *burglar) {
		b.t.Helper()
		for _, strategy := range []string{secrets.SingleUser, secrets.AlternatingUsers} {
			for _, now := range []bool{true, false} {
				in := b.rotation(strategy)
				in.RotateImmediately = &now
				b.refused(b.sdk.RotateSecret(b.t.Context(), in))
			}
		}
		b.refused(b.ours.StartRotation(b.t.Context(), service.StartRotationInput{SecretID: b.id, ClientRequestToken: b.token()}))
		b.refused(b.ours.TestRotation(b.t.Context(), service.TestRotationInput{SecretID: b.id}))
	}
	// An administrator has his secret rotated, which was all right then.
	configured := func(b *burglar) {
		b.t.Helper()
		admin := *b
		admin.sdk = g.as(g.admin, nil)
		b.create(b.own())
		was := b.current(b.id)
		admin.rotate(secrets.SingleUser)
		if b.current(b.id).Password().Equal(was.Password()) {
			b.t.Error("the administrator's rotation did nothing")
		}
	}
	all := []attempt{
		{p, plan{name: "declared by the file, on schedule", mount: func(b *burglar) { b.create(b.desired); tried(b); asksInVain(b) }}, secrets.SingleUser, 0},
		{p, plan{name: "declared by the file, alternating users", mount: func(b *burglar) { b.create(b.desired); tried(b); asksInVain(b) }}, secrets.AlternatingUsers, 1},
		{p, plan{name: "declared by the file, and a pending value", mount: func(b *burglar) {
			b.create(b.desired)
			b.put(b.desired, secrets.Pending)
			tried(b)
			asksInVain(b)
		}}, secrets.SingleUser, 2},
		{p, plan{name: "by the API", mount: func(b *burglar) { b.create(b.desired); asksInVain(b) }}, secrets.SingleUser, 3},
		{p, plan{name: "by the API, a user of his own", mount: func(b *burglar) { b.create(b.own()); asksInVain(b) }}, secrets.SingleUser, 4},
		{p, plan{name: "by the API, another superuser named", mount: func(b *burglar) { b.create(b.desired.With("masterarn", b.devRoot())); asksInVain(b) }}, secrets.SingleUser, 5},
		{p, plan{name: "turned on by an administrator", mount: func(b *burglar) { configured(b); b.put(b.desired); asksInVain(b) }}, secrets.SingleUser, 6},
		{p, plan{name: "turned on by an administrator, and a pending value", mount: func(b *burglar) {
			configured(b)
			b.put(b.desired, secrets.Pending)
			tried(b)
			b.put(b.desired.With("password", fresh(b.t)))
			asksInVain(b)
			b.settle()
		}}, secrets.SingleUser, 7},
	}
	sideBySide(t, 8, all, attempt.String, func(t *testing.T, a attempt) { a.run(t, g, who) })
	silent(t, g, p)
}
