package main

import (
	"bytes"
	"io"
	"os"

	"github.com/pawlhq/pawl/secrets"
)

// mostSecret is more than any password or shared key has, in bytes.
const mostSecret = 4096

// secretText reads a secret from a file that belongs to its owner alone: the
// file's text, without the end of its line. what names it in errors, which are
// Invalid and show nothing of it; remedy is the hint where there is none.
func secretText(path, what, remedy string) (secrets.Password, error) {
	return secretTextUpTo(mostSecret, path, what, remedy)
}

// mostCredentials is more than what `pawl access create --json` prints has, in
// bytes: the user's policies are in it.
const mostCredentials = 1 << 20

// secretTextUpTo is secretText for a file of at most so many bytes.
func secretTextUpTo(most int64, path, what, remedy string) (secrets.Password, error) {
	bad := func(format string, args ...any) (secrets.Password, error) {
		return secrets.Password{}, secrets.Errorf(secrets.Invalid, what+": "+format, args...).WithHint("%s", remedy)
	}
	file, err := os.Open(path)
	if err != nil {
		return bad("%w", err) // which names the file
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() && !secrets.OwnersAlone(info) {
		return secrets.Password{}, secrets.Errorf(secrets.Invalid, "%s: others than its owner may read %s", what, path).
			WithHint("chmod 600 %s", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	defer clear(text)
	switch text := bytes.TrimRight(text, "\r\n"); {
	case err != nil:
		return bad("%w", err)
	case len(text) == 0:
		return bad("%s is empty", path)
	case int64(len(text)) > most:
		return bad("%s is longer than %d bytes", path, most)
	default:
		return secrets.NewPassword(string(text)), nil
	}
}
