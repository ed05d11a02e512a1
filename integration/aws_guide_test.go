package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pawlhq/pawl/config"
)

// TestAWSGuide follows docs/aws.md from an empty folder, with a Pawl behind
// signatures and policies for AWS, which has the secrets that the page takes as
// given, and the profile with the rights that the page gives it.
func TestAWSGuide(t *testing.T) {
	t.Parallel()
	cli := newAWSCLI(t)
	c := newCloud(t, "aws_guide")
	c.tagged("root/db", c.db.Superuser().Value())
	c.tagged("prod/app/db", user(t, c.db, "ag_app").Value())
	c.tagged("prod/app/shop", user(t, c.db, "ag_shop").Value())

	dir := t.TempDir()
	// Its file says nothing of where AWS is here.
	program(t, dir, "pawl", fmt.Sprintf(`if [ -f pawl.yaml ] && ! grep -q endpoint: pawl.yaml; then
  sed 's|^    region: .*|&\n    endpoint: %s|' pawl.yaml >with-endpoint && mv with-endpoint pawl.yaml
fi
exec %q "$@"`, c.gate.url, c.bin))
	program(t, dir, "aws", fmt.Sprintf("AWS_ENDPOINT_URL_SECRETS_MANAGER=%s AWS_CA_BUNDLE=%q exec %q \"$@\"",
		c.endpoint, filepath.Join(c.dir, config.DefaultCertFile), cli))
	profiles := filepath.Join(dir, "credentials")
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n[pawl]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
		c.admin.AccessKeyID, c.admin.SecretAccessKey, c.user.AccessKeyID, c.user.SecretAccessKey)
	if err := os.WriteFile(profiles, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all, _ := follow(t, "docs/aws.md", dir, fmt.Sprintf("export AWS_SHARED_CREDENTIALS_FILE=%q AWS_DEFAULT_REGION=%s", profiles, homeRegion), "")
	if all < 12 {
		t.Errorf("%d blocks: is that all?", all)
	}
	for _, name := range []string{"prod/app/db", "prod/app/shop"} {
		c.resting(t, name)
	}
	if now := c.current("prod/app/shop"); now.Username() != "ag_shop" {
		t.Errorf("after two rotations it is %s's turn", now.Username())
	}
}
