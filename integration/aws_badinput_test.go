package integration_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/pawlhq/pawl/secrets"
)

// TestAWSMissingRights takes away each right of the policy that docs/aws.md
// publishes. The error names the action and has the statement to add; with that
// added all goes on. A right that is found missing when the password is set
// already locks nobody out.
func TestAWSMissingRights(t *testing.T) {
	t.Parallel()
	c := newCloud(t, "aws_rights")
	c.tagged("root/db", c.db.Superuser().Value())
	type lack struct {
		action string
		does   []string // the command that lacks it; NAME is the secret
		tags   []string // of the secret
		code   int
	}
	lacks := []lack{
		{opDescribe, []string{"rotate", "NAME"}, nil, 1},
		{opValue, []string{"rotate", "NAME"}, nil, 1},
		{opPut, []string{"rotate", "NAME"}, nil, 1},
		{opStage, []string{"rotate", "NAME"}, nil, 1},
		{opList, []string{"plan"}, nil, 1},
		{opVersions, []string{"plan"}, []string{"pawl:schedule", "rate(1 second)"}, 0},
		{opTag, []string{"pause", "NAME"}, []string{"pawl:schedule", "rate(30 days)"}, 1},
		{opUntag, []string{"resume", "NAME"}, []string{"pawl:schedule", "rate(30 days)", "pawl:paused", "yes"}, 1},
		{opValue + " of the superuser", []string{"rotate", "NAME"}, []string{"pawl:strategy", "alternating-users", "pawl:superuser", "root/db"}, 1},
	}
	seen := map[string]bool{}
	users := map[string]secrets.Credentials{}
	for i, l := range lacks {
		seen[strings.Fields(l.action)[0]] = true
		users[l.action] = user(t, c.db, fmt.Sprintf("ar_%d", i))
	}
	for _, s := range publishedPolicy(t) {
		for _, a := range actionsOf(s) {
			if !seen[a] {
				t.Errorf("docs/aws.md allows %s, and nothing here needs it", a)
			}
		}
	}
	sideBySide(t, 4, lacks, func(l lack) string { return l.action }, func(t *testing.T, l lack) {
		c := c.in(t)
		action, _, super := strings.Cut(l.action, " ")
		plain := strings.ToLower(strings.ReplaceAll(l.action, " ", "-"))
		secret := "prod/app/" + plain
		c.tagged(secret, users[l.action].Value(), l.tags...)
		if action == opVersions { // the secret's own dates do not tell how old its value is
			made := time.Now()
			until(t, "the secret to be older than its schedule", func() bool { return time.Since(made) > 1100*time.Millisecond })
			in := &secretsmanager.TagResourceInput{SecretId: &secret, Tags: []types.Tag{{Key: aws.String("changed"), Value: aws.String("later")}}}
			if _, err := c.sdk.TagResource(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		about := secret
		if super {
			about = "root/db"
		}
		who := c.enrol("lacks-"+plain, lacking(t, action, super))
		s := c.elsewhereAs(t, who, c.gate.url, often)
		args := slices.Clone(l.does)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "NAME", secret)
		}
		was := c.holder(secret, secrets.Current)
		r := c.at(s, args...)
		told := r.err
		if l.code == 0 {
			told = r.out
		}
		m := regexp.MustCompile(`add to the policy of who calls: (\{.*?\}) \(docs/aws.md`).FindStringSubmatch(told)
		if r.code != l.code || m == nil || !strings.Contains(told, "not authorized to perform: secretsmanager:"+action) {
			t.Fatalf("exit code %d: %s%s", r.code, r.out, r.err)
		}
		if action != opList && !strings.Contains(told, about) {
			t.Errorf("it does not say of which secret: %s", told)
		}
		if err := c.db.Login(t.Context(), c.current(secret)); err != nil {
			t.Errorf("locked out: %v", err)
		}
		// The statement it shows is good as it is.
		var add statement
		if err := json.Unmarshal([]byte(m[1]), &add); err != nil || add.Action != "secretsmanager:"+action {
			t.Fatalf("%v: %s", err, m[1])
		}
		c.do("access", "update", "lacks-"+plain, "--policy", c.policyFile("lacks-"+plain, lacking(t, action, super)+","+m[1]))
		if r := c.at(s, args...); r.code != 0 || strings.Contains(r.out, "not authorized") {
			t.Errorf("with that right: exit code %d: %s%s", r.code, r.out, r.err)
		}
		if args[0] == "rotate" {
			if c.holder(secret, secrets.Current) == was {
				t.Error("it was not rotated")
			}
			c.resting(t, secret)
		}
	})
}

func actionsOf(s statement) (out []string) {
	switch a := s.Action.(type) {
	case string:
		out = append(out, a)
	case []any:
		for _, one := range a {
			out = append(out, one.(string))
		}
	}
	for i := range out {
		out[i] = strings.TrimPrefix(out[i], "secretsmanager:")
	}
	return out
}

// lacking are the published statements without an action: that on the superuser's
// secret, or else all others with it.
func lacking(t *testing.T, action string, super bool) string {
	t.Helper()
	var out []string
	for _, s := range publishedPolicy(t) {
		if (s.Sid == "Superuser") == super {
			var left []string
			for _, a := range actionsOf(s) {
				if a != action {
					left = append(left, "secretsmanager:"+a)
				}
			}
			if left == nil {
				continue
			}
			s.Action = left
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return strings.Join(out, ",")
}

// TestAWSBadInput: whatever is wrong with the way to AWS is said at once, with what
// to type, by the exit code that tells a person from a retry.
func TestAWSBadInput(t *testing.T) {
	c := newCloud(t, "aws_bad")
	const name = "prod/app/bad"
	c.tagged(name, user(t, c.db, "ab_app").Value())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := "http://" + closed.Addr().String()
	closed.Close()
	other := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	elsewhere := other(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>It works!</html>") })
	notFound := other(http.NotFound)
	expired := other(func(w http.ResponseWriter, _ *http.Request) {
		says(400, "ExpiredTokenException", "The security token included in the request is expired")(w, nil)
	})
	wrongKey := c.user
	wrongKey.SecretAccessKey = strings.Repeat("wrong", 8)
	noKey := aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: strings.Repeat("x", 40)}

	type bad struct {
		name string
		who  aws.Credentials
		at   string // the endpoint
		env  []string
		edit string // in place of the store's region
		code int
		text string
	}
	all := []bad{
		{name: "expired session", who: c.user, at: expired, code: 1, text: `security token included in the request is expired.*get fresh credentials: AWS_ACCESS_KEY_ID`},
		{name: "expired session of a profile", who: c.user, at: expired, env: []string{"AWS_PROFILE=rotator"}, code: 1, text: `aws sso login --profile rotator`},
		{name: "wrong secret key", who: wrongKey, at: c.gate.url, code: 1, text: `look at AWS_SECRET_ACCESS_KEY`},
		{name: "unknown access key", who: noKey, at: c.gate.url, code: 1, text: `get fresh credentials`},
		{name: "no credentials", at: c.gate.url, code: 2, text: `no AWS credentials were found.*store.aws.profile`},
		{name: "no such profile", at: c.gate.url, env: []string{"AWS_PROFILE=nobody"}, code: 2, text: `there is no AWS profile "nobody".*aws configure list-profiles`},
		{name: "wrong region", who: c.user, at: c.gate.url, edit: "eu-west-3", code: 1, text: `not authorized to perform: secretsmanager:DescribeSecret.*arn:aws:secretsmanager:eu-west-3:`},
		{name: "no region", who: c.user, at: c.gate.url, edit: "nowhere", code: 2, text: `store.aws.region`},
		{name: "endpoint down", who: c.user, at: down, code: 3, text: `connection refused.*can this machine reach it\? Look at store.aws`},
		{name: "something else answers", who: c.user, at: elsewhere, code: 3, text: `is it AWS Secrets Manager that answers at this address\?`},
		{name: "nothing there", who: c.user, at: notFound, code: 1, text: `HTTP 404 Not Found.*something else than AWS at this address`},
		{name: "TLS where there is none", who: c.user, at: strings.Replace(c.gate.url, "http:", "https:", 1), code: 1, text: `it does not speak TLS: write store.aws.endpoint with http://`},
		{name: "unknown authority", who: c.user, at: c.endpoint, code: 1, text: `certificate.*AWS_CA_BUNDLE`},
	}
	sideBySide(t, 6, all, func(b bad) string { return b.name }, func(t *testing.T, b bad) {
		s := c.in(t).elsewhereAs(t, b.who, b.at, "")
		s.env = append(s.env, b.env...)
		if slices.Contains(b.env, "AWS_PROFILE=rotator") {
			writeProfile(t, s)
		}
		if b.edit != "" {
			replaceIn(t, s.file(), "region: "+homeRegion, "region: "+b.edit)
		}
		began := time.Now()
		r := c.at(s, "rotate", name, "--timeout", "2s")
		if r.code != b.code || !regexp.MustCompile(`(?s)`+b.text).MatchString(r.err) {
			t.Errorf("exit code %d: %s", r.code, r.err)
		}
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("it took %v", took)
		}
		if strings.Contains(r.err, c.user.SecretAccessKey) {
			t.Error("it tells the secret access key")
		}
	})
	if c.db.Login(t.Context(), c.current(name)) != nil || c.holder(name, pawlIntent) != "" {
		t.Error("something was changed")
	}
}
