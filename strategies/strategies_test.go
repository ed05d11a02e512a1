package strategies

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/jonboulle/clockwork"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/engines/postgres"
	"github.com/pawlhq/pawl/secrets"
)

func TestToggle(t *testing.T) {
	for user, other := range map[string]string{
		"app": "app_clone", "app_clone": "app", "_clone": "_clone_clone", "app_Clone": "app_Clone_clone", "a_clone_clone": "a_clone",
	} {
		if got := Toggle(user); got != other {
			t.Errorf("Toggle(%q) = %q, want %q", user, got, other)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		user := rapid.StringMatching(`[a-z_]{1,20}`).Draw(t, "user")
		if got := Toggle(Toggle(user)); got != user {
			t.Fatalf("Toggle twice of %q = %q", user, got)
		}
	})
}

func TestSuperusers(t *testing.T) {
	arn := secrets.ARN{Partition: "aws", Region: "us-east-1", Account: "000000000000", Name: "prod/root", Suffix: "AbCdEf"}
	store := map[string]secrets.Credentials{
		"prod/root":  secrets.NewCredentials("host", "db", "username", "root", "password", "p"),
		arn.String(): secrets.NewCredentials("host", "db", "username", "root", "password", "p"),
		"bare":       secrets.NewCredentials("username", "root", "password", "p"),
		"broken":     secrets.NewCredentials("host", "db", "username", "root"),
	}
	pairing := secrets.Pairing{Secret: "prod/root", For: []string{"prod/*"}, Hosts: []string{"replica", "alias:5432"}}
	tests := []struct {
		name      string
		secret    string
		rules     secrets.RotationRules
		masterarn string
		server    string
		pairings  []secrets.Pairing
		foreign   bool   // the superuser is of another account
		want      string // part of the error; "" = the superuser; "none" = no superuser
	}{
		{name: "none named", secret: "prod/app", server: "db:5432", want: "none"},
		{name: "named in the file", secret: "prod/app", rules: secrets.RotationRules{Superuser: "prod/root"}, server: "db:5432"},
		{name: "named in the file, another host", secret: "prod/app", rules: secrets.RotationRules{Superuser: "prod/root"}, server: "evil:5432", want: "is of db:5432, not of evil:5432"},
		{name: "named in the file, another port", secret: "prod/app", rules: secrets.RotationRules{Superuser: "prod/root"}, server: "db:5433", want: "is of db:5432, not of db:5433"},
		{name: "named in the file, admin_host", secret: "prod/app", rules: secrets.RotationRules{Superuser: "prod/root", AdminHost: "primary:5432"}, server: "primary:5432"},
		{name: "masterarn paired", secret: "prod/app", masterarn: arn.String(), server: "db:5432", pairings: []secrets.Pairing{pairing}},
		{name: "masterarn by name", secret: "prod/app", masterarn: "prod/root", server: "db:5432", pairings: []secrets.Pairing{pairing}},
		{name: "masterarn on a declared host", secret: "prod/app", masterarn: "prod/root", server: "alias:5432", pairings: []secrets.Pairing{pairing}},
		{name: "masterarn on another port of it", secret: "prod/app", masterarn: "prod/root", server: "alias:5433", pairings: []secrets.Pairing{pairing}, want: "not of alias:5433"},
		{name: "masterarn not paired", secret: "prod/app", masterarn: "prod/root", server: "db:5432", want: "not paired"},
		{name: "masterarn paired with others", secret: "staging/app", masterarn: "prod/root", server: "db:5432", pairings: []secrets.Pairing{pairing}, want: "not paired"},
		{name: "a superuser without a host", secret: "prod/app", rules: secrets.RotationRules{Superuser: "bare"}, server: "db:5432", want: "no declared server"},
		{name: "a superuser without a host, declared", secret: "prod/app", rules: secrets.RotationRules{Superuser: "bare"}, server: "db:5432",
			pairings: []secrets.Pairing{{Secret: "bare", For: []string{"*"}, Hosts: []string{"db"}}}},
		{name: "a superuser without a password", secret: "prod/app", rules: secrets.RotationRules{Superuser: "broken"}, server: "db:5432", want: "password key is missing"},
		{name: "a superuser of another account", secret: "prod/app", masterarn: "prod/root", server: "db:5432", pairings: []secrets.Pairing{pairing}, foreign: true, want: "of account 111111111111, not of 000000000000"},
		{name: "a superuser of another account, named in the file", secret: "prod/app", rules: secrets.RotationRules{Superuser: "prod/root"}, server: "db:5432", foreign: true, want: "keep a secret for the superuser in account 000000000000"},
		{name: "no such superuser", secret: "prod/app", rules: secrets.RotationRules{Superuser: "gone"}, server: "db:5432", want: "can't find"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Superusers{Pairings: tt.pairings, Credentials: func(_ context.Context, near secrets.ARN, id string) (secrets.Credentials, secrets.ARN, error) {
				c, ok := store[id]
				if !ok {
					return c, secrets.ARN{}, secrets.Errorf(secrets.Invalid, "can't find it")
				}
				a := arn
				if a.Account = near.Account; tt.foreign {
					a.Account = "111111111111"
				}
				if !strings.HasPrefix(id, "arn:") {
					a.Name = id
				}
				return c, a, nil
			}}
			cur := secrets.NewCredentials("host", "db", "username", "app", "password", "hunter2", "masterarn", tt.masterarn)
			got, err := s.For(context.Background(), secrets.ARN{Partition: "aws", Region: "us-east-1", Account: "000000000000", Name: tt.secret}, tt.rules, cur, tt.server, 5432)
			switch {
			case tt.want == "" && err == nil && got.Username() == "root":
			case tt.want == "none" && err == nil && got.IsZero():
			case tt.want != "" && tt.want != "none" && err != nil && strings.Contains(err.Error(), tt.want) && secrets.KindOf(err) == secrets.Invalid:
			default:
				t.Errorf("got user %q, error %v; want %q", got.Username(), err, tt.want)
			}
		})
	}
}

// There is no engine for partners: it says so before anything is opened.
func TestPartner(t *testing.T) {
	u := newUsers(secrets.RotationRules{Strategy: secrets.Partner})
	j := &Job{ARN: secrets.ARN{Name: "s"}, Current: secrets.Text(`{"engine":"postgres","host":"h","username":"u","password":"hunter2"}`)}
	err := u.Check(context.Background(), j)
	if secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), "no engine for partner secrets") {
		t.Errorf("got %v", err)
	}
}

func newUsers(rules secrets.RotationRules) *Users {
	return NewUsers(Config{
		Engines: engines.NewRegistry(postgres.New()), Random: rand.Reader, Clock: clockwork.NewFakeClock(),
		Superusers: Superusers{Credentials: func(context.Context, secrets.ARN, string) (secrets.Credentials, secrets.ARN, error) {
			return secrets.Credentials{}, secrets.ARN{}, errors.New("not asked for here")
		}},
	}, rules)
}

func TestAdapt(t *testing.T) {
	const cur = `{"engine":"postgres","host":"db","port":5432,"username":"app","password":"old","dbname":"shop","note":"x"}`
	tests := []struct {
		name, pending, want string // want starting with ! is part of the error
	}{
		{"unchanged", `{"engine":"postgres","host":"db","port":5432,"username":"app","password":"new","dbname":"shop","note":"x"}`, ""},
		{"other fields edited", `{"engine":"postgres","host":"db","port":5432,"username":"app","password":"new","dbname":"old","gone":1}`,
			`{"engine":"postgres","host":"db","port":5432,"username":"app","password":"new","dbname":"shop","note":"x"}`},
		{"the clone's", `{"engine":"postgres","host":"db","port":5432,"username":"app_clone","password":"new","dbname":"shop"}`,
			`{"engine":"postgres","host":"db","port":5432,"username":"app_clone","password":"new","dbname":"shop","note":"x"}`},
		{"default port left out", `{"engine":"postgres","host":"DB","username":"app","password":"new"}`,
			`{"engine":"postgres","host":"db","port":5432,"username":"app","password":"new","dbname":"shop","note":"x"}`},
		{"another user", `{"engine":"postgres","host":"db","username":"root","password":"new"}`, "!other than current user"},
		{"another host", `{"engine":"postgres","host":"evil","username":"app","password":"new"}`, "!other than current host db:5432"},
		{"another engine", `{"engine":"mysql","host":"db","username":"app","password":"new"}`, "!is for engine \"mysql\""},
		{"no password", `{"engine":"postgres","host":"db","username":"app"}`, "!password key is missing"},
		{"not JSON", `hunter2`, "!not a JSON object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := &Job{ARN: secrets.ARN{Name: "s"}, Current: secrets.Text(cur), Pending: secrets.Text(tt.pending)}
			got, err := newUsers(secrets.RotationRules{Strategy: secrets.SingleUser}).Adapt(j)
			if want, bad := strings.CutPrefix(tt.want, "!"); bad {
				if err == nil || !strings.Contains(err.Error(), want) || secrets.KindOf(err) != secrets.Invalid {
					t.Errorf("error %v, want %q", err, want)
				}
				if err != nil && strings.Contains(err.Error(), "hunter2") {
					t.Error("the error shows the value")
				}
				return
			}
			if tt.want == "" {
				tt.want = tt.pending
			}
			if err != nil || string(got.Reveal()) != tt.want {
				t.Errorf("got %s, %v", got.Reveal(), err)
			}
		})
	}
}

func TestCreate(t *testing.T) {
	const cur = `{"engine":"postgres","host":"db","extra":{"b":1,"a":2},"username":"app","password":"old","port":"5433"}`
	for strategy, user := range map[string]string{secrets.SingleUser: "app", secrets.AlternatingUsers: "app_clone"} {
		u := newUsers(secrets.RotationRules{Strategy: strategy})
		v, err := u.Create(context.Background(), &Job{ARN: secrets.ARN{Name: "s"}, Current: secrets.Text(cur)})
		if err != nil {
			t.Fatal(err)
		}
		c, err := secrets.ParseCredentials(v)
		if err != nil {
			t.Fatal(err)
		}
		pw := c.Password().Reveal()
		if len(pw) != 32 || strings.ContainsAny(pw, `:/@"'\`) {
			t.Errorf("a password of %d characters, or with excluded ones", len(pw))
		}
		want := strings.NewReplacer(`"old"`, `"`+pw+`"`, `"app"`, `"`+user+`"`).Replace(cur)
		if got := string(v.Reveal()); got != want {
			t.Errorf("other fields changed")
		}
	}
}

// A refused AWSCURRENT is told apart from whatever else its user may not do.
func TestCurrentRefused(t *testing.T) {
	denied := secrets.Errorf(secrets.Denied, "password authentication failed").WithHint("look at pg_hba.conf")
	denied.Server = "db:5432"
	err := currentRefused(denied)
	if !errors.Is(err, ErrCurrentRefused) || !errors.Is(err, denied.Err) || secrets.KindOf(err) != secrets.Denied {
		t.Errorf("got %v", err)
	}
	want := "db:5432: unable to log in with the AWSCURRENT credential: password authentication failed; look at pg_hba.conf; if the password was changed at the server, store the right one: pawl secret put NAME --value-file -"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if at := secrets.At(err, "s", "createSecret", ""); !errors.Is(at, ErrCurrentRefused) {
		t.Errorf("its place hides what it is: %v", at)
	}
	locked := secrets.Errorf(secrets.Denied, "account locked")
	locked.Authenticated = true
	for _, err := range []error{currentRefused(locked), currentRefused(secrets.Errorf(secrets.Transient, "connection refused")), superuserRefused(denied, "root")} {
		if errors.Is(err, ErrCurrentRefused) {
			t.Errorf("%v counts as a refused AWSCURRENT", err)
		}
	}
}
