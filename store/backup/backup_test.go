package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

const canary = "C4nary-Pa55word"

// house is a store, its keys, and who may use it.
type house struct {
	dir    string
	store  *sqlite.Store
	master *seal.Master
	keys   *seal.Keyring
	admin  *principals.Credentials
}

func (h *house) path() string    { return filepath.Join(h.dir, "pawl.db") }
func (h *house) keyFile() string { return filepath.Join(h.dir, "pawl.key") }

func masterOf(t testing.TB, file string) *seal.Master {
	t.Helper()
	m, err := seal.Source{File: file}.Load(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// build makes a house with n secrets in it: every third one under a key of its
// own, and every fifth one in the middle of a rotation.
func build(t testing.TB, n int) *house {
	t.Helper()
	h := &house{dir: t.TempDir()}
	if err := seal.GenerateKeyFile(h.keyFile(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	h.master = masterOf(t, h.keyFile())
	var err error
	if h.store, err = sqlite.Open(t.Context(), h.path(), sqlite.Options{Create: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.store.Close() })
	h.keys = seal.New(seal.Config{Master: h.master, Store: h.store})
	if err := h.keys.Verify(t.Context(), h.store); err != nil {
		t.Fatal(err)
	}
	if _, err := h.keys.CreateKey(t.Context(), "alias/shop"); err != nil {
		t.Fatal(err)
	}
	people := principals.New(principals.Config{Store: h.store, Sealer: h.keys, Account: "123456789012"})
	t.Cleanup(people.Close)
	if _, h.admin, err = people.Create(t.Context(), principals.NewPrincipal{Name: "admin"}); err != nil {
		t.Fatal(err)
	}
	if err := h.store.NoteUse(t.Context(), h.admin.AccessKeyID, noon); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup // so that they share transactions
	for first := range min(n, 16) {
		wg.Go(func() {
			for i := first; i < n; i += 16 {
				h.add(t, i)
			}
		})
	}
	wg.Wait()
	return h
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func arnOf(i int) secrets.ARN {
	return secrets.ARN{Partition: "aws", Region: "eu-west-1", Account: "123456789012", Name: fmt.Sprintf("prod/db-%05d", i), Suffix: "AbC123"}
}

func versionID(n int) string { return fmt.Sprintf("%032d", n) }

func (h *house) seal(t testing.TB, key string, arn secrets.ARN, version, text string) []byte {
	b, err := h.keys.Seal(context.WithoutCancel(t.Context()), key, arn.String(), version, secrets.Text(text))
	if err != nil {
		t.Error(err)
	}
	return b
}

func (h *house) add(t testing.TB, i int) {
	t.Helper()
	key := ""
	if i%3 == 0 {
		key = "alias/shop"
	}
	s := &service.Secret{
		ARN: arnOf(i), Description: "¿\u2028\"", KMSKeyID: key, Tags: []service.Tag{{Key: "a", Value: ""}}, Created: noon, Changed: noon, ValueChanged: noon,
		Policy: "{\n}", DueAt: noon.Add(time.Duration(i) * time.Hour),
		Rotation: &secrets.Rotation{Enabled: true, Source: "api", Since: noon, Rules: secrets.RotationRules{Schedule: "rate(4 hours)"}},
		Versions: secrets.Versions{
			{ID: versionID(1), Created: noon, Labels: []string{secrets.Previous}, KeyID: key},
			{ID: versionID(2), Created: noon, Labels: []string{secrets.Current, secrets.Intent}, KeyID: key, Accessed: noon.Truncate(24 * time.Hour)},
		},
	}
	values := service.Sealed{}
	for _, v := range s.Versions {
		values[v.ID] = h.seal(t, key, s.ARN, v.ID, canary+v.ID)
	}
	if i%5 == 0 {
		s.Versions = append(s.Versions, secrets.Version{ID: versionID(3), Created: noon, Labels: []string{secrets.Pending}, Empty: true})
	}
	if err := h.store.Create(t.Context(), s, values); err != nil {
		t.Error(err)
	}
}

func (h *house) backup(t testing.TB, to ...age.Recipient) []byte {
	t.Helper()
	var out bytes.Buffer
	c, err := Writer{Store: h.store, Keys: h.keys, Recipients: to, Now: later}.Write(t.Context(), &out)
	if err != nil {
		t.Fatal(err)
	}
	if c.MasterKey != h.keys.KeyID() {
		t.Errorf("made with %s", c.MasterKey)
	}
	return out.Bytes()
}

// everything reads a whole store.
func everything(t testing.TB, s *sqlite.Store) (all []entry) {
	t.Helper()
	err := s.Snapshot(t.Context(), func(n *sqlite.Snapshot) error {
		keys, err := n.NamedKeys()
		if err != nil {
			return err
		}
		for i := range keys {
			all = append(all, entry{Key: &keys[i]})
		}
		if err := n.Kept(func(name string, v []byte) error { all = append(all, entry{Kept: &kept{name, v}}); return nil }); err != nil {
			return err
		}
		if err := n.Principals(func(r *principals.Record, used map[string]time.Time) error {
			all = append(all, entry{Principal: &principal{r, used}})
			return nil
		}); err != nil {
			return err
		}
		return n.Secrets(func(r *service.Secret, v service.Sealed) error {
			all = append(all, entry{Secret: &secret{r, v}})
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func later() time.Time { return noon.Add(3*time.Hour + time.Minute) }

func TestRestoreIsTheStoreAgain(t *testing.T) {
	h := build(t, 60)
	file := h.backup(t)
	if bytes.Contains(file, []byte(canary)) || bytes.Contains(file, []byte("prod/db")) || bytes.Contains(file, []byte("alias/shop")) {
		t.Error("something in the file can be read")
	}
	path := filepath.Join(t.TempDir(), "pawl.db")
	r := Reader{Master: h.master}
	got, err := r.Restore(t.Context(), bytes.NewReader(file), Target{Path: path, Now: later})
	if err != nil {
		t.Fatal(err)
	}
	if got.Size != (sqlite.Size{Secrets: 60, Values: 120, Principals: 1, Keys: 2}) || got.Aside != "" || len(got.Unfinished) != 12 {
		t.Errorf("%+v", got)
	}
	// Of 0 to 3, which were due by then, 0 is unfinished.
	if diff := cmp.Diff([]secrets.ARN{arnOf(1), arnOf(2), arnOf(3)}, got.Due); diff != "" {
		t.Error(diff)
	}
	nothingBeside(t, path)
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if diff := cmp.Diff(everything(t, h.store), everything(t, store)); diff != "" {
		t.Error(diff)
	}
	keys := seal.New(seal.Config{Master: masterOf(t, h.keyFile()), Store: store})
	if err := keys.Verify(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	sealed, err := store.Value(t.Context(), arnOf(3), versionID(2))
	if err != nil {
		t.Fatal(err)
	}
	if v, err := keys.Open(t.Context(), arnOf(3).String(), versionID(2), sealed); err != nil || !v.Equal(secrets.Text(canary+versionID(2))) {
		t.Errorf("a value under a named key: %v", err)
	}
	people := principals.New(principals.Config{Store: store, Sealer: keys, Account: "123456789012"})
	defer people.Close()
	if k, err := people.AccessKey(t.Context(), h.admin.AccessKeyID, secrets.Password{}); err != nil || !k.Secret.Equal(h.admin.Secret) {
		t.Errorf("the administrator's key: %v", err)
	}
	var _ access.Keys = people
}

// nothingBeside makes sure that a store has been closed, and nothing was left.
func nothingBeside(t *testing.T, path string, more ...string) {
	t.Helper()
	found, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if name := f.Name(); name != filepath.Base(path) && name != filepath.Base(path)+".lock" && !slices.Contains(more, name) {
			t.Errorf("%s was left", name)
		}
	}
}

// While others write, a backup is of one moment: the writers put a new value and
// the number of it into the record, always both.
func TestBackupWhileOthersWrite(t *testing.T) {
	h := build(t, 40) // ten for each writer
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 4)
	for w := range 4 {
		go func() {
			var err error
			for n := 10; ctx.Err() == nil && err == nil; n++ {
				arn, id := arnOf(w*10+n%10), versionID(n)
				sealed := h.seal(t, "", arn, id, fmt.Sprint(n))
				_, err = h.store.Update(context.WithoutCancel(ctx), arn, func(s *service.Secret) (service.Sealed, error) {
					s.Versions = secrets.Versions{{ID: id, Created: noon, Labels: []string{secrets.Current}}}
					s.Description, s.Revision = fmt.Sprint(n), int64(n)
					return service.Sealed{id: sealed}, nil
				})
			}
			done <- err
		}()
	}
	files := make([][]byte, 2)
	for i := range files {
		files[i] = h.backup(t)
	}
	stop()
	for range 4 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		if _, err := (Reader{Master: h.master}).Verify(t.Context(), bytes.NewReader(file)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "pawl.db")
		if _, err := (Reader{Master: h.master}).Restore(t.Context(), bytes.NewReader(file), Target{Path: path, Now: later}); err != nil {
			t.Fatal(err)
		}
		store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range everything(t, store) {
			if e.Secret == nil || e.Secret.Record.Revision == 0 {
				continue
			}
			r := e.Secret.Record
			v, err := h.keys.Open(t.Context(), r.ARN.String(), r.Versions[0].ID, e.Secret.Values[r.Versions[0].ID])
			if err != nil || string(v.Reveal()) != r.Description || versionID(int(r.Revision)) != r.Versions[0].ID {
				t.Errorf("record and value of %s are of two moments: %v", r.ARN, err)
			}
		}
		store.Close()
	}
}

// Cut at any byte, or with any bit changed, a backup is refused, and nothing is
// there afterwards.
func TestDamagedBackups(t *testing.T) {
	h := build(t, 12)
	_, other, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	file := h.backup(t, other)
	dir := t.TempDir()
	refused := func(t *testing.T, file []byte, how string) {
		t.Helper()
		path := filepath.Join(dir, "pawl.db")
		got, err := Reader{Master: h.master}.Restore(context.Background(), bytes.NewReader(file), Target{Path: path, Now: later})
		if err == nil || secrets.KindOf(err) != secrets.Invalid {
			t.Fatalf("%s: %+v, %v", how, got, err)
		}
		if strings.Contains(err.Error(), canary) {
			t.Errorf("a value in an error")
		}
		found, err := os.ReadDir(dir)
		if err != nil || len(found) != 1 || found[0].Name() != "pawl.db.lock" {
			t.Errorf("%s: left %v, %v", how, found, err)
		}
	}
	// The whole header, and the last bytes.
	header := bytes.Index(file, []byte("\n--- ")) + 60
	for at := range header {
		flipped := slices.Clone(file)
		flipped[at] ^= 1
		if _, err := (Reader{Master: h.master}).Verify(t.Context(), bytes.NewReader(flipped)); err == nil {
			t.Errorf("byte %d of the header may be another one", at)
		}
	}
	for _, n := range []int{0, header, len(file) - 1, len(file) - 16} {
		refused(t, file[:n], fmt.Sprintf("cut at %d", n))
	}
	refused(t, append(slices.Clone(file), 0), "a byte more")
	refused(t, slices.Concat(file, file), "twice")
	for _, at := range []int{len(file) / 2, len(file) - 40} {
		flipped := slices.Clone(file)
		flipped[at] ^= 4
		refused(t, flipped, fmt.Sprintf("byte %d", at))
	}
	rapid.Check(t, func(rt *rapid.T) { // a restore reads as this does
		at := rapid.IntRange(0, len(file)-1).Draw(rt, "at")
		altered := slices.Clone(file)
		if rapid.Bool().Draw(rt, "cut") {
			altered = altered[:at]
		} else {
			altered[at] ^= byte(1 << rapid.IntRange(0, 7).Draw(rt, "bit"))
		}
		c, err := Reader{Master: h.master}.Verify(context.Background(), bytes.NewReader(altered))
		if err == nil || secrets.KindOf(err) != secrets.Invalid {
			rt.Fatalf("%+v, %v", c, err)
		}
	})
}

func identity() (age.Identity, age.Recipient, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, nil, err
	}
	return id, id.Recipient(), nil
}

func TestWrongKeys(t *testing.T) {
	h, stranger := build(t, 3), build(t, 1)
	id, to, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	nobody, _, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	plain, shared := h.backup(t), h.backup(t, to)
	for name, c := range map[string]struct {
		file []byte
		by   Reader
		want string
	}{
		"another master key":           {plain, Reader{Master: stranger.master}, "the backup was made with master key " + h.keys.KeyID() + "; the key file "},
		"no identity for it":           {shared, Reader{Master: stranger.master, Identities: []age.Identity{nobody}}, "for none of the identities"},
		"an identity, and no value":    {shared, Reader{Master: stranger.master, Identities: []age.Identity{id}}, "is sealed with key " + h.keys.KeyID()},
		"no backup":                    {[]byte("SQLite format 3\x00"), Reader{Master: h.master}, "the backup is damaged"},
		"somebody else's age file":     {encrypted(t, to, "hello\n"), Reader{Master: h.master}, "no backup of Pawl's"},
		"somebody else's, and his key": {encrypted(t, to, "hello\n"), Reader{Master: h.master, Identities: []age.Identity{id}}, "no backup of Pawl's"},
		"a newer one":                  {encrypted(t, to, `{"pawl":"`+kindOfFile+`","format":2}`+"\n"), Reader{Master: h.master, Identities: []age.Identity{id}}, "upgrade this Pawl"},
		"one that ends early":          {encrypted(t, to, `{"pawl":"`+kindOfFile+`","format":1}`+"\n"), Reader{Master: h.master, Identities: []age.Identity{id}}, "cut short"},
		"one with less than it says": {encrypted(t, to, `{"pawl":"`+kindOfFile+`","format":1,"size":{"Secrets":1}}`+"\n"+`{"end":{"size":{"Secrets":1},"digest":""}}`+"\n"),
			Reader{Master: h.master, Identities: []age.Identity{id}}, "it should hold"},
		"one with lines of the future": {encrypted(t, to, `{"pawl":"`+kindOfFile+`","format":1}`+"\n"+`{"lock":{}}`+"\n"),
			Reader{Master: h.master, Identities: []age.Identity{id}}, "upgrade this Pawl"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.by.Verify(t.Context(), bytes.NewReader(c.file))
			if err == nil || secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
		})
	}
	// The file key may be had by age; the values need the master key all the same.
	if c, err := (Reader{Master: h.master, Identities: []age.Identity{id}}).Verify(t.Context(), bytes.NewReader(shared)); err != nil || c.Size.Secrets != 3 {
		t.Error(c, err)
	}
	r, err := age.Decrypt(bytes.NewReader(shared), id)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r); err != nil || !bytes.Contains(text, []byte("prod/db-00001")) || bytes.Contains(text, []byte(canary)) {
		t.Errorf("by age alone: %v", err)
	}
}

// Who can read a backup as a further recipient can also write one, with the same
// file key even: what he changed is not restored.
func TestARecipientCannotAlterABackup(t *testing.T) {
	h := build(t, 2)
	id, to, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(bytes.NewReader(h.backup(t, to)), id)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	// forge writes all lines as change leaves them, with a digest that fits them.
	forge := func(change func(lines [][]byte)) []byte {
		all := slices.Clone(lines)
		change(all)
		var last entry
		if err := json.Unmarshal(all[len(all)-1], &last); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(bytes.Join(all[1:len(all)-1], nil))
		last.End.Digest = sum[:]
		all[len(all)-1], err = json.Marshal(last)
		if err != nil {
			t.Fatal(err)
		}
		return encrypted(t, to, string(bytes.Join(all, nil))+"\n")
	}
	replaceAll := func(old, by string) func([][]byte) {
		return func(all [][]byte) {
			before := string(bytes.Join(all, nil))
			for i := range all {
				all[i] = bytes.ReplaceAll(all[i], []byte(old), []byte(by))
			}
			if string(bytes.Join(all, nil)) == before {
				t.Fatalf("there is no %s in it", old)
			}
		}
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"as it was":        {forge(func([][]byte) {}), ""},
		"another policy":   {forge(replaceAll(`"Key":"a"`, `"Key":"b"`)), "was altered by somebody who may read it"},
		"a later date":     {forge(replaceAll(`"created":"2`, `"created":"3`)), "was altered by somebody who may read it"},
		"no record at all": {forge(func(all [][]byte) { all[len(all)-2] = []byte(`{"principal":{}}` + "\n") }), "without a record"},
		"another's proof":  {forge(replaceAll(`"master":"`+h.keys.KeyID(), `"master":"`+build(t, 1).keys.KeyID())), "was made with master key"},
		"no proof":         {forge(replaceAll(`"proof":"`, `"proof":"AAAA`)), "was altered by somebody who may read it"},
	} {
		path := filepath.Join(t.TempDir(), "pawl.db")
		_, err := (Reader{Master: h.master, Identities: []age.Identity{id}}).Restore(t.Context(), bytes.NewReader(c.file), Target{Path: path, Now: later})
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s: it was restored", name)
		}
	}
}

func encrypted(t *testing.T, to age.Recipient, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A key may be rotated after the backup: the older one still opens it, as long as
// it is in the key file.
func TestBackupBeforeTheKeyWasRotated(t *testing.T) {
	h := build(t, 5)
	before := h.backup(t)
	if _, err := h.keys.RotateMaster(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.keys.Rewrap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	after := h.backup(t)
	for _, file := range [][]byte{before, after} {
		path := filepath.Join(t.TempDir(), "pawl.db")
		if _, err := (Reader{Master: masterOf(t, h.keyFile())}).Restore(t.Context(), bytes.NewReader(file), Target{Path: path, Now: later}); err != nil {
			t.Error(err)
		}
	}
}

func TestRestoreOverAStore(t *testing.T) {
	h := build(t, 4)
	file := h.backup(t)
	h.add(t, 4)
	r := Reader{Master: h.master}
	restore := func(force bool) (*Restored, error) {
		return r.Restore(t.Context(), bytes.NewReader(file), Target{Path: h.path(), Force: force, Now: later})
	}
	if _, err := restore(true); secrets.KindOf(err) != secrets.Conflict {
		t.Errorf("over an open store: %v", err)
	}
	was := everything(t, h.store)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := restore(false); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("without force: %v", err)
	}
	got, err := restore(true)
	if err != nil {
		t.Fatal(err)
	}
	nothingBeside(t, h.path(), "pawl.key", filepath.Base(got.Aside))
	for path, want := range map[string]int{h.path(): len(was) - 1, got.Aside: len(was)} {
		store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if all := everything(t, store); len(all) != want {
			t.Errorf("%s has %d, not %d", path, len(all), want)
		}
		store.Close()
	}
}

// full is a disk that takes so many bytes.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return 0, errors.New("no space left on device")
	}
	f.left -= len(p)
	return len(p), nil
}

func TestFullDisk(t *testing.T) {
	h := build(t, 12)
	size := len(h.backup(t))
	for _, room := range []int{0, 100, size / 2, size - 1} {
		_, err := Writer{Store: h.store, Keys: h.keys, Now: later}.Write(t.Context(), &full{room})
		if err == nil || secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("with room for %d: %v", room, err)
		}
	}
}

func TestRecipients(t *testing.T) {
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	id, classic, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	h := build(t, 1)
	if _, err := age.Decrypt(bytes.NewReader(h.backup(t, pq.Recipient())), pq); err != nil {
		t.Error(err)
	}
	_, err = Writer{Store: h.store, Keys: h.keys, Recipients: []age.Recipient{pq.Recipient(), classic}, Now: time.Now}.Write(t.Context(), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "can't mix") {
		t.Error(err)
	}
	for text, good := range map[string]bool{classic.(*age.X25519Recipient).String(): true, pq.Recipient().String(): true,
		id.(*age.X25519Identity).String(): false, "": false, "age1": false, "# x\nage1": false} {
		if _, err := ParseRecipient(text); (err == nil) != good || err != nil && text != "" && strings.Contains(err.Error(), text) && len(text) > 10 {
			t.Errorf("%v", err)
		}
	}
}
