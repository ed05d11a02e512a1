package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/pawlhq/pawl/secrets"
)

// Source is where the master key comes from: exactly one of its members. What is
// there is the text of a key file or, but for File, 32 bytes in base64; where
// several stand there, one a line, the first is the newest.
type Source struct {
	File       string   // a key file's path
	Env        string   // an environment variable's name
	Credential string   // a systemd credential's name (LoadCredential=)
	Command    []string // a program and its arguments; the key is what it writes to its standard output

	// Section is where the configuration names it, which hints tell; "" =
	// store.sqlite.
	Section string
}

// commandTime is how long a Command may take: it may ask a machine far away.
const commandTime = 30 * time.Second

// Master is the key-encryption keys of a Source. It prints only key ids.
type Master struct {
	keys   []key
	source Source
	getenv func(string) string
}

// Load gets the master key. getenv is os.Getenv, or nil for it. Errors are
// Invalid and never show what was read: nothing is there, a file can be read by
// others than its owner, a program failed (with what it wrote to its standard
// error), what was read is no key or is damaged.
func (s Source) Load(ctx context.Context, getenv func(string) string) (*Master, error) {
	if getenv == nil {
		getenv = os.Getenv
	}
	text, err := s.read(ctx, getenv)
	if err != nil {
		return nil, err
	}
	keys, err := parse(text, s.File == "")
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "%s %w", s, err).WithHint("%s", s.remedy())
	}
	return &Master{keys, s, getenv}, nil
}

// reload gets the master key anew from where it came from.
func (m *Master) reload(ctx context.Context) (*Master, error) { return m.source.Load(ctx, m.getenv) }

func (s Source) read(ctx context.Context, getenv func(string) string) ([]byte, error) {
	n := 0
	for _, given := range []bool{s.File != "", s.Env != "", s.Credential != "", len(s.Command) > 0} {
		if given {
			n++
		}
	}
	switch {
	case n != 1:
		return nil, secrets.Errorf(secrets.Invalid, "the master key comes from one place; %d are given", n).
			WithHint("name one of %s, key_env, key_credential and key_command", s.key("key_file"))
	case s.File != "":
		return readKeyFile(s.File)
	case s.Env != "":
		text := getenv(s.Env)
		if text == "" {
			return nil, secrets.Errorf(secrets.Invalid, "%s is not set", s).WithHint("%s", s.remedy())
		}
		return []byte(text), nil
	case s.Credential != "":
		return s.credential(getenv("CREDENTIALS_DIRECTORY"))
	}
	return s.output(ctx, commandTime)
}

// credential reads a systemd credential. Who may read it is systemd's affair.
func (s Source) credential(dir string) ([]byte, error) {
	if s.Credential != filepath.Base(s.Credential) || strings.HasPrefix(s.Credential, ".") {
		return nil, secrets.Errorf(secrets.Invalid, "%q is not the name of a systemd credential", s.Credential).
			WithHint("name it as in LoadCredential= of the unit, without a path")
	}
	if dir == "" {
		return nil, secrets.Errorf(secrets.Invalid, "%s is not there: CREDENTIALS_DIRECTORY is not set", s).
			WithHint("start Pawl as a systemd service with LoadCredential=%s:FILE", s.Credential)
	}
	f, err := os.Open(filepath.Join(dir, s.Credential))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, secrets.Errorf(secrets.Invalid, "%s is not in %s", s, dir).
			WithHint("put LoadCredential=%s:FILE into the unit", s.Credential)
	}
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "%s can't be read: %w", s, err).
			WithHint("look at the unit's LoadCredential= and User=")
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "%s can't be read: %w", s, err).
			WithHint("look at the unit's LoadCredential=")
	}
	return text, nil
}

// output runs the Command.
func (s Source) output(ctx context.Context, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Command[0], s.Command[1:]...)
	// What the program started itself may hold its output open.
	cmd.WaitDelay = time.Second
	out, said := &head{limit: maxKeyFile + 1}, &head{limit: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, said
	err := cmd.Run()
	switch {
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		err = fmt.Errorf("it took more than %s", limit)
	case err == nil:
		return out.Bytes(), nil
	}
	if text := oneLine(said.String()); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return nil, secrets.Errorf(secrets.Invalid, "%s can't be had: %w", s, err).
		WithHint("run it by hand as the user that Pawl runs as (%s)", s.setting())
}

// head keeps the first bytes of what is written to it.
type head struct {
	bytes.Buffer
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), h.limit-h.Len())])
	return len(p), nil
}

// oneLine makes what a program said fit for a message.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	if text = strings.Join(strings.Fields(text), " "); len(text) > 500 {
		text = "…" + strings.ToValidUTF8(text[len(text)-500:], "")
	}
	return text
}

// String says where the key is, and nothing of the key. Of a Command it names
// the program: its arguments may be nobody's business.
func (s Source) String() string {
	switch {
	case s.Env != "":
		return "the master key in the environment variable " + s.Env
	case s.Credential != "":
		return "the master key in the systemd credential " + s.Credential
	case len(s.Command) > 0:
		return "the master key that " + s.Command[0] + " writes"
	}
	return "the key file " + s.File
}

// Format writes what String gives for every verb.
func (s Source) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// setting is the one in the configuration file that names the source.
func (s Source) setting() string {
	switch {
	case s.Env != "":
		return s.key("key_env")
	case s.Credential != "":
		return s.key("key_credential")
	case len(s.Command) > 0:
		return s.key("key_command")
	}
	return s.key("key_file")
}

// key is a key of the configuration's section.
func (s Source) key(name string) string {
	if s.Section == "" {
		return "store.sqlite." + name
	}
	return s.Section + "." + name
}

// remedy is the hint for a key that can't be read.
func (s Source) remedy() string {
	if s.File != "" {
		return "put it back from its backup"
	}
	return "give the key that the store was made with: the text of a key file, or 32 bytes in base64 (for a new store: head -c 32 /dev/urandom | base64)"
}

// KeyIDs returns the keys' ids, newest first: 16 hexadecimal digits each, that
// are derived from the key and do not give it away.
func (m *Master) KeyIDs() []string {
	out := make([]string, len(m.keys))
	for i, k := range m.keys {
		out[i] = k.id.String()
	}
	return out
}

// String names the source and the key ids.
func (m *Master) String() string { return m.source.String() + " with " + idList(m.keys) }

// GoString is String.
func (m *Master) GoString() string { return m.String() }

// Format writes what String gives for every verb, so that no key is printed by
// chance.
func (m *Master) Format(f fmt.State, _ rune) { fmt.Fprint(f, m.String()) }

// LogValue is String.
func (m *Master) LogValue() slog.Value { return slog.StringValue(m.String()) }

// idList names keys in a message.
func idList(keys []key) string {
	s := make([]string, len(keys))
	for i, k := range keys {
		s[i] = k.id.String()
	}
	if len(s) == 1 {
		return "key " + s[0]
	}
	return "keys " + strings.Join(s, ", ")
}
