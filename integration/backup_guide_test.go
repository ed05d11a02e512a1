package integration_test

import "testing"

// TestBackupGuide follows docs/backup.md from an empty folder.
func TestBackupGuide(t *testing.T) {
	t.Parallel()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program(t, dir, "pawl", `exec "`+bin+`" "$@"`)
	if all, _ := follow(t, "docs/backup.md", dir, "", ""); all < 6 {
		t.Errorf("%d blocks: is that all?", all)
	}
}
