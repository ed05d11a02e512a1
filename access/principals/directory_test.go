package principals_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
)

func TestCreate(t *testing.T) {
	h := newHouse(t)
	r, creds := h.make(t, principals.NewPrincipal{
		Name: "ada", Policies: []principals.Policy{allow("reader", read)}, Boundary: allow("", read).Document,
		Tags: []policy.Tag{{Key: "team", Value: "red"}},
	})
	if r.Account != account || r.Kind != principals.User || r.ARN() != "arn:aws:iam::111122223333:user/ada" || !r.Created.Equal(h.clock.now()) ||
		!strings.HasPrefix(r.ID, "AIDA") || len(r.ID) != 21 {
		t.Errorf("got %+v", r)
	}
	if len(r.Keys) != 1 || r.Keys[0].ID != creds.AccessKeyID || len(creds.AccessKeyID) != 20 || len(creds.Secret.Reveal()) != 40 || !creds.Expires.IsZero() {
		t.Errorf("got %+v, %+v", r.Keys, creds)
	}
	for _, ref := range []string{"ada", r.ARN(), creds.AccessKeyID} {
		if got, err := h.Find(t.Context(), ref); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("by %s: %+v, %v", ref, got, err)
		}
	}
	p := use(t, h.Directory, creds)
	if p.Type != policy.User || p.Username != "ada" || p.Issuer != "" || !p.TokenIssued.IsZero() || !reflect.DeepEqual(p.Tags, r.Tags) ||
		len(p.Policies.Identity) != 1 || p.Policies.Boundary == nil || p.Policies.Session != nil {
		t.Errorf("got %+v", p)
	}
	if !may(p, read) || may(p, "secretsmanager:PutSecretValue") {
		t.Error("his policy is not his")
	}
	if asIs, err := h.Principal(t.Context(), r, "eu-west-1"); err != nil || asIs.Region != "eu-west-1" || asIs.ARN != p.ARN || !may(asIs, read) {
		t.Errorf("got %+v, %v", asIs, err)
	}

	role := h.role(t, "app", trust(`"*"`), allow("reader", read))
	if role.Keys != nil || !strings.HasPrefix(role.ID, "AROA") || role.ARN() != "arn:aws:iam::111122223333:role/app" {
		t.Errorf("got %+v", role)
	}
	asIs, err := h.Principal(t.Context(), role, "eu-west-1")
	if err != nil || asIs.ARN != "arn:aws:sts::111122223333:assumed-role/app/pawl" || asIs.Issuer != role.ARN() || asIs.Type != policy.AssumedRole ||
		asIs.UserID != role.ID+":pawl" || asIs.Username != "" || asIs.TokenIssued.IsZero() {
		t.Errorf("got %+v, %v", asIs, err)
	}
	if got, err := h.Find(t.Context(), asIs.ARN); err != nil || got.ID != role.ID {
		t.Errorf("by the session's ARN: %+v, %v", got, err)
	}
	bare, none := h.make(t, principals.NewPrincipal{Name: "bare", WithoutKey: true, Account: other})
	if bare.Keys != nil || none != nil || bare.ARN() != "arn:aws:iam::444455556666:user/bare" {
		t.Errorf("got %+v, %+v", bare, none)
	}
	if _, err := h.Find(t.Context(), "bare"); err == nil {
		t.Error("a name alone found somebody of another account")
	}
	if got, err := h.Find(t.Context(), bare.ARN()); err != nil || got.ID != bare.ID {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	h := newHouse(t)
	h.user(t, "ada")
	h.role(t, "app", trust(`"*"`))
	long := strings.Repeat("x", 257)
	many := make([]policy.Tag, 51)
	policies := make([]principals.Policy, 21)
	for i := range many {
		many[i].Key = fmt.Sprint("k", i)
	}
	for i := range policies {
		policies[i] = allow(fmt.Sprint("p", i), read)
	}
	docs := func(p ...principals.Policy) principals.NewPrincipal {
		return principals.NewPrincipal{Name: "x", Policies: p}
	}
	tags := func(tags ...policy.Tag) principals.NewPrincipal {
		return principals.NewPrincipal{Name: "x", Tags: tags}
	}
	role := func(trust string, longest time.Duration) principals.NewPrincipal {
		return principals.NewPrincipal{Name: "x", Kind: principals.Role, Trust: trust, MaxSession: longest}
	}
	for name, c := range map[string]struct {
		n     principals.NewPrincipal
		words []string
	}{
		"taken":                     {principals.NewPrincipal{Name: "ada"}, []string{`user named "ada"`, account}},
		"taken by a role":           {principals.NewPrincipal{Name: "app"}, []string{`role named "app"`}},
		"no name":                   {principals.NewPrincipal{}, []string{`"" is no name`}},
		"a long name":               {principals.NewPrincipal{Name: strings.Repeat("x", 65)}, []string{"is no name"}},
		"a path":                    {principals.NewPrincipal{Name: "a/b"}, []string{`"a/b" is no name`}},
		"a line break":              {principals.NewPrincipal{Name: "a\n"}, []string{"is no name"}},
		"a key for a name":          {principals.NewPrincipal{Name: "AKIAIOSFODNN7EXAMPLE"[:4] + strings.Repeat("A", 16)}, []string{"like an access key"}},
		"account":                   {principals.NewPrincipal{Name: "x", Account: "1"}, []string{`"1" is no account`}},
		"kind":                      {principals.NewPrincipal{Name: "x", Kind: "group"}, []string{`"group"`}},
		"a role without trust":      {role("", 0), []string{"trust policy"}},
		"a user with trust":         {principals.NewPrincipal{Name: "x", Trust: trust(`"*"`)}, []string{"trust policy"}},
		"a user with a longest":     {principals.NewPrincipal{Name: "x", MaxSession: time.Hour}, []string{"longest session"}},
		"no JSON":                   {docs(principals.Policy{Name: "p", Document: "{"}), []string{`policy "p"`, "not JSON"}},
		"where in a policy":         {docs(allow("good", read), principals.Policy{Name: "bad", Document: strings.Replace(allow("", read).Document, "Allow", "allow", 1)}), []string{`policy "bad"`, "Statement[0].Effect"}},
		"a policy of a secret":      {docs(principals.Policy{Name: "p", Document: trust(`"*"`)}), []string{`policy "p"`, "Principal"}},
		"a policy's name":           {docs(allow("a b", read)), []string{`"a b" is no name of a policy`}},
		"two of a name":             {docs(allow("a", read), allow("a", read)), []string{`two policies named "a"`}},
		"many policies":             {docs(policies...), []string{"21 policies", "20"}},
		"a long policy":             {docs(principals.Policy{Name: "p", Document: allow("", read).Document + strings.Repeat(" ", 20480)}), []string{`policy "p"`, "20480"}},
		"boundary":                  {principals.NewPrincipal{Name: "x", Boundary: "[]"}, []string{"permissions boundary"}},
		"trust":                     {role(allow("", read).Document, 0), []string{"the trust policy", "Principal"}},
		"trust in another's action": {role(strings.Replace(trust(`"*"`), "sts:AssumeRole", read, 1), 0), []string{"the trust policy", read}},
		"short sessions":            {role(trust(`"*"`), time.Minute), []string{"1m0s"}},
		"long sessions":             {role(trust(`"*"`), 13*time.Hour), []string{"13h0m0s"}},
		"a tag without key":         {tags(policy.Tag{Value: "v"}), []string{"0 characters"}},
		"a tag's long key":          {tags(policy.Tag{Key: long[:129]}), []string{"129 characters"}},
		"a tag's long value":        {tags(policy.Tag{Key: "k", Value: long}), []string{`"k"`, "257"}},
		"a tag's characters":        {tags(policy.Tag{Key: "k", Value: "a\nb"}), []string{`"k"`}},
		"AWS's tag":                 {tags(policy.Tag{Key: "AWS:k"}), []string{"AWS:k"}},
		"tags but for case":         {tags(policy.Tag{Key: "Team"}, policy.Tag{Key: "team"}), []string{`"Team" and "team"`}},
		"many tags":                 {tags(many...), []string{"51 tags"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, creds, err := h.Create(t.Context(), c.n)
			wantInvalid(t, err, c.words...)
			if r != nil || creds != nil {
				t.Error("something came of it")
			}
		})
	}
	var all []string
	if err := h.Each(t.Context(), "", func(r *principals.Record) error { all = append(all, r.Name); return nil }); err != nil || !slices.Equal(all, []string{"ada", "app"}) {
		t.Errorf("there are %v, %v", all, err)
	}
}

func TestFindRefuses(t *testing.T) {
	h := newHouse(t)
	_, creds := h.user(t, "ada")
	for ref, words := range map[string][]string{
		"bob":                                   {`"bob"`},
		"":                                      {`""`},
		"a/b":                                   {`"a/b"`},
		"arn:aws:iam::111122223333:role/ada":    {"role/ada"},
		"arn:aws:iam::444455556666:user/ada":    {"444455556666"},
		"arn:aws-cn:iam::111122223333:user/ada": {"aws-cn"},
		"arn:aws:iam::111122223333:root":        {"root"},
		"AKIAAAAAAAAAAAAAAAAA":                  {"AKIAAAAAAAAAAAAAAAAA"},
		"ASIAAAAAAAAAAAAAAAAA":                  {"session"},
	} {
		_, err := h.Find(t.Context(), ref)
		wantInvalid(t, err, words...)
	}
	_, err := h.Find(t.Context(), creds.Secret.Reveal())
	wantInvalid(t, err)
	if strings.Contains(err.Error(), creds.Secret.Reveal()) {
		t.Error("a secret put in the name's place is repeated")
	}
}

func TestUpdate(t *testing.T) {
	h := newHouse(t)
	_, creds := h.make(t, principals.NewPrincipal{
		Name: "ada", Policies: []principals.Policy{allow("reader", read), allow("lister", "secretsmanager:ListSecrets")},
		Tags: []policy.Tag{{Key: "team", Value: "red"}, {Key: "site", Value: "x"}},
	})
	r, err := h.Update(t.Context(), "ada", principals.Changes{
		Policies: []principals.Policy{allow("writer", "secretsmanager:PutSecretValue"), allow("reader", "secretsmanager:DescribeSecret")},
		Without:  []string{"lister"}, Tags: []policy.Tag{{Key: "Team", Value: "blue"}}, Untag: []string{"SITE", "unknown"},
		Boundary: ptr(allow("", "secretsmanager:*").Document),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Policies) != 2 || r.Policies[0].Name != "reader" || r.Policies[1].Name != "writer" || r.Boundary == "" ||
		!slices.Equal(r.Tags, []policy.Tag{{Key: "Team", Value: "blue"}}) {
		t.Errorf("got %+v", r)
	}
	if p := use(t, h.Directory, creds); may(p, read) || !may(p, "secretsmanager:PutSecretValue") || !may(p, "secretsmanager:DescribeSecret") {
		t.Error("the next request goes by old policies")
	}
	if r, err = h.Update(t.Context(), creds.AccessKeyID, principals.Changes{Boundary: ptr("")}); err != nil || r.Boundary != "" || len(r.Policies) != 2 {
		t.Errorf("got %+v, %v", r, err)
	}
	role := h.role(t, "app", trust(`"*"`))
	if r, err = h.Update(t.Context(), role.ARN(), principals.Changes{Trust: ptr(trust(`{"AWS": "444455556666"}`)), MaxSession: 2 * time.Hour}); err != nil || r.MaxSession != 2*time.Hour || !strings.Contains(r.Trust, other) {
		t.Errorf("got %+v, %v", r, err)
	}

	before, err := h.Find(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	tags := make([]policy.Tag, 50)
	for i := range tags {
		tags[i].Key = fmt.Sprint("k", i)
	}
	for name, c := range map[string]struct {
		ref    string
		change principals.Changes
		words  []string
	}{
		"nobody":             {"bob", principals.Changes{}, []string{`"bob"`}},
		"no such policy":     {"ada", principals.Changes{Without: []string{"x"}, Untag: []string{"Team"}}, []string{`"x"`, "reader, writer"}},
		"a bad document":     {"ada", principals.Changes{Policies: []principals.Policy{{Name: "p", Document: "{}"}}}, []string{`policy "p"`, "Statement"}},
		"a user's trust":     {"ada", principals.Changes{Trust: ptr(trust(`"*"`))}, []string{"trust"}},
		"a role's trust off": {"app", principals.Changes{Trust: ptr("")}, []string{"trust policy"}},
		"too many tags":      {"ada", principals.Changes{Tags: tags}, []string{"51 tags"}},
	} {
		_, err := h.Update(t.Context(), c.ref, c.change)
		t.Log(name)
		wantInvalid(t, err, c.words...)
	}
	if after, err := h.Find(t.Context(), "ada"); err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("a refused change left %+v, %v; want %+v", after, err, before)
	}
}

func TestDelete(t *testing.T) {
	h := newHouse(t)
	r, old := h.user(t, "ada", allow("reader", read))
	if _, err := h.Delete(t.Context(), old.AccessKeyID); err != nil {
		t.Fatal(err)
	}
	refused(t, h.Directory, old)
	_, creds, err := h.RotateKey(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	use(t, h.Directory, creds)
	if gone, err := h.Delete(t.Context(), r.ARN()); err != nil || gone.ID != r.ID {
		t.Errorf("got %+v, %v", gone, err)
	}
	refused(t, h.Directory, creds)
	_, err = h.Delete(t.Context(), "ada")
	wantInvalid(t, err, "ada")
	again, fresh := h.user(t, "ada")
	refused(t, h.Directory, creds)
	if again.ID == r.ID || may(use(t, h.Directory, fresh), read) {
		t.Error("who is made anew is who was deleted")
	}
}

func TestEach(t *testing.T) {
	h := newHouse(t)
	want := map[string][]string{}
	for i := range 7 {
		for _, a := range []string{other, account} {
			r, _ := h.make(t, principals.NewPrincipal{Account: a, Name: fmt.Sprint("u", i), WithoutKey: true})
			want[a] = append(want[a], r.ARN())
			want[""] = append(want[""], r.ARN())
		}
	}
	slices.Sort(want[""])
	for a, want := range want {
		var got []string
		if err := h.Each(t.Context(), a, func(r *principals.Record) error { got = append(got, r.ARN()); return nil }); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", a, got, err)
		}
	}
	stop := fmt.Errorf("enough")
	if err := h.Each(t.Context(), "", func(*principals.Record) error { return stop }); err != stop {
		t.Errorf("got %v", err)
	}
}

func TestAdministrator(t *testing.T) {
	h := newHouse(t)
	is := func(want bool) {
		t.Helper()
		if got, err := h.Administrator(t.Context()); err != nil || got != want {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
	}
	all := principals.Policy{Name: "administrator", Document: principals.AdministratorPolicy}
	is(false)
	h.user(t, "reader", allow("reader", read))
	h.role(t, "admins", trust(`"*"`), all) // nobody can sign as a role
	h.make(t, principals.NewPrincipal{Name: "stranger", Account: other, Policies: []principals.Policy{all}})
	h.user(t, "regional", principals.Policy{Name: "p", Document: strings.Replace(principals.AdministratorPolicy, `"Resource": "*"`, `"Resource": "arn:aws:secretsmanager:us-east-1:*:*"`, 1)})
	h.make(t, principals.NewPrincipal{Name: "bound", Policies: []principals.Policy{all}, Boundary: allow("", read).Document})
	h.make(t, principals.NewPrincipal{Name: "keyless", Policies: []principals.Policy{all}, WithoutKey: true})
	is(false)
	_, creds := h.user(t, "root", all)
	is(true)
	for _, ref := range []string{creds.AccessKeyID, "root"} {
		if _, err := h.SetDisabled(t.Context(), ref, true); err != nil {
			t.Fatal(err)
		}
		is(false)
		if _, err := h.SetDisabled(t.Context(), ref, false); err != nil {
			t.Fatal(err)
		}
		is(true)
	}
}

// TestNothingShows: whatever prints what a Directory gives out shows no secret.
func TestNothingShows(t *testing.T) {
	h := newHouse(t)
	r, creds := h.user(t, "ada", allow("reader", read))
	session := h.session(t, "ada", principals.NewSession{})
	k, err := h.AccessKey(t.Context(), session.AccessKeyID, session.SessionToken)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{r, *r, creds, *creds, session, *session, k, r.Keys} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, out := range []string{fmt.Sprintf("%v %+v %#v %s", v, v, v, v), string(text)} {
			for _, secret := range []string{creds.Secret.Reveal(), session.Secret.Reveal(), session.SessionToken.Reveal()} {
				if strings.Contains(out, secret) {
					t.Errorf("%T shows a secret: %s", v, out)
				}
			}
		}
	}
	if out := fmt.Sprintf("%v", r.Keys); out != "["+creds.AccessKeyID+"]" {
		t.Errorf("got %s", out)
	}
}

func ptr[T any](v T) *T { return &v }
