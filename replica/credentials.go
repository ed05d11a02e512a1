package replica

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// key is an access key.
type key struct {
	id            string
	secret, token secrets.Password
}

// parse reads the text of a credentials file: what `pawl access create --json` and
// `rotate-key --json` print, or what both print for a shell. Its errors hold
// nothing of it.
func parse(text secrets.Password) (key, error) {
	plain := strings.TrimSpace(text.Reveal())
	k, err := parseLines(plain)
	if strings.HasPrefix(plain, "{") {
		k, err = parseJSON(plain)
	}
	switch {
	case err != nil:
		return key{}, err
	case k.id == "" || k.secret.IsEmpty():
		return key{}, errors.New("there is no access key in it")
	}
	return k, nil
}

func parseJSON(text string) (key, error) {
	type view struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string
	}
	var v struct {
		view
		Credentials view
	}
	if json.Unmarshal([]byte(text), &v) != nil {
		return key{}, errors.New("it is not JSON, though it begins like it")
	}
	if v.Credentials.AccessKeyID != "" {
		v.view = v.Credentials
	}
	return key{v.AccessKeyID, secrets.NewPassword(v.SecretAccessKey), secrets.NewPassword(v.SessionToken)}, nil
}

func parseLines(text string) (k key, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if line == "" || line[0] == '#' || strings.HasPrefix(line, "unset ") {
			continue
		}
		if !ok {
			return key{}, errors.New("it has a line that is not NAME=VALUE")
		}
		value = strings.Trim(value, `"'`)
		switch strings.TrimSpace(name) {
		case "AWS_ACCESS_KEY_ID":
			k.id = value
		case "AWS_SECRET_ACCESS_KEY":
			k.secret = secrets.NewPassword(value)
		case "AWS_SESSION_TOKEN":
			k.token = secrets.NewPassword(value)
		}
	}
	return k, nil
}
