package secrets

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestOwnersAlone(t *testing.T) {
	for _, c := range []struct {
		mode           fs.FileMode
		ofRoot, isRoot bool
		want           bool
	}{
		{0o600, false, false, true},
		{0o400, true, false, true},
		{0o400, true, true, true},
		{0o440, true, false, true}, // of a pod's volume with an fsGroup
		{0o640, true, false, true},
		{0o440, false, false, false},
		{0o440, true, true, false},
		{0o660, true, false, false},
		{0o450, true, false, false},
		{0o444, true, false, false},
		{0o604, true, false, false},
		{0o602, false, false, false},
	} {
		if got := ownersAlone(c.mode, c.ofRoot, c.isRoot); got != c.want {
			t.Errorf("mode %04o, root's %t, for root %t: %t", c.mode, c.ofRoot, c.isRoot, got)
		}
	}
	path := filepath.Join(t.TempDir(), "file")
	for mode, want := range map[fs.FileMode]bool{0o600: true, 0o644: false} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || OwnersAlone(info) != want {
			t.Errorf("mode %04o: %v, %v", mode, !want, err)
		}
	}
}
