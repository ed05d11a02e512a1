package integration_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/lambdas"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies/function"
)

const functionsGuide = "docs/functions.md"

// TestFunctionsGuide follows docs/functions.md from an empty folder: a program, an
// endpoint and a function of AWS's shape each rotate, the last one a real user.
func TestFunctionsGuide(t *testing.T) {
	t.Parallel()
	aws := newAWSCLI(t)
	python, err := lambdas.FindPython()
	if err != nil {
		missing(t, err.Error(), true)
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		missing(t, "there is no openssl in PATH", false)
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	db := database(t, servers.AnyPostgres, "guide_fn")
	app := user(t, db, "guide_fn")
	dir := t.TempDir()
	published := filepath.Join(dir, "published.py")
	if err := os.WriteFile(published, lambdas.PostgresSingleUser, 0o600); err != nil {
		t.Fatal(err)
	}
	// The page's port may be taken here.
	program(t, dir, "pawl", `case "$*" in serve) shift; set -- serve --listen 127.0.0.1:0 ;; esac`+"\n"+`exec "`+bin+`" "$@"`)
	program(t, dir, "aws", `exec "`+aws+`" "$@"`)
	program(t, dir, "python3", `exec "`+python+`" "$@"`)
	program(t, dir, "curl", `cp "`+published+`" lambda_function.py`) // one of the same shape
	port, err := app.Port(0)
	if err != nil {
		t.Fatal(err)
	}
	vars := fmt.Sprintf("host=%s port=%d user=%s password='%s' dbname=%s", app.Host(), port, app.Username(), app.Password().Reveal(), app.Database())
	if all, _ := follow(t, functionsGuide, dir, vars, "wait $server"); all < 15 {
		t.Errorf("%d blocks: is that all?", all)
	}
	if err := db.Login(t.Context(), app); err == nil {
		t.Error("the password from before the guide still logs in")
	}
}

// TestSignedExample: the request that docs/functions.md shows was signed with the
// key that it shows.
func TestSignedExample(t *testing.T) {
	text := page(t, functionsGuide)
	key := regexp.MustCompile(`(?m)^key=([0-9a-f]{64})$`).FindStringSubmatch(text)
	if key == nil {
		t.Fatal("there is no key")
	}
	for _, b := range blocks(t, functionsGuide) {
		if b.kind != "http" {
			continue
		}
		head, body, _ := strings.Cut(strings.TrimSuffix(b.text, "\n"), "\n\n")
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		at, err := strconv.ParseInt(req.Header.Get(function.HeaderTimestamp), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(at, 0)
		if err := function.Verify(secrets.NewPassword(key[1]), req.Header, []byte(body), now, 0); err != nil {
			t.Error(err)
		}
		if err := function.Verify(secrets.NewPassword(key[1]), req.Header, []byte(body+"\n"), now, 0); err == nil {
			t.Error("another body is as good")
		}
		return
	}
	t.Error("there is no request")
}
