package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/postgres"
	"github.com/pawlhq/pawl/store/teststore"
)

const (
	noSuchKey = "UnrecognizedClientException"
	forbidden = "AccessDeniedException"
)

// victim is who loses a right in TestRevocation: a user, or who has assumed a
// role, with a secret that he reads again and again.
type victim struct {
	g      *guarded
	t      *testing.T
	name   string // his, and his secret's
	over   *http.Transport
	now    aws.Credentials
	client *secretsmanager.Client
}

func (v *victim) become(c aws.Credentials) { v.now, v.client = c, v.g.as(c, v.over) }

// reads reads the secret once; the exception, "" for a value.
func (v *victim) reads() string {
	v.t.Helper()
	_, err := v.client.GetSecretValue(context.WithoutCancel(v.t.Context()), &secretsmanager.GetSecretValueInput{SecretId: &v.name})
	if err != nil && codeOf(err) == "" {
		v.t.Fatal(err)
	}
	return codeOf(err)
}

// wants reads, and wants that exception.
func (v *victim) wants(what, code string) {
	v.t.Helper()
	v.finds(what, v.reads, code)
}

// unseen is how long the server may not see what another process wrote.
func unseen() time.Duration {
	if teststore.OnPostgres() {
		return postgres.MaxStale
	}
	return 0
}

// finds does something until what others wrote must be seen, and wants that
// exception.
func (v *victim) finds(what string, do func() string, code string) {
	v.t.Helper()
	for asked := time.Now(); ; {
		began := time.Now()
		got := do()
		if got == code {
			return
		}
		if began.Sub(asked) >= unseen() {
			v.t.Errorf("%s: got %q, want %q", what, got, code)
			return
		}
	}
}

// role makes the victim one who has assumed a role of its own.
func (v *victim) role() {
	v.t.Helper()
	v.g.do("access", "create", v.name+"-role", "--role", "--policy", v.g.policyFile(v.name+"-role", allows("secretsmanager:GetSecretValue", allSecrets+v.name+"-??????")),
		"--trust", v.g.write(v.name+"-trust.json", policyOf(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+homeAccount+`:user/`+v.name+`"},"Action":"sts:AssumeRole"}`)))
	c, err := v.assume()
	if err != nil {
		v.t.Fatal(err)
	}
	v.become(c)
}

// assume is STS's AssumeRole by the victim as a user.
func (v *victim) assume() (aws.Credentials, error) {
	s := sts.New(sts.Options{
		BaseEndpoint: &v.g.endpoint, Region: homeRegion, Credentials: static(v.now),
		HTTPClient: &http.Client{Transport: v.over, Timeout: time.Minute}, Retryer: aws.NopRetryer{},
	})
	out, err := s.AssumeRole(v.t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + homeAccount + ":role/" + v.name + "-role"), RoleSessionName: aws.String("s1"),
	})
	if err != nil {
		return aws.Credentials{}, err
	}
	return aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken}, nil
}

// tag sets the tag team of the secret, as an operator on the store.
func (v *victim) tag(team string) {
	v.t.Helper()
	if err := v.g.svc.TagResource(v.t.Context(), service.TagResourceInput{SecretID: v.name, Tags: []service.Tag{{Key: "team", Value: team}}}); err != nil {
		v.t.Fatal(err)
	}
}

// policy puts a policy on the secret, as an operator on the store.
func (v *victim) policy(effect string) {
	v.t.Helper()
	_, err := v.g.svc.PutResourcePolicy(v.t.Context(), service.PutResourcePolicyInput{SecretID: v.name, ResourcePolicy: policyOf(
		`{"Effect":"` + effect + `","Principal":{"AWS":"arn:aws:iam::` + homeAccount + `:user/` + v.name + `"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}`)})
	if err != nil {
		v.t.Fatal(err)
	}
}

// revocations are the ways to take a right away. give prepares one who has it;
// again, where there is one, gives it back.
var revocations = []struct {
	name              string
	give, take, again func(*victim)
	code              string
}{
	{name: "key disabled", code: noSuchKey,
		take:  func(v *victim) { v.g.do("access", "disable", v.now.AccessKeyID) },
		again: func(v *victim) { v.g.do("access", "enable", v.now.AccessKeyID) }},
	{name: "key deleted", code: noSuchKey,
		take: func(v *victim) { v.g.do("access", "delete", v.now.AccessKeyID, "--yes") }},
	{name: "the older of two keys deleted", code: noSuchKey,
		give: func(v *victim) { v.g.do("access", "rotate-key", v.name) },
		take: func(v *victim) { v.g.do("access", "delete", v.now.AccessKeyID, "--yes") }},
	{name: "user disabled", code: noSuchKey,
		take:  func(v *victim) { v.g.do("access", "disable", v.name) },
		again: func(v *victim) { v.g.do("access", "enable", v.name) }},
	{name: "user deleted and made anew", code: noSuchKey,
		take: func(v *victim) {
			v.g.do("access", "delete", v.name, "--yes")
			v.g.enrol(v.name, allows("*", "*"))
		}},
	{name: "policy replaced", code: forbidden,
		take: func(v *victim) {
			v.g.do("access", "update", v.name, "--policy", v.name+"="+v.g.policyFile(v.name+"-less", allows("secretsmanager:DescribeSecret", "*")))
		},
		again: func(v *victim) { v.g.do("access", "update", v.name, "--policy", v.name+".json") }},
	{name: "policy taken off", code: forbidden,
		take:  func(v *victim) { v.g.do("access", "update", v.name, "--without-policy", v.name) },
		again: func(v *victim) { v.g.do("access", "update", v.name, "--policy", v.name+".json") }},
	{name: "boundary", code: forbidden,
		take: func(v *victim) {
			v.g.do("access", "update", v.name, "--boundary", v.g.policyFile(v.name+"-less", allows("secretsmanager:DescribeSecret", "*")))
		},
		again: func(v *victim) { v.g.do("access", "update", v.name, "--no-boundary") }},
	{name: "tag of the user", code: forbidden,
		give: func(v *victim) {
			v.tag("blue")
			v.g.do("access", "update", v.name, "--tag", "team=blue", "--policy", v.name+"="+v.g.policyFile(v.name+"-tags", `{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*",
				"Condition":{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}}`))
		},
		take:  func(v *victim) { v.g.do("access", "update", v.name, "--untag", "team") },
		again: func(v *victim) { v.g.do("access", "update", v.name, "--tag", "team=blue") }},
	{name: "tag of the secret", code: forbidden,
		give: func(v *victim) {
			v.tag("blue")
			v.g.do("access", "update", v.name, "--policy", v.name+"="+v.g.policyFile(v.name+"-tags", `{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*",
				"Condition":{"StringEquals":{"aws:ResourceTag/team":"blue"}}}`))
		},
		take:  func(v *victim) { v.tag("red") },
		again: func(v *victim) { v.tag("blue") }},
	{name: "policy of the secret denies", code: forbidden,
		take:  func(v *victim) { v.policy("Deny") },
		again: func(v *victim) { v.policy("Allow") }},
	{name: "policy of the secret no longer allows", code: forbidden,
		give: func(v *victim) {
			v.policy("Allow")
			v.g.do("access", "update", v.name, "--without-policy", v.name)
		},
		take: func(v *victim) {
			if _, err := v.g.svc.DeleteResourcePolicy(v.t.Context(), service.DeleteResourcePolicyInput{SecretID: v.name}); err != nil {
				v.t.Fatal(err)
			}
		},
		again: func(v *victim) { v.policy("Allow") }},
	{name: "sessions of a user ended", code: noSuchKey,
		give: func(v *victim) { v.become(credentialsIn(v.t, v.g.do("access", "session", v.name, "--json"))) },
		take: func(v *victim) { v.g.do("access", "end-sessions", v.name) }},
	{name: "sessions of a role ended", code: noSuchKey,
		give: (*victim).role,
		take: func(v *victim) { v.g.do("access", "end-sessions", v.name+"-role") }},
	{name: "role disabled", code: noSuchKey,
		give:  (*victim).role,
		take:  func(v *victim) { v.g.do("access", "disable", v.name+"-role") },
		again: func(v *victim) { v.g.do("access", "enable", v.name+"-role") }},
	{name: "role deleted", code: noSuchKey,
		give: (*victim).role,
		take: func(v *victim) { v.g.do("access", "delete", v.name+"-role", "--yes") }},
	{name: "policy of a role replaced", code: forbidden,
		give: (*victim).role,
		take: func(v *victim) {
			v.g.do("access", "update", v.name+"-role", "--policy", v.name+"-role="+v.g.policyFile(v.name+"-less", allows("secretsmanager:DescribeSecret", "*")))
		},
		again: func(v *victim) { v.g.do("access", "update", v.name+"-role", "--policy", v.name+"-role.json") }},
}

// TestRevocation: what an operator takes away while `pawl serve` runs is gone with
// the first request after his command has returned (with PostgreSQL a second later
// at most, by its own promise), and what he gives back is there. The requests come over connections that are open, from somebody who
// keeps reading all the while.
func TestRevocation(t *testing.T) {
	g := newGuarded(t, "")
	all := make([]int, len(revocations))
	for i := range all {
		all[i] = i
	}
	sideBySide(t, 4, all, func(i int) string { return revocations[i].name }, func(t *testing.T, i int) {
		how := revocations[i]
		v := newVictim(t, g, i)
		if how.give != nil {
			how.give(v)
		}
		v.wants("before", "")

		stop := v.keepReading()
		how.take(v)
		after := time.Now().Add(unseen())
		v.wants("the first request after it was taken away", how.code)
		time.Sleep(time.Until(after))
		v.wants("the second one", how.code)
		stop(after, how.code)
		if how.again != nil {
			how.again(v)
			v.wants("given back", "")
		}
	})
	// Whom a role no longer trusts makes no new session of it; those he has go on.
	t.Run("trust", func(t *testing.T) {
		v := newVictim(t, g, len(all))
		user := v.now
		v.role()
		session := v.now
		v.g.do("access", "update", v.name+"-role", "--trust", v.g.write(v.name+"-less.json", policyOf(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+homeAccount+`:user/another"},"Action":"sts:AssumeRole"}`)))
		v.become(user)
		assume := func() string {
			_, err := v.assume()
			return codeOf(err)
		}
		v.finds("no longer trusted", assume, "AccessDenied")
		v.become(session)
		v.wants("a session that was made before", "")
		// Nor does who may no longer ask for one.
		v.g.do("access", "update", v.name+"-role", "--trust", v.name+"-trust.json")
		v.become(user)
		v.finds("trusted again", assume, "")
		v.g.do("access", "disable", v.now.AccessKeyID)
		v.finds("his key is disabled", assume, "InvalidClientTokenId")
	})
}

// newVictim makes the nth user, with a secret that he may read and any role that
// he may assume.
func newVictim(t *testing.T, g *guarded, n int) *victim {
	t.Helper()
	v := &victim{g: g.in(t), t: t, name: fmt.Sprintf("v%d", n)}
	v.over = v.g.from(n)
	v.g.create(v.name, secrets.Text("value of "+v.name))
	v.become(v.g.enrol(v.name, allows("secretsmanager:GetSecretValue", allSecrets+v.name+"-??????")+","+allows("sts:AssumeRole", "*")))
	return v
}

// keepReading has the victim read in the background, and returns when he does. stop
// ends it: no request that began after that instant may have got another answer.
func (v *victim) keepReading() (stop func(after time.Time, code string)) {
	type read struct {
		began time.Time
		code  string
	}
	var mu sync.Mutex
	var reads []read
	done, reading := make(chan struct{}), make(chan struct{})
	begun := sync.OnceFunc(func() { close(reading) })
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				began := time.Now()
				_, err := v.client.GetSecretValue(context.WithoutCancel(v.t.Context()), &secretsmanager.GetSecretValueInput{SecretId: &v.name})
				mu.Lock()
				reads = append(reads, read{began, codeOf(err)})
				if err != nil && codeOf(err) == "" {
					v.t.Error(err)
				}
				mu.Unlock()
				begun()
				select {
				case <-done:
					return
				case <-time.After(5 * time.Millisecond): // the machine is for the command
				}
			}
		})
	}
	<-reading
	return func(after time.Time, code string) {
		v.t.Helper()
		close(done) // each reads once more at most
		wg.Wait()
		good := 0
		for _, r := range reads {
			if r.code == "" {
				good++
			}
			if r.began.After(after) && r.code != code {
				v.t.Errorf("a request that began %v later: got %q, want %q", r.began.Sub(after), r.code, code)
			}
		}
		if good == 0 {
			v.t.Error("nobody was reading when it was taken away")
		}
	}
}
