package principals_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
)

func TestSession(t *testing.T) {
	h := newHouse(t)
	r, _ := h.make(t, principals.NewPrincipal{Name: "ada", Policies: []principals.Policy{allow("all", "secretsmanager:*")}, Tags: []policy.Tag{{Key: "team", Value: "red"}, {Key: "site", Value: "x"}}})
	plain := h.session(t, "ada", principals.NewSession{})
	if !strings.HasPrefix(plain.AccessKeyID, "ASIA") || len(plain.AccessKeyID) != 20 || len(plain.Secret.Reveal()) != 40 || !plain.Expires.Equal(h.clock.now().Add(time.Hour)) {
		t.Errorf("got %+v", plain)
	}
	p := use(t, h.Directory, plain)
	if p.ARN != r.ARN() || p.Type != policy.User || p.Username != "ada" || p.UserID != r.ID || !p.TokenIssued.Equal(h.clock.now()) || p.Policies.Session != nil || !reflect.DeepEqual(p.Tags, r.Tags) {
		t.Errorf("got %+v", p)
	}
	limited := h.session(t, "ada", principals.NewSession{Duration: 15 * time.Minute, Policy: allow("", read).Document, Tags: []policy.Tag{{Key: "Team", Value: "blue"}, {Key: "job", Value: "9"}}})
	p = use(t, h.Directory, limited)
	if !may(p, read) || may(p, "secretsmanager:PutSecretValue") {
		t.Error("the session's policy does not limit it")
	}
	if want := []policy.Tag{{Key: "Team", Value: "blue"}, {Key: "site", Value: "x"}, {Key: "job", Value: "9"}}; !reflect.DeepEqual(p.Tags, want) {
		t.Errorf("got tags %v", p.Tags)
	}
	if p = use(t, h.Directory, plain); p.Tags[0].Value != "red" {
		t.Error("one session's tags are another's")
	}

	role := h.role(t, "app", trust(`{"AWS": "111122223333"}`), allow("all", "secretsmanager:*"))
	p = use(t, h.Directory, h.session(t, role.ARN(), principals.NewSession{Name: "job@1"}))
	if p.ARN != "arn:aws:sts::111122223333:assumed-role/app/job@1" || p.Type != policy.AssumedRole || p.Issuer != role.ARN() ||
		p.UserID != role.ID+":job@1" || p.Username != "" || p.TokenIssued.IsZero() || !may(p, read) {
		t.Errorf("got %+v", p)
	}
}

func TestSessionRefuses(t *testing.T) {
	h := newHouse(t)
	h.user(t, "ada")
	h.make(t, principals.NewPrincipal{Name: "app", Kind: principals.Role, Trust: trust(`"*"`), MaxSession: 2 * time.Hour})
	h.user(t, "off")
	if _, err := h.SetDisabled(t.Context(), "off", true); err != nil {
		t.Fatal(err)
	}
	tags := make([]policy.Tag, 50)
	for i := range tags {
		tags[i] = policy.Tag{Key: strings.Repeat("k", i+1), Value: strings.Repeat("v", 256)}
	}
	const validation = "ValidationError"
	for name, c := range map[string]struct {
		ref, code string
		n         principals.NewSession
		words     []string
	}{
		"nobody":       {"bob", "", principals.NewSession{}, []string{"bob"}},
		"disabled":     {"off", "", principals.NewSession{}, []string{"off is disabled"}},
		"short":        {"ada", validation, principals.NewSession{Duration: 899 * time.Second}, []string{"'899' at 'durationSeconds'", "900"}},
		"negative":     {"ada", validation, principals.NewSession{Duration: -time.Hour}, []string{"durationSeconds"}},
		"long":         {"ada", validation, principals.NewSession{Duration: 12*time.Hour + time.Second}, []string{"'43201' at 'durationSeconds'", "43200"}},
		"role's long":  {"app", validation, principals.NewSession{Duration: 3 * time.Hour}, []string{"MaxSessionDuration", "2h"}},
		"name":         {"app", validation, principals.NewSession{Name: "a b"}, []string{"'a b' at 'roleSessionName'"}},
		"short name":   {"app", validation, principals.NewSession{Name: "a"}, []string{"roleSessionName"}},
		"policy":       {"ada", "MalformedPolicyDocument", principals.NewSession{Policy: `{"Statement": []}`}, []string{"Statement"}},
		"long policy":  {"ada", validation, principals.NewSession{Policy: allow("", read).Document + strings.Repeat(" ", 2048)}, []string{"'policy'", "2048"}},
		"tag":          {"ada", validation, principals.NewSession{Tags: []policy.Tag{{Key: "a"}, {Key: "A"}}}, []string{`"a" and "A"`}},
		"all too much": {"ada", "PackedPolicyTooLarge", principals.NewSession{Tags: tags}, []string{"Packed size"}},
	} {
		t.Run(name, func(t *testing.T) {
			creds, err := h.Session(t.Context(), c.ref, c.n)
			wantInvalid(t, err, c.words...)
			if creds != nil || secrets.CodeOf(err) != c.code {
				t.Errorf("code %q, credentials %v", secrets.CodeOf(err), creds)
			}
		})
	}
}

func TestEndSessions(t *testing.T) {
	h := newHouse(t)
	_, key := h.user(t, "ada")
	before := h.session(t, "ada", principals.NewSession{})
	use(t, h.Directory, before)
	r, err := h.directory(t, h.open(t)).EndSessions(t.Context(), "ada")
	if err != nil || !r.SessionsSince.Equal(h.clock.now()) {
		t.Fatalf("got %+v, %v", r, err)
	}
	refused(t, h.Directory, before)
	use(t, h.Directory, key)
	// In the same second, and by a clock that was set back.
	after := h.session(t, "ada", principals.NewSession{})
	use(t, h.Directory, after)
	h.clock.add(-time.Minute)
	use(t, h.Directory, h.session(t, "ada", principals.NewSession{}))
	if _, err := h.EndSessions(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	refused(t, h.Directory, after)
	refused(t, h.Directory, before)
}

// TestRecreated: a session is of the one who was, not of who has his name now.
func TestRecreated(t *testing.T) {
	h := newHouse(t)
	for range 2 {
		role := h.role(t, "app", trust(`"*"`))
		session := h.session(t, "app", principals.NewSession{})
		use(t, h.Directory, session)
		if _, err := h.Delete(t.Context(), role.ARN()); err != nil {
			t.Fatal(err)
		}
		refused(t, h.Directory, session)
		h.role(t, "app", trust(`"*"`))
		refused(t, h.Directory, session)
		if _, err := h.Delete(t.Context(), "app"); err != nil {
			t.Fatal(err)
		}
	}
}

// signed is a request that an SDK signs.
func signed(t testing.TB, at time.Time, c *principals.Credentials) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "https://pawl.example/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "secretsmanager.ListSecrets")
	const hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	creds := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.Secret.Reveal(), SessionToken: c.SessionToken.Reveal()}
	if err := v4.NewSigner().SignHTTP(context.Background(), creds, r, hash, "secretsmanager", "eu-west-1", at); err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Length", "2")
	return r
}

// TestVerifier: what a Directory gives out signs requests, until it expires; the
// key that signed is noted, and no other.
func TestVerifier(t *testing.T) {
	h := newHouse(t)
	_, key := h.user(t, "ada")
	_, idle := h.user(t, "idle")
	session := h.session(t, "ada", principals.NewSession{})
	v := access.NewVerifier(access.VerifierConfig{Keys: h.Directory, Now: h.clock.now})
	ask := func(c *principals.Credentials) (access.Principal, error) {
		return v.Authenticate(signed(t, h.clock.now(), c), []byte("{}"))
	}
	for _, c := range []*principals.Credentials{key, session} {
		if p, err := ask(c); err != nil || p.ARN != c.ARN || p.AccessKey != c.AccessKeyID || p.Region != "eu-west-1" {
			t.Errorf("got %+v, %v", p, err)
		}
	}
	wrong := func(change func(*principals.Credentials)) *principals.Credentials {
		c := *idle
		change(&c)
		return &c
	}
	h.clock.add(time.Hour - time.Second)
	if _, err := ask(session); err != nil {
		t.Error(err)
	}
	h.clock.add(time.Second)
	for name, c := range map[string]struct {
		creds *principals.Credentials
		code  string
	}{
		"expired":        {session, "ExpiredTokenException"},
		"another secret": {wrong(func(c *principals.Credentials) { c.Secret = key.Secret }), "InvalidSignatureException"},
		"a token":        {wrong(func(c *principals.Credentials) { c.SessionToken = session.SessionToken }), "UnrecognizedClientException"},
		"another's":      {wrong(func(c *principals.Credentials) { c.AccessKeyID = session.AccessKeyID }), "UnrecognizedClientException"},
		"nobody's":       {wrong(func(c *principals.Credentials) { c.AccessKeyID = "AKIAAAAAAAAAAAAAAAAA" }), "UnrecognizedClientException"},
	} {
		if _, err := ask(c.creds); secrets.CodeOf(err) != c.code {
			t.Errorf("%s: got %v, want %s", name, err, c.code)
		}
	}
	h.Close()
	if used, err := h.LastUses(t.Context(), key.AccessKeyID, idle.AccessKeyID, session.AccessKeyID); err != nil || len(used) != 1 || used[key.AccessKeyID].IsZero() {
		t.Errorf("noted: %v, %v", used, err)
	}
}

// TestTampering: a token that was changed anywhere, or is another key's, is none,
// whether or not the right one is remembered.
func TestTampering(t *testing.T) {
	h := newHouse(t)
	h.user(t, "ada", allow("reader", read))
	creds := h.session(t, "ada", principals.NewSession{})
	others := h.session(t, "ada", principals.NewSession{})
	good := creds.SessionToken.Reveal()
	raw, err := base64.StdEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := h.Directory
		if rapid.Bool().Draw(t, "cold") {
			d = principals.New(principals.Config{Store: h.store, Sealer: h.keys, Account: account, Now: h.clock.now})
		}
		c := *creds
		token := good
		switch rapid.IntRange(0, 5).Draw(t, "how") {
		case 0: // one bit
			b := bytes.Clone(raw)
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			token = base64.StdEncoding.EncodeToString(b)
		case 1: // cut
			token = good[:rapid.IntRange(0, len(good)-1).Draw(t, "at")]
		case 2: // longer
			token += rapid.StringN(1, 20, -1).Draw(t, "more")
		case 3: // another key's
			token = others.SessionToken.Reveal()
		case 4: // something in between
			at := rapid.IntRange(0, len(good)).Draw(t, "at")
			token = good[:at] + rapid.SampledFrom([]string{"\n", "\r\n", " ", "=", "A", "\x00", "é"}).Draw(t, "what") + good[at:]
		case 5: // made of two
			at := rapid.IntRange(1, len(raw)-1).Draw(t, "at")
			b, err := base64.StdEncoding.DecodeString(others.SessionToken.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			token = base64.StdEncoding.EncodeToString(append(bytes.Clone(raw[:at]), b[min(at, len(b)):]...))
		}
		if token == good {
			t.Skip("unchanged")
		}
		c.SessionToken = secrets.NewPassword(token)
		k, err := d.AccessKey(context.Background(), c.AccessKeyID, c.SessionToken)
		if !errors.Is(err, access.ErrNoKey) || !k.Secret.IsEmpty() {
			t.Fatalf("got %v, %v", k.Principal.ARN, err)
		}
	})
	use(t, h.Directory, creds)
	// Of every length: one token has one text.
	for _, name := range []string{"aa", "aaa", "aaaa"} {
		c := *h.session(t, "ada", principals.NewSession{Name: name})
		c.SessionToken = secrets.NewPassword(sameBytes(c.SessionToken.Reveal()))
		refused(t, h.Directory, &c)
	}
}

// deputy is a Sealer that opens, beside its own format, another one, under
// whatever key a stranger names: as one with a key service might.
type deputy struct {
	principals.Sealer
	asked int
}

func (d *deputy) Open(ctx context.Context, arn, versionID string, sealed []byte) (secrets.Value, error) {
	if len(sealed) > 0 && sealed[0] == 2 {
		d.asked++
		return secrets.Owned(bytes.Clone(sealed[1:]), true), nil
	}
	return d.Sealer.Open(ctx, arn, versionID, sealed)
}

// TestForeignFormat: a token that a stranger sealed with a key of his own is
// never opened.
func TestForeignFormat(t *testing.T) {
	h := newHouse(t)
	r, _ := h.user(t, "ada", allow("all", "*"))
	for _, warm := range []bool{false, true} {
		sealer := &deputy{Sealer: h.keys}
		d := principals.New(principals.Config{Store: h.store, Sealer: sealer, Account: account, Now: h.clock.now})
		if warm {
			if _, err := d.Session(t.Context(), "ada", principals.NewSession{}); err != nil {
				t.Fatal(err)
			}
		}
		forged := append([]byte{2}, `{"Account":"111122223333","Owner":"ada","ID":"`+r.ID+`","Secret":"mine","Expires":9999999999}`...)
		refused(t, d, &principals.Credentials{AccessKeyID: "ASIAAAAAAAAAAAAAAAAA", SessionToken: secrets.NewPassword(base64.StdEncoding.EncodeToString(forged))})
		if sealer.asked != 0 {
			t.Error("the stranger's key was asked")
		}
	}
}

// sameBytes returns another text that a lenient decoder takes for the token: its
// last letter has bits that stand for nothing.
func sameBytes(token string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	text := strings.TrimRight(token, "=")
	if text == token {
		return token + "\n"
	}
	last := len(text) - 1
	return text[:last] + string(letters[strings.IndexByte(letters, text[last])+1]) + token[len(text):]
}

func FuzzSessionToken(f *testing.F) {
	h := newHouse(f)
	r, _, err := h.Create(context.Background(), principals.NewPrincipal{Name: "ada"})
	if err != nil {
		f.Fatal(err)
	}
	creds, err := h.Session(context.Background(), r.ARN(), principals.NewSession{})
	if err != nil {
		f.Fatal(err)
	}
	good := creds.SessionToken.Reveal()
	f.Add(creds.AccessKeyID, good)
	f.Add(creds.AccessKeyID, "")
	f.Add("ASIAAAAAAAAAAAAAAAAA", good)
	f.Add(creds.AccessKeyID, good[:len(good)-4])
	f.Add(creds.AccessKeyID, "AQ==")
	f.Add(creds.AccessKeyID, sameBytes(good))
	f.Add(creds.AccessKeyID, strings.Repeat("A", 8193))
	f.Fuzz(func(t *testing.T, id, token string) {
		if strings.HasPrefix(id, "AKIA") {
			t.Skip("not a session")
		}
		k, err := h.AccessKey(context.Background(), id, secrets.NewPassword(token))
		if ours := id == creds.AccessKeyID && token == good; ours != (err == nil) || !ours && (!errors.Is(err, access.ErrNoKey) || !k.Secret.IsEmpty()) {
			t.Errorf("ours %v: %v", ours, err)
		}
	})
}
