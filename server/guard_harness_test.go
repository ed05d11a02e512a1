package server

import (
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/service"
)

// stage is a server without a socket, whose caller is whoever a test says.
type stage struct {
	*Server
	t    testing.TB
	who  access.Principal
	from func(*http.Request) // changes a request before it is sent; nil = nothing
	log  *logs
}

func newStage(t testing.TB, svc *service.Service) *stage {
	if svc == nil {
		svc = openService(t, nil)
	}
	g := &stage{t: t, log: &logs{}}
	g.Server = New(Config{Service: svc, Auth: g, Log: slog.New(slog.NewTextHandler(g.log, nil))})
	t.Cleanup(func() {
		if strings.Contains(g.log.String(), canary) {
			t.Error("a value was logged")
		}
	})
	return g
}

// Authenticate implements Authenticator.
func (g *stage) Authenticate(*http.Request, []byte) (access.Principal, error) { return g.who, nil }

// reply is an answer.
type reply struct {
	status     int
	code, text string // of a refusal
	body       string
	header     http.Header
}

// denied reports whether policies refused it.
func (r reply) denied() bool {
	return r.code == accessDenied && (strings.Contains(r.text, " is not authorized to perform: ") || strings.Contains(r.text, "is not yours to read"))
}

// ask sends one request of the caller's.
func (g *stage) ask(who access.Principal, operation, body string) reply {
	g.t.Helper()
	g.who = who
	r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(body))
	prefix := "secretsmanager."
	if operations["pawl."+operation] != nil {
		prefix = "pawl."
	}
	r.Header.Set("X-Amz-Target", prefix+operation)
	if g.from != nil {
		g.from(r)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	a := reply{status: w.Code, body: w.Body.String(), header: w.Header()}
	if w.Code != http.StatusOK {
		var f struct {
			Type    string `json:"__type"`
			Message string
			Lower   string `json:"message"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil {
			g.t.Fatalf("%s %s: %v: %s", operation, body, err, a.body)
		}
		if a.code, a.text = f.Type, f.Message; a.text == "" {
			a.text = f.Lower
		}
	}
	return a
}

// ok is ask for what succeeds.
func (g *stage) ok(who access.Principal, operation, body string) map[string]any {
	g.t.Helper()
	a := g.ask(who, operation, body)
	if a.status != http.StatusOK {
		g.t.Fatalf("%s %s: %d %s", operation, body, a.status, a.body)
	}
	m := map[string]any{}
	if a.body != "" {
		if err := json.Unmarshal([]byte(a.body), &m); err != nil {
			g.t.Fatal(err)
		}
	}
	return m
}

// refused checks a refusal's text.
func (g *stage) refused(who access.Principal, operation, body, code, text string) {
	g.t.Helper()
	if a := g.ask(who, operation, body); a.code != code || a.text != text {
		g.t.Errorf("%s %s\ngot  %s: %s\nwant %s: %s", operation, body, a.code, a.text, code, text)
	}
}

// secret makes a secret as the root user of an account.
func (g *stage) secret(account, name, more string) (arn string) {
	g.t.Helper()
	out := g.ok(rootOf(account), "CreateSecret", `{"Name":"`+name+`","ClientRequestToken":"`+token+`"`+more+`}`)
	return out["ARN"].(string)
}

const withValue = `,"SecretString":"{\"username\":\"u\",\"password\":\"` + canary + `\"}"`

// The accounts of these tests.
const (
	ours   = "111122223333"
	theirs = "444455556666"
)

func rootOf(account string) access.Principal {
	return access.Principal{Account: account, Region: "us-east-1", ARN: "arn:aws:iam::" + account + ":root", Type: policy.RootUser}
}

// user is alice of an account, with the statements of an identity-based policy.
func user(t testing.TB, account, statements string) access.Principal {
	p := access.Principal{Account: account, Region: "us-east-1", ARN: "arn:aws:iam::" + account + ":user/alice", Type: policy.User, Username: "alice",
		Tags: []policy.Tag{{Key: "team", Value: "blue"}}}
	if statements != "" {
		p.Policies.Identity = []*policy.Prepared{identity(t, statements)}
	}
	return p
}

// session is alice with credentials that end.
func session(p access.Principal) access.Principal {
	p.TokenIssued = time.Now()
	return p
}

func identity(t testing.TB, statements string) *policy.Prepared {
	t.Helper()
	d, err := policy.ParseIdentity(`{"Version":"2012-10-17","Statement":[` + statements + `]}`)
	if err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
	return policy.Prepare(d)
}

// allow is a statement; conditions is the inside of its Condition.
func allow(action, conditions string) string {
	return `{"Effect":"Allow","Action":` + quoted(action) + `,"Resource":"*","Condition":{` + conditions + `}}`
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// attach puts a policy of these statements on a secret.
func (g *stage) attach(account, id, statements string) {
	g.t.Helper()
	g.ok(rootOf(account), "PutResourcePolicy", `{"SecretId":"`+id+`","ResourcePolicy":`+quoted(`{"Version":"2012-10-17","Statement":[`+statements+`]}`)+`}`)
}

func overTLS(r *http.Request) { r.TLS = &tls.ConnectionState{} }

// harmless are requests of all operations on @ID that change nothing even if they
// are allowed: what is wrong with most of them comes after rights.
var harmless = map[string]string{
	"BatchGetSecretValue":          `{"SecretIdList":["@ID"]}`,
	"CancelRotateSecret":           `{"SecretId":"@ID"}`,
	"CreateSecret":                 `{"Name":"@NAME"}`,
	"DeleteResourcePolicy":         `{"SecretId":"@ID"}`,
	"DeleteSecret":                 `{"SecretId":"@ID","RecoveryWindowInDays":1}`,
	"DescribeSecret":               `{"SecretId":"@ID"}`,
	"GetRandomPassword":            `{}`,
	"GetResourcePolicy":            `{"SecretId":"@ID"}`,
	"GetSecretValue":               `{"SecretId":"@ID"}`,
	"ListSecretVersionIds":         `{"SecretId":"@ID"}`,
	"ListSecrets":                  `{}`,
	"PutResourcePolicy":            `{"SecretId":"@ID","ResourcePolicy":"none"}`,
	"PutSecretValue":               `{"SecretId":"@ID"}`,
	"RemoveRegionsFromReplication": `{"SecretId":"@ID","RemoveReplicaRegions":["eu-west-1"]}`,
	"ReplicateSecretToRegions":     `{"SecretId":"@ID","AddReplicaRegions":[{"Region":"us-east-1"}]}`,
	"RestoreSecret":                `{"SecretId":"@ID"}`,
	"RotateSecret":                 `{"SecretId":"@ID"}`,
	"StopReplicationToReplica":     `{"SecretId":"@ID"}`,
	"TagResource":                  `{"SecretId":"@ID","Tags":[{"Key":"aws:x","Value":"v"}]}`,
	"UntagResource":                `{"SecretId":"@ID","TagKeys":["aws:x"]}`,
	"UpdateSecret":                 `{"SecretId":"@ID"}`,
	"UpdateSecretVersionStage":     `{"SecretId":"@ID","VersionStage":"X"}`,
	"ValidateResourcePolicy":       `{"SecretId":"@ID","ResourcePolicy":"none"}`,
	"ListRotations":                `{"SecretIds":["@ID"]}`,
	"PauseRotation":                `{"SecretId":"@ID"}`,
	"ResumeRotation":               `{"SecretId":"@ID"}`,
	"StartRotation":                `{"SecretId":"@ID"}`,
	"TestRotation":                 `{"SecretId":"@ID"}`,
	"ApplyReplica":                 `{"SecretId":"@ID","PrimaryRegion":"us-east-1","Revision":1}`,
	"DescribeReplica":              `{"SecretId":"@ID"}`,
	"ForgetReplica":                `{"SecretId":"@ID","ReplicaRegion":"sa-east-1"}`,
	"RemoveReplica":                `{"SecretId":"@ID","PrimaryRegion":"sa-east-1","Revision":1}`,
}

// about fills in what a harmless request is about.
func about(operation, id, name string) string {
	return strings.NewReplacer("@ID", id, "@NAME", name).Replace(harmless[operation])
}

// noSecret are the operations that are about no secret in particular.
var noSecret = map[string]bool{"BatchGetSecretValue": true, "GetRandomPassword": true, "ListSecrets": true}
