package seal

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// A key file is text. Its first line says what it is; lines that begin with #
// and empty lines are for people; each other line is a key: its id, a space, and
// 32 bytes in base64. The first key is the newest, all of them open. The id is
// derived from the key, so that a mistyped key is noticed.
const (
	keyFileTitle = "pawl key file 1"
	keyFileNote  = `# Whoever has this file and the database can read every secret.
# Without this file nobody can. Keep a copy, and keep it apart from the
# database and its backups.
`
	maxKeyFile = 64 << 10
)

// GenerateKeyFile writes a new key file with one key taken from random. The
// file belongs to its owner alone (mode 0600) and is on the disk when it
// returns. It never overwrites: if path exists, whatever it is, the error is
// Invalid.
func GenerateKeyFile(path string, random io.Reader) (err error) {
	raw := make([]byte, keyLen)
	if _, err := io.ReadFull(random, raw); err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return secrets.Errorf(secrets.Invalid, "the key file %s exists and is not overwritten", path).
			WithHint("use it, or move it away if no store needs it")
	}
	if err != nil {
		return secrets.Errorf(secrets.Invalid, "creating the key file: %w", err).
			WithHint("make the folder %s and make it writable", filepath.Dir(path))
	}
	defer func() {
		if err != nil {
			err = secrets.Errorf(secrets.Invalid, "writing the key file: %w", errors.Join(err, os.Remove(path))).
				WithHint("check the disk of %s", filepath.Dir(path))
		}
	}()
	_, err = fmt.Fprintf(f, "%s\n%s%s\n", keyFileTitle, keyFileNote, keyLine(raw))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func keyLine(raw []byte) string {
	return idOf(raw).String() + " " + base64.StdEncoding.EncodeToString(raw)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Load reads a key file and makes a Keyring of nothing else. Errors: as
// Source.Load.
func Load(path string) (*Keyring, error) {
	f, err := openKeyFile(path)
	if err != nil {
		return nil, err
	}
	keys, err := f.keys()
	if err != nil {
		return nil, err
	}
	return New(Config{Master: &Master{keys: keys, source: Source{File: path}}}), nil
}

// readKeyFile reads a key file's text. Errors are Invalid: the file is missing,
// or can be read by others than its owner.
func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, secrets.Errorf(secrets.Invalid, "the key file %s does not exist", path).
			WithHint("put it back from its backup; for a new store: pawl init")
	case err != nil:
		return nil, secrets.Errorf(secrets.Invalid, "opening the key file: %w", err).
			WithHint("run Pawl as the owner of %s", path)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "opening the key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, secrets.Errorf(secrets.Invalid, "the key file %s is not a file", path).
			WithHint("name the file itself (key_file)")
	}
	if !secrets.OwnersAlone(info) {
		return nil, secrets.Errorf(secrets.Invalid, "the key file %s can be used by others than its owner (mode %04o)", path, info.Mode().Perm()).
			WithHint("run: chmod 600 %s", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "reading the key file: %w", err).WithHint("check the disk")
	}
	return text, nil
}

// keyFile is a key file's text, to be written anew with other keys in it.
type keyFile struct {
	path string
	text []byte
}

func openKeyFile(path string) (*keyFile, error) {
	text, err := readKeyFile(path)
	return &keyFile{path, text}, err
}

func (f *keyFile) keys() ([]key, error) {
	keys, err := parse(f.text, false)
	if err != nil {
		s := Source{File: f.path}
		return nil, secrets.Errorf(secrets.Invalid, "%s %w", s, err).WithHint("%s", s.remedy())
	}
	return keys, nil
}

// add puts a key before the others. All else stays as people wrote it.
func (f *keyFile) add(raw []byte) {
	lines := bytes.SplitAfter(f.text, []byte("\n"))
	i := slices.IndexFunc(lines, func(l []byte) bool { return isKeyLine(l) && !isTitle(l) })
	lines = slices.Insert(lines, i, []byte(keyLine(raw)+"\n"))
	f.text = bytes.Join(lines, nil)
}

// remove takes keys out.
func (f *keyFile) remove(ids []keyID) {
	lines := bytes.SplitAfter(f.text, []byte("\n"))
	lines = slices.DeleteFunc(lines, func(l []byte) bool {
		text, _, _ := strings.Cut(strings.TrimSpace(string(l)), " ")
		id, ok := parseID(text)
		return ok && isKeyLine(l) && slices.Contains(ids, id)
	})
	f.text = bytes.Join(lines, nil)
}

func isTitle(line []byte) bool { return string(bytes.TrimSpace(line)) == keyFileTitle }

func isKeyLine(line []byte) bool {
	line = bytes.TrimSpace(line)
	return len(line) > 0 && line[0] != '#'
}

// write replaces the file by one of the same owner: whoever reads it meanwhile,
// and whoever finds it after a crash, has either the old one or the new one.
func (f *keyFile) write() (err error) {
	defer func() {
		if err != nil {
			err = secrets.Errorf(secrets.Invalid, "writing the key file %s anew: %w", f.path, err).
				WithHint("nothing was changed; run it as the file's owner, with its folder writable and the disk not full")
		}
	}()
	path, err := filepath.EvalSymlinks(f.path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	// One at a time writes it. What is there was left by one who was killed, and
	// nothing can need a key of his that never came into the file.
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	t, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = t.Write(f.text)
	if err = errors.Join(err, keepOwner(t, info), t.Sync(), t.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncFolder(filepath.Dir(path))
}

// parse reads the text of a key file or, where bare is allowed, keys that stand
// there in base64 without anything else. Its errors go on after "the key file X"
// and never show what was read.
func parse(text []byte, bare bool) ([]key, error) {
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("is empty")
	case len(text) > maxKeyFile:
		return nil, errors.New("is too large to be one")
	}
	if first, _, _ := bytes.Cut(text, []byte("\n")); bare && !isTitle(first) {
		return parseBare(text)
	}
	var keys []key
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if n == 1 {
			if line != keyFileTitle {
				return nil, fmt.Errorf("is not one: its first line is not %q", keyFileTitle)
			}
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := parseKey(line)
		if err != nil {
			return nil, fmt.Errorf("is damaged in line %d: %w", n, err)
		}
		keys = append(keys, key)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("is damaged: %w", err)
	}
	if len(keys) == 0 {
		return nil, errors.New("has no key in it")
	}
	return keys, nil
}

func parseBare(text []byte) ([]key, error) {
	var keys []key
	for _, word := range strings.Fields(string(text)) {
		raw, err := parseRaw(word)
		if err != nil {
			return nil, fmt.Errorf("is no key: %w", err)
		}
		k, err := newKey(raw)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func parseKey(line string) (key, error) {
	id, text, ok := strings.Cut(line, " ")
	if !ok {
		return key{}, errors.New("a key is its id, a space and 32 bytes in base64")
	}
	raw, err := parseRaw(strings.TrimSpace(text))
	if err != nil {
		return key{}, err
	}
	if id != idOf(raw).String() {
		return key{}, errors.New("the key does not match its id")
	}
	return newKey(raw)
}

func parseRaw(text string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("the key is not base64")
	}
	if len(raw) != keyLen {
		return nil, fmt.Errorf("the key has %d bytes instead of %d", len(raw), keyLen)
	}
	return raw, nil
}
