package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
)

// TestHighAvailabilityGuide follows docs/high-availability.md from an empty folder:
// from a store in a file to three replicas, of which one is killed while it rotates.
func TestHighAvailabilityGuide(t *testing.T) {
	t.Parallel()
	psql, err := exec.LookPath("psql")
	if err != nil {
		missing(t, "there is no psql in PATH", true)
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	s := servertest.Start(t, servers.AnyPostgres, servers.Options{}) // its roles and databases have the page's names
	dir := t.TempDir()
	// The page's ports may be taken here.
	program(t, dir, "pawl", `[ "$1" != serve ] || { shift; set -- serve "$@" --listen 127.0.0.1:0; }`+"\n"+`exec "`+bin+`" "$@"`)
	program(t, dir, "psql", `exec "`+psql+`" -X "$@"`)
	env := fmt.Sprintf("export PGHOST=%s PGPORT=%d PGUSER=%s PGPASSWORD=%s PGDATABASE=postgres", s.Host, s.Port, s.Admin, s.AdminPassword)
	if all, _ := follow(t, "docs/high-availability.md", dir, env, ""); all < 16 {
		t.Errorf("%d blocks: is that all?", all)
	}
	home := filepath.Join(dir, "home", "pawl-ha")
	for _, f := range []string{"serve1.log", "serve2.log", "serve3.log"} {
		log, err := os.ReadFile(filepath.Join(home, f))
		if err != nil {
			t.Fatal(err)
		}
		for _, password := range []string{"owner.password", "pawl.password", filepath.Join("shared", "pawl-db.password")} {
			text, err := os.ReadFile(filepath.Join(home, password))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(log), strings.TrimSpace(string(text))) {
				t.Errorf("%s is in %s", password, f)
			}
		}
		if !strings.Contains(string(log), "msg=stopped") {
			t.Errorf("%s has no end:\n%s", f, log)
		}
	}
}

// TestHighAvailabilityExamples: the configuration in the manifest is one, and what the
// files name is what the page and the program name.
func TestHighAvailabilityExamples(t *testing.T) {
	const dir = "docs/examples/ha/"
	manifest := page(t, dir+"kubernetes.yaml")
	var mounted map[string]string
	kinds := map[string]bool{}
	for _, doc := range strings.Split(manifest, "\n---\n") {
		var object struct {
			Kind string            `yaml:"kind"`
			Data map[string]string `yaml:"data"`
		}
		if err := yaml.Unmarshal([]byte(doc), &object); err != nil {
			t.Fatal(err)
		}
		kinds[object.Kind] = true
		if object.Kind == "ConfigMap" {
			mounted = object.Data
		}
	}
	for _, kind := range []string{"ConfigMap", "Deployment", "Service", "PodDisruptionBudget"} {
		if !kinds[kind] {
			t.Errorf("there is no %s: %v", kind, kinds)
		}
	}
	cfg, err := config.Parse([]byte(mounted["pawl.yaml"]), "/etc/pawl/pawl.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := cfg.Store.Postgres
	for _, file := range []string{p.PasswordFile, p.KeyFile, cfg.Server.TLS.CertFile, cfg.Server.TLS.KeyFile, "/run/pawl/db-ca.crt"} {
		name, ok := strings.CutPrefix(file, "/run/pawl/")
		if !ok || !strings.Contains(manifest, "--from-file="+name) {
			t.Errorf("%s is not in the Secret", file)
		}
	}
	// What the page says of the configuration of machines is one, too.
	indented := regexp.MustCompile(`(?m)^    store:\n(?:    .*\n)+`).FindString(page(t, "docs/high-availability.md"))
	if _, err := config.Parse([]byte(strings.ReplaceAll(indented, "\n    ", "\n")[4:]), "/etc/pawl/pawl.yaml"); err != nil {
		t.Errorf("%v in\n%s", err, indented)
	}
	for _, f := range []string{"pawl.service", "haproxy.cfg"} {
		if text := page(t, dir+f); !strings.Contains(text, "docs/high-availability.md") || !strings.Contains(text, "pawl-tls.crt") {
			t.Errorf("%s names neither the page nor the certificate", f)
		}
	}
}
