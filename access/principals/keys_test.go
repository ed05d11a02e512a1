package principals_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
)

// TestRevocation: whatever another process takes away is gone with the next
// request, however warm the memory of it.
func TestRevocation(t *testing.T) {
	h := newHouse(t)
	there := h.directory(t, h.open(t)) // the other process
	for name, c := range map[string]struct {
		revoke func(user, key string) error
		gone   bool // else he only may no longer
	}{
		"key disabled": {func(_, key string) error { _, err := there.SetDisabled(t.Context(), key, true); return err }, true},
		"key deleted":  {func(_, key string) error { _, err := there.Delete(t.Context(), key); return err }, true},
		"disabled":     {func(user, _ string) error { _, err := there.SetDisabled(t.Context(), user, true); return err }, true},
		"deleted":      {func(user, _ string) error { _, err := there.Delete(t.Context(), user); return err }, true},
		"made anew": {func(user, _ string) error {
			if _, err := there.Delete(t.Context(), user); err != nil {
				return err
			}
			_, _, err := there.Create(t.Context(), principals.NewPrincipal{Name: user, Policies: []principals.Policy{allow("reader", read)}})
			return err
		}, true},
		"policy off": {func(user, _ string) error {
			_, err := there.Update(t.Context(), user, principals.Changes{Without: []string{"reader"}})
			return err
		}, false},
		"boundary on": {func(user, _ string) error {
			_, err := there.Update(t.Context(), user, principals.Changes{Boundary: ptr(allow("", "sts:*").Document)})
			return err
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			user := strings.ReplaceAll(name, " ", "-")
			_, creds := h.user(t, user, allow("reader", read))
			session := h.session(t, user, principals.NewSession{})
			for range 2 { // cold and warm
				if !may(use(t, h.Directory, creds), read) || !may(use(t, h.Directory, session), read) {
					t.Fatal("he may not")
				}
			}
			if err := c.revoke(user, creds.AccessKeyID); err != nil {
				t.Fatal(err)
			}
			if !c.gone {
				if may(use(t, h.Directory, creds), read) || may(use(t, h.Directory, session), read) {
					t.Error("he still may")
				}
				return
			}
			refused(t, h.Directory, creds)
			if !strings.HasPrefix(name, "key") { // a session is its user's, not its key's
				refused(t, h.Directory, session)
			}
		})
	}
}

func TestEnable(t *testing.T) {
	h := newHouse(t)
	_, creds := h.user(t, "ada")
	for _, ref := range []string{"ada", creds.AccessKeyID} {
		use(t, h.Directory, creds)
		if _, err := h.SetDisabled(t.Context(), ref, true); err != nil {
			t.Fatal(err)
		}
		refused(t, h.Directory, creds)
		if _, err := h.SetDisabled(t.Context(), ref, false); err != nil {
			t.Fatal(err)
		}
	}
	use(t, h.Directory, creds)
}

func TestRotateKey(t *testing.T) {
	h := newHouse(t)
	r, old := h.user(t, "ada", allow("reader", read))
	changed, fresh, err := h.RotateKey(t.Context(), "ada")
	if err != nil || len(changed.Keys) != 2 || changed.ID != r.ID {
		t.Fatalf("got %+v, %v", changed, err)
	}
	if fresh.AccessKeyID == old.AccessKeyID || fresh.Secret.Equal(old.Secret) {
		t.Error("the new key is the old one")
	}
	if use(t, h.Directory, old).ARN != use(t, h.Directory, fresh).ARN {
		t.Error("they are not of one user")
	}
	h.Used(fresh.AccessKeyID)
	h.Close()
	_, _, err = h.RotateKey(t.Context(), "ada")
	wantInvalid(t, err, old.AccessKeyID+", never used", fresh.AccessKeyID+", last used 2026-03-04 12:00 UTC", "pawl access delete "+old.AccessKeyID)
	if _, err := h.Delete(t.Context(), old.AccessKeyID); err != nil {
		t.Fatal(err)
	}
	refused(t, h.Directory, old)
	use(t, h.Directory, fresh)
	if _, _, err := h.RotateKey(t.Context(), "ada"); err != nil {
		t.Error(err)
	}
	h.role(t, "app", trust(`"*"`))
	_, _, err = h.RotateKey(t.Context(), "app")
	wantInvalid(t, err, "role app", "pawl access session app")
	_, _, err = h.RotateKey(t.Context(), "bob")
	wantInvalid(t, err, "bob")
}

// TestRotateKeyAtOnce: of many who give a user a second key, one does.
func TestRotateKeyAtOnce(t *testing.T) {
	h := newHouse(t)
	h.user(t, "ada")
	var all sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 8 {
		all.Go(func() {
			_, creds, err := h.RotateKey(t.Context(), "ada")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
			} else if creds != nil || secrets.KindOf(err) != secrets.Invalid {
				t.Errorf("got %v, %v", creds, err)
			}
		})
	}
	all.Wait()
	if r, err := h.Find(t.Context(), "ada"); err != nil || made != 1 || len(r.Keys) != 2 {
		t.Errorf("%d were made, there are %+v, %v", made, r, err)
	}
}

// counting is a store whose parts fail on demand, and that counts look-ups.
type counting struct {
	principals.Store
	revision, holder, note error
	looked                 int
	noted                  chan string
	pending                func() // done once, right before the next change
}

func (c *counting) ChangePrincipal(ctx context.Context, account, name string, change func(*principals.Record) error) (*principals.Record, error) {
	if before := c.pending; before != nil {
		c.pending = nil
		before()
	}
	return c.Store.ChangePrincipal(ctx, account, name, change)
}

func (c *counting) SettingsRevision(ctx context.Context) (int64, error) {
	if c.revision != nil {
		return 0, c.revision
	}
	return c.Store.SettingsRevision(ctx)
}

func (c *counting) Holder(ctx context.Context, id string) (*principals.Record, error) {
	c.looked++
	if c.holder != nil {
		return nil, c.holder
	}
	return c.Store.Holder(ctx, id)
}

func (c *counting) NoteUse(ctx context.Context, id string, at time.Time) error {
	if c.noted != nil {
		c.noted <- id
	}
	if c.note != nil {
		return c.note
	}
	return c.Store.NoteUse(ctx, id, at)
}

func TestStrangersCostLittle(t *testing.T) {
	h := newHouse(t)
	_, creds := h.user(t, "ada")
	store := &counting{Store: h.store, revision: errors.New("asked")}
	d := h.directory(t, store)
	for _, c := range []*principals.Credentials{
		{AccessKeyID: ""}, {AccessKeyID: "AKIA"}, {AccessKeyID: "AKIAaaaaaaaaaaaaaaaa"}, {AccessKeyID: creds.AccessKeyID + "A"}, {AccessKeyID: "AKIA0000000000000000"},
		{AccessKeyID: "123456789012"}, {AccessKeyID: "ASIAAAAAAAAAAAAAAAAA"}, {AccessKeyID: "AIDAAAAAAAAAAAAAAAAA"},
	} {
		refused(t, d, c)
	}
	store.revision = nil
	for range 5 {
		use(t, d, creds)
	}
	if store.looked != 1 {
		t.Errorf("%d look-ups of what did not change", store.looked)
	}
	// An access key takes no session token; whoever asks finds out by the answer.
	if k, err := d.AccessKey(t.Context(), creds.AccessKeyID, secrets.NewPassword("x")); err != nil || !k.SessionToken.IsEmpty() {
		t.Errorf("got %v, %v", k.SessionToken.IsEmpty(), err)
	}
}

// TestStoreFails: nobody is let in, or told that his key is none, when the store
// can't say.
func TestStoreFails(t *testing.T) {
	h := newHouse(t)
	_, creds := h.user(t, "ada")
	session := h.session(t, "ada", principals.NewSession{})
	store := &counting{Store: h.store}
	d := h.directory(t, store)
	busy := secrets.Errorf(secrets.Transient, "the store is busy")
	store.holder = busy
	if _, err := d.AccessKey(t.Context(), creds.AccessKeyID, secrets.Password{}); !errors.Is(err, busy) || errors.Is(err, access.ErrNoKey) {
		t.Errorf("got %v", err)
	}
	store.holder = nil
	use(t, d, creds)
	store.revision = busy
	for _, c := range []*principals.Credentials{creds, session} {
		if _, err := d.AccessKey(t.Context(), c.AccessKeyID, c.SessionToken); !errors.Is(err, busy) {
			t.Errorf("got %v", err)
		}
	}
}

// TestChangesMeanHim: who is made anew between a look and the change is left
// alone.
func TestChangesMeanHim(t *testing.T) {
	h := newHouse(t)
	store := &counting{Store: h.store}
	d := h.directory(t, store)
	var fresh *principals.Credentials
	again := func() {
		if _, err := h.Delete(t.Context(), "ada"); err != nil {
			t.Error(err)
		}
		_, fresh = h.user(t, "ada")
	}
	h.user(t, "ada")
	for name, change := range map[string]func() error{
		"disable": func() error { _, err := d.SetDisabled(t.Context(), "ada", true); return err },
		"delete":  func() error { _, err := d.Delete(t.Context(), "ada"); return err },
		"update":  func() error { _, err := d.Update(t.Context(), "ada", principals.Changes{}); return err },
	} {
		store.pending = again
		t.Log(name)
		wantInvalid(t, change(), "ada")
		use(t, d, fresh)
	}
	store.pending = again
	if err := d.Reseal(t.Context(), nil); err != nil {
		t.Error(err)
	}
	use(t, d, fresh)
	store.pending = again
	r, creds, err := d.RotateKey(t.Context(), "ada") // he who has the name
	if err != nil || r.Keys[0].ID != fresh.AccessKeyID {
		t.Fatalf("got %+v, %v", r, err)
	}
	use(t, d, creds)
}

// TestUnreadable: what can't be read any more does not make a principal freer.
func TestUnreadable(t *testing.T) {
	h := newHouse(t)
	_, creds := h.user(t, "ada", allow("reader", read))
	spoil := func(change func(*principals.Record)) {
		t.Helper()
		if _, err := h.store.ChangePrincipal(t.Context(), account, "ada", func(r *principals.Record) error { change(r); return nil }); err != nil {
			t.Fatal(err)
		}
		_, err := h.AccessKey(t.Context(), creds.AccessKeyID, secrets.Password{})
		if err == nil || errors.Is(err, access.ErrNoKey) || !strings.Contains(err.Error(), "ada") {
			t.Errorf("got %v", err)
		}
	}
	spoil(func(r *principals.Record) { r.Boundary = "{" })
	spoil(func(r *principals.Record) { r.Boundary, r.Policies[0].Document = "", "[]" })
	if _, err := h.Update(t.Context(), "ada", principals.Changes{Policies: []principals.Policy{allow("reader", read)}}); err != nil {
		t.Fatal(err)
	}
	use(t, h.Directory, creds)
	spoil(func(r *principals.Record) { r.Keys[0].Sealed[40]++ })
}

func TestUsed(t *testing.T) {
	h := newHouse(t)
	_, creds := h.user(t, "ada")
	store := &counting{Store: h.store, noted: make(chan string, 1000)}
	id, at := creds.AccessKeyID, h.clock.now()
	wait := func() {
		t.Helper()
		if got := <-store.noted; got != id {
			t.Errorf("noted %s", got)
		}
	}
	d := h.directory(t, store)
	d.Used(id)
	wait()
	for range 99 {
		d.Used(id)
	}
	d.Close()
	if n := len(store.noted); n != 0 {
		t.Errorf("noted %d times more within the hour", n)
	}
	d = h.directory(t, store)
	d.Used(id)
	wait()
	for range 12 { // an hour later, by some minutes
		h.clock.add(5 * time.Minute)
		d.Used(id)
	}
	wait()
	d.Used("ASIAAAAAAAAAAAAAAAAA")
	d.Used("x")
	d.Close() // what waits is written by then, and nothing else
	d.Used("AKIAAAAAAAAAAAAAAAAA")
	if n := len(store.noted); n != 0 {
		t.Errorf("noted %d times more", n)
	}
	if used, err := d.LastUses(t.Context(), id, "AKIAAAAAAAAAAAAAAAAA"); err != nil || len(used) != 1 || used[id].Sub(at) > time.Hour || used[id].Before(at.Truncate(time.Hour)) {
		t.Errorf("got %v, %v", used, err)
	}
}

// stuck is a store that notes a use when a test takes it, and keeps none.
type stuck struct {
	principals.Store
	noted chan string
}

func (s *stuck) NoteUse(_ context.Context, id string, _ time.Time) error { s.noted <- id; return nil }

// TestUsesThatWaitAreBounded: while nothing can be written, 4096 wait beside those
// that are being written, and no more.
func TestUsesThatWaitAreBounded(t *testing.T) {
	const most, keys = 4096, 3 * 4096
	h := newHouse(t)
	store := &stuck{Store: h.store, noted: make(chan string)}
	d := h.directory(t, store)
	letters := strings.NewReplacer("0", "W", "1", "X", "8", "Y", "9", "Z")
	for i := range keys {
		number := strings.ToUpper(strconv.FormatInt(int64(i), 32))
		d.Used("AKIA" + letters.Replace(strings.Repeat("0", 16-len(number))+number))
	}
	ended := make(chan struct{})
	go func() { d.Close(); close(ended) }()
	noted := map[string]bool{}
	for open := true; open; {
		select {
		case id := <-store.noted:
			noted[id] = true
		case <-ended:
			open = false
		}
	}
	if n := len(noted); n < most || n > 2*most {
		t.Errorf("%d of %d uses were kept", n, keys)
	}
}

// TestUsedFails: a disk that takes nothing locks nobody out.
func TestUsedFails(t *testing.T) {
	h := newHouse(t)
	_, creds := h.user(t, "ada")
	d := h.directory(t, &counting{Store: h.store, note: secrets.Errorf(secrets.Transient, "the disk is full")})
	use(t, d, creds)
	d.Used(creds.AccessKeyID)
	d.Close()
	use(t, d, creds)
}

// TestAtOnce is for the race detector: requests beside changes.
func TestAtOnce(t *testing.T) {
	h := newHouse(t)
	there := h.directory(t, h.open(t))
	_, stays := h.user(t, "stays", allow("reader", read))
	h.user(t, "changes", allow("reader", read))
	session := h.session(t, "stays", principals.NewSession{})
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, c := range []*principals.Credentials{stays, session} {
					k, err := h.AccessKey(context.Background(), c.AccessKeyID, c.SessionToken)
					if err != nil || !may(k.Principal, read) {
						t.Errorf("got %v", err)
						return
					}
					h.Used(k.ID)
				}
			}
		})
	}
	for i := range 20 {
		if _, err := there.Update(t.Context(), "changes", principals.Changes{Policies: []principals.Policy{allow(fmt.Sprint("p", i%5), read)}}); err != nil {
			t.Error(err)
		}
		h.clock.add(time.Hour)
	}
	close(stop)
	all.Wait()
}

func BenchmarkAccessKey(b *testing.B) {
	h := newHouse(b)
	_, creds := h.user(b, "ada", allow("reader", read), allow("lister", "secretsmanager:ListSecrets"))
	session := h.session(b, "ada", principals.NewSession{})
	for name, store := range map[string]principals.Store{"sqlite": h.store, "no revision": still{h.store}} {
		d := h.directory(b, store)
		for kind, c := range map[string]*principals.Credentials{"key": creds, "session": session} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := d.AccessKey(b.Context(), c.AccessKeyID, c.SessionToken); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// still is a store whose revision costs nothing to ask.
type still struct{ principals.Store }

func (still) SettingsRevision(context.Context) (int64, error) { return 1, nil }
