package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestLambdaExample: Terraform and AWS's own provider find nothing wrong with the
// example.
func TestLambdaExample(t *testing.T) {
	path, err := exec.LookPath("terraform")
	if err != nil {
		missing(t, "there is no terraform in PATH", false)
	}
	mirror := providerMirror()
	if mirror == "" {
		missing(t, "Terraform's AWS provider is in no mirror directory; TF_PLUGIN_DIR can name one", false)
	}
	tf := &terraform{t: t, path: path, dir: t.TempDir()}
	tf.write("terraformrc", fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror))
	tf.env = []string{
		"TF_CLI_CONFIG_FILE=" + filepath.Join(tf.dir, "terraformrc"), "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1",
		"PATH=" + os.Getenv("PATH"), "HOME=" + tf.dir,
	}
	for _, name := range []string{"main.tf", "policy.json"} {
		b, err := os.ReadFile(filepath.Join("..", "docs", "examples", "lambda", name))
		if err != nil {
			t.Fatal(err)
		}
		tf.write(name, string(b))
	}
	tf.run(0, "init", "-no-color", "-input=false")
	tf.run(0, "validate", "-no-color")
	tf.run(0, "fmt", "-no-color", "-check", "-diff")
}
