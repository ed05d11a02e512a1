package config

import (
	"errors"
	"io/fs"
	"os"

	"github.com/pawlhq/pawl/secrets"
)

// Where a configuration file is looked for.
const (
	EnvPath     = "PAWL_CONFIG"         // environment variable with a path
	DefaultFile = "pawl.yaml"           // in the working directory; what pawl init writes
	SystemPath  = "/etc/pawl/pawl.yaml" // for a daemon of the system
)

// Find returns the configuration file's path: that of the --config flag where it
// is not empty, else ./pawl.yaml, else $PAWL_CONFIG, else /etc/pawl/pawl.yaml. A
// path that somebody named is taken at his word: a missing file there is an error
// and not a reason to look further. Errors are Invalid and say where it looked.
func Find(flag string) (path string, err error) { return find(flag, os.Getenv(EnvPath), os.Stat) }

func find(flag, env string, stat func(string) (fs.FileInfo, error)) (string, error) {
	for _, c := range []struct{ path, by string }{{flag, "--config"}, {DefaultFile, ""}, {env, "$" + EnvPath}, {SystemPath, ""}} {
		if c.path == "" {
			continue
		}
		err := usable(c.path, stat)
		switch {
		case err == nil:
			return c.path, nil
		case c.by != "":
			return "", secrets.Errorf(secrets.Invalid, "configuration file %s, named by %s: %w", c.path, c.by, err).
				WithHint("make one with: pawl init")
		case !errors.Is(err, fs.ErrNotExist):
			return "", secrets.Errorf(secrets.Invalid, "configuration file %s: %w", c.path, err)
		}
	}
	return "", secrets.Errorf(secrets.Invalid, "no configuration file: --config and $%s are not set, and there is neither ./%s nor %s", EnvPath, DefaultFile, SystemPath).
		WithHint("make one here with: pawl init")
}

// usable reports why a path can't be a configuration file. A pipe can.
func usable(path string, stat func(string) (fs.FileInfo, error)) error {
	info, err := stat(path)
	var p *fs.PathError
	switch {
	case errors.As(err, &p):
		return p.Err // without the path, which the caller names
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("is a directory, not a file")
	}
	return nil
}
