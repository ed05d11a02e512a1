package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/uuid"
)

// M and L are a JSON object and list.
type (
	M = map[string]any
	L = []any
)

// Probe is a rule's way to its endpoint, as one caller in one region. Methods
// that expect something do not return when they are disappointed.
type Probe struct {
	*Target
	ctx    context.Context
	region string
	cred   aws.Credentials
	made   *madeSecrets
}

// madeSecrets are to be removed when the rule ends.
type madeSecrets struct {
	sync.Mutex
	secrets []madeSecret
}

type madeSecret struct {
	at   *Probe
	name string
}

func newProbe(ctx context.Context, t *Target) *Probe {
	return &Probe{Target: t, ctx: ctx, region: t.Region, cred: t.Credentials, made: &madeSecrets{}}
}

// In returns the Probe for another region.
func (p *Probe) In(region string) *Probe {
	q := *p
	q.region = region
	return &q
}

// As returns the Probe for another caller.
func (p *Probe) As(c aws.Credentials) *Probe {
	q := *p
	q.cred = c
	return &q
}

// OtherAccount returns the Probe as another account.
func (p *Probe) OtherAccount() *Probe {
	if p.Target.Other == nil {
		p.Skip("needs credentials of another account")
	}
	return p.As(*p.Target.Other)
}

// InReplicaRegion returns the Probe for the second region.
func (p *Probe) InReplicaRegion() *Probe {
	if p.ReplicaRegion == "" {
		p.Skip("needs a second region")
	}
	return p.In(p.ReplicaRegion)
}

// OwnKey returns a KMS key that is not the default one.
func (p *Probe) OwnKey() string {
	if p.Key == "" {
		p.Skip("needs a KMS key")
	}
	return p.Key
}

// RotationFunction returns the ARN of a function that may be invoked.
func (p *Probe) RotationFunction() string {
	if p.Function == "" {
		p.Skip("needs a rotation function")
	}
	return strings.NewReplacer("{region}", p.region, "{account}", p.account).Replace(p.Function)
}

// Fail ends the rule.
func (p *Probe) Fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// Skip ends the rule as one that can't be tried here.
func (p *Probe) Skip(why string) { panic(skipped(why)) }

// Verified skips the rule at an endpoint that takes any credentials.
func (p *Probe) Verified() {
	if p.Unverified {
		p.Skip("the endpoint accepts any well-formed credentials")
	}
}

// Name returns a new name; a secret of that name is removed at the end.
func (p *Probe) Name() string {
	return p.Named("pawl-conformance/" + strings.ToLower(rand.Text()[:20]))
}

// Named has a secret of that name removed at the end.
func (p *Probe) Named(name string) string {
	p.made.Lock()
	defer p.made.Unlock()
	p.made.secrets = append(p.made.secrets, madeSecret{p, name})
	return name
}

// Word returns a new word of lower-case letters and digits.
func (p *Probe) Word() string { return "w" + strings.ToLower(rand.Text()[:15]) }

// Token returns a new ClientRequestToken.
func (p *Probe) Token() string { return uuid.NewString() }

// Secret is a secret that a rule made.
type Secret struct {
	Name, ARN string
	Version   string // the id of the first version
}

// arn returns a part of the ARN, counted from 0.
func (s *Secret) arn(i int) string { return strings.SplitN(s.ARN, ":", 7)[i] }

// PartialARN is the ARN without the hyphen and six characters.
func (s *Secret) PartialARN() string { return s.ARN[:len(s.ARN)-7] }

// Secret makes a secret with the value "first"; members are added to the
// request, or taken out of it when nil.
func (p *Probe) Secret(members ...M) *Secret {
	in := M{"Name": "", "ClientRequestToken": p.Token(), "SecretString": "first"}
	for _, m := range members {
		in = with(in, m)
	}
	if in["Name"] == "" {
		in["Name"] = p.Name()
	}
	a := p.OK("CreateSecret", in)
	s := &Secret{Name: in["Name"].(string), ARN: a.Str("ARN")}
	s.Version, _ = a.Members["VersionId"].(string)
	return s
}

// Marked makes a secret and marks it for deletion.
func (p *Probe) Marked(members ...M) *Secret {
	s := p.Secret(members...)
	p.OK("DeleteSecret", M{"SecretId": s.Name, "RecoveryWindowInDays": 7})
	return s
}

// Put adds a version with the value, with these labels, and returns its id.
func (p *Probe) Put(s *Secret, value string, labels ...string) string {
	in := M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "SecretString": value}
	if len(labels) > 0 {
		in["VersionStages"] = labels
	}
	return p.OK("PutSecretValue", in).Str("VersionId")
}

// with returns m with more added; what is nil in more is taken out.
func with(m, more M) M {
	m = maps.Clone(m)
	for k, v := range more {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	return m
}

// Request is one HTTP request in all its freedom.
type Request struct {
	Operation string
	Body      []byte
	At        time.Time           // when it says it was signed; zero = now
	Service   string              // that it is signed for; "" = secretsmanager
	Before    func(*http.Request) // changes it before it is signed
	After     func(*http.Request) // changes it after it was signed
}

// Send sends a request. An endpoint that is throttling is asked again.
func (p *Probe) Send(r Request) *Answer {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		a := p.send(r)
		if a.Code() != "ThrottlingException" || wait > 10*time.Second {
			return a
		}
		p.pause(wait)
	}
}

func (p *Probe) send(r Request) *Answer {
	req, err := http.NewRequestWithContext(p.ctx, http.MethodPost, p.URL+"/", bytes.NewReader(r.Body))
	if err != nil {
		p.Fail("%v", err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "secretsmanager."+r.Operation)
	if r.Before != nil {
		r.Before(req)
	}
	if r.At.IsZero() {
		r.At = time.Now()
	}
	if r.Service == "" {
		r.Service = "secretsmanager"
	}
	sum := sha256.Sum256(r.Body)
	if err := v4.NewSigner().SignHTTP(p.ctx, p.cred, req, hex.EncodeToString(sum[:]), r.Service, p.region, r.At.UTC()); err != nil {
		p.Fail("signing: %v", err)
	}
	if r.After != nil {
		r.After(req)
	}
	resp, err := p.Client.Do(req)
	if err != nil {
		p.Fail("%s: %v", r.Operation, err)
	}
	defer resp.Body.Close()
	a := &Answer{p: p, op: r.Operation, Status: resp.StatusCode, Header: resp.Header, Length: resp.ContentLength}
	if a.Body, err = io.ReadAll(resp.Body); err != nil {
		p.Fail("%s: reading the answer: %v", r.Operation, err)
	}
	d := json.NewDecoder(bytes.NewReader(a.Body))
	d.UseNumber()
	_ = d.Decode(&a.Members) // not an object: no members
	return a
}

// Call sends an operation's request as JSON; in may be bytes to send as they
// are.
func (p *Probe) Call(operation string, in any) *Answer {
	body, ok := in.([]byte)
	if !ok {
		var err error
		if body, err = json.Marshal(in); err != nil {
			p.Fail("%v", err)
		}
	}
	return p.Send(Request{Operation: operation, Body: body})
}

// OK calls an operation that must succeed.
func (p *Probe) OK(operation string, in any) *Answer {
	a := p.Call(operation, in)
	if a.Status != http.StatusOK {
		p.Fail("want success, got %s", a)
	}
	return a
}

// Refused calls an operation that must fail with this exception and text; an
// empty text is any.
func (p *Probe) Refused(operation string, in any, code, text string) *Answer {
	return p.Call(operation, in).Refused(code, text)
}

// Eventually waits until check has nothing to say. What check's own Probe
// methods find wrong ends the rule at once.
func (p *Probe) Eventually(check func() (wrong string)) {
	deadline := time.Now().Add(p.Patience)
	for wait := 5 * time.Millisecond; ; wait = min(wait*2, time.Second) {
		wrong := check()
		if wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			p.Fail("after %v still: %s", p.Patience, wrong)
		}
		p.pause(wait)
	}
}

func (p *Probe) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-p.ctx.Done():
		p.Fail("%v", p.ctx.Err())
	}
}
