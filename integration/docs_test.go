package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
)

// The pages in docs/ promise things. Here those that can be held to their words
// are: a guide whose commands are typed as they stand, the tests that the threat
// model calls its witnesses, and where links lead.

const root = ".."

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block is one of a page's between lines of three backquotes.
type block struct {
	kind string // what stands behind the first ones
	line int    // the number of its first line
	text string
}

func blocks(t *testing.T, name string) (all []block) {
	t.Helper()
	inside := false
	for i, line := range strings.SplitAfter(page(t, name), "\n") {
		kind, fence := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "```")
		switch {
		case fence && !inside:
			all = append(all, block{kind: kind, line: i + 2})
		case !fence && inside:
			all[len(all)-1].text += line
		}
		inside = inside != fence
	}
	if inside {
		t.Fatalf("%s:%d: the block does not end", name, all[len(all)-1].line)
	}
	return all
}

// TestAccessGuide follows docs/access.md from an empty folder.
func TestAccessGuide(t *testing.T) {
	t.Parallel()
	aws := newAWSCLI(t)
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// The page's port may be taken here.
	program(t, dir, "pawl", `[ "$1" != serve ] || { shift; set -- serve --listen 127.0.0.1:0 "$@"; }`+"\n"+`exec "`+bin+`" "$@"`)
	program(t, dir, "aws", `exec "`+aws+`" "$@"`)
	all, refusals := follow(t, "docs/access.md", dir, "", "wait $server") // it must have ended well
	if refusals < 5 || all < 20 {
		t.Errorf("%d refusals in %d blocks: is that all?", refusals, all)
	}
	nothingStored(t, filepath.Join(dir, "home", "pawl-access"))
}

// follow types the blocks of a page that are marked sh into one shell, in order,
// in an empty folder of dir, between a first and a last line of the caller's.
// Every command must end well, but for those that end with "|| echo refused":
// these must fail, and because they were refused. A block marked text is what the
// one before it printed, some of it, where … stands for anything and line ends for
// blanks. It returns how many blocks there are, and how many refusals.
func follow(t *testing.T, name, dir, before, after string) (all, refusals int) {
	t.Helper()
	guide := blocks(t, name)
	script := "set -eu\n" + before + "\n"
	for _, b := range guide {
		if b.kind == "sh" {
			lines, n := typed(b)
			script += lines
			refusals += n
		}
	}
	shown := shell(t, dir, script+after+"\n")

	// What was printed, by the number of the line of the page.
	printed := map[int]string{}
	at := 0
	for _, line := range strings.SplitAfter(shown, "\n") {
		if m := marked.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			at, _ = strconv.Atoi(m[1])
			continue
		}
		printed[at] += line
	}
	were := 0
	for line, text := range printed {
		if line < 0 && !denial.MatchString(text) {
			t.Errorf("%s:%d: it was not refused but failed: %s", name, -line, text)
		} else if line < 0 {
			were++
		}
	}
	if were != refusals {
		t.Errorf("%d of %d refusals", were, refusals)
	}
	last, examples := "", 0
	for _, b := range guide {
		switch b.kind {
		case "sh":
			last = ""
			for i := range strings.Count(b.text, "\n") + 1 {
				last += printed[b.line+i] + printed[-b.line-i]
			}
		case "text":
			examples++
			if !looksLike(b.text, last) {
				t.Errorf("%s:%d: the page shows\n%s\nand what was printed is\n%s", name, b.line, b.text, last)
			}
		}
	}
	if examples == 0 {
		t.Error("the page shows nothing of what is printed")
	}
	return len(guide), refusals
}

// nothingStored makes sure that none of the guide's values and secret access keys
// is in the store's files or the server's log as it is.
func nothingStored(t *testing.T, dir string) {
	t.Helper()
	secret := []string{`"password":"first"`, "for-partners"}
	files, err := filepath.Glob(filepath.Join(dir, "*.env"))
	if err != nil {
		t.Fatal(err)
	}
	keys := regexp.MustCompile(`AWS_(?:SECRET_ACCESS_KEY|SESSION_TOKEN)=(\S+)`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range keys.FindAllStringSubmatch(string(text), -1) {
			secret = append(secret, m[1])
		}
	}
	kept, err := filepath.Glob(filepath.Join(dir, "pawl.db*"))
	if err != nil || len(kept) == 0 || len(secret) < 6 {
		t.Fatalf("files of the store: %q, %v; %d secrets", kept, err, len(secret))
	}
	for _, f := range append(kept, filepath.Join(dir, "serve.log")) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range secret {
			if bytes.Contains(text, []byte(s)) {
				t.Errorf("secret %d of %d stands in %s", i+1, len(secret), f)
			}
		}
	}
}

var (
	heredoc = regexp.MustCompile(`<<'(\w+)'$`)
	refused = regexp.MustCompile(`\s+\|\| echo refused$`)
	marked  = regexp.MustCompile(`^== line (-?\d+)$`)
	denial  = regexp.MustCompile(`AccessDenied|UnrecognizedClientException|(?m)^DENIED: `)
)

// typed makes of a block what the shell is given: every command after a line that
// says where it stands, one that must be refused with a minus.
func typed(b block) (script string, refusals int) {
	end := "" // of a here-document
	continued := false
	for i, line := range strings.Split(strings.TrimSuffix(b.text, "\n"), "\n") {
		at := b.line + i
		m := heredoc.FindStringSubmatch(line)
		goesOn := strings.HasSuffix(line, `\`)
		switch {
		case end != "":
			if line == end {
				end = ""
			}
		case continued:
		case refused.MatchString(line):
			refusals++
			line = fmt.Sprintf("echo '== line -%d'\nif %s; then echo '== line %d'; echo 'it was not refused'; exit 1; fi", at, refused.ReplaceAllString(line, ""), at)
		case m != nil:
			end = m[1]
			line = fmt.Sprintf("echo '== line %d'\n%s", at, line)
		default:
			line = fmt.Sprintf("echo '== line %d'\n%s", at, line)
		}
		continued = goesOn
		script += line + "\n"
	}
	return script, refusals
}

// looksLike reports whether an example stands somewhere in what was printed.
func looksLike(example, printed string) bool {
	var parts []string
	for _, part := range strings.Split(example, "…") {
		parts = append(parts, regexp.QuoteMeta(strings.Join(strings.Fields(part), " ")))
	}
	return regexp.MustCompile(strings.Join(parts, ".*")).MatchString(strings.Join(strings.Fields(printed), " "))
}

// newAWSCLI is an AWS command line that knows AWS_ENDPOINT_URL_….
func newAWSCLI(t *testing.T) string {
	t.Helper()
	version := regexp.MustCompile(`aws-cli/(\d+)\.(\d+)\.`)
	found := awsCLIs()
	for _, path := range found {
		out, err := exec.Command(path, "--version").CombinedOutput()
		m := version.FindSubmatch(out)
		if err != nil || m == nil {
			continue
		}
		major, _ := strconv.Atoi(string(m[1]))
		minor, _ := strconv.Atoi(string(m[2]))
		if major == 1 && minor >= 29 || major == 2 && minor >= 13 || major > 2 {
			return path
		}
	}
	missing(t, "there is no AWS command line (aws) in PATH that is 1.29.0, 2.13.0 or newer", len(found) == 0)
	return ""
}

// program puts a shell script into dir/bin.
func program(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// shell runs a script in a folder of its own, with the programs of dir/bin first
// and nothing of AWS's that this machine may have, and returns all it printed. It
// fails the test where the script does not end well.
func shell(t *testing.T, dir, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	home, file := filepath.Join(dir, "home"), filepath.Join(dir, "script.sh")
	if err := errors.Join(os.Mkdir(home, 0o700), os.WriteFile(file, []byte(script), 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "sh", file)
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + filepath.Join(dir, "bin") + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + home, "TMPDIR=" + os.TempDir(), "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER="}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out := &screen{}
	cmd.Stdout, cmd.Stderr = out, out
	everything := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel, cmd.WaitDelay = everything, 5*time.Second
	err := cmd.Run()
	if cmd.Process != nil {
		_ = everything() // a server that a failed script left; there may be none
	}
	if err != nil {
		t.Fatalf("%v, after:\n%s", err, out)
	}
	return out.String()
}

// pages are all that people read, by their paths from the root.
func pages(t *testing.T) (names []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := fs.Glob(os.DirFS(root), pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	if len(names) < 10 {
		t.Fatalf("these are all pages? %q", names)
	}
	return names
}

// link is one of Markdown's, to a place in this tree.
var link = regexp.MustCompile(`\[([^\]]*)\]\(([^)\s]+)\)`)

// TestLinks: every link in a page leads to a file, and to a heading in it.
func TestLinks(t *testing.T) {
	for _, name := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(page(t, name), -1) {
			file, anchor, _ := strings.Cut(m[2], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			info, err := os.Stat(filepath.Join(root, target))
			switch {
			case err != nil:
				t.Errorf("%s: %s leads to no file", name, m[2])
			case anchor != "" && (info.IsDir() || !slices.Contains(anchors(page(t, target)), anchor)):
				t.Errorf("%s: %s leads to no heading", name, m[2])
			}
		}
	}
}

// anchors are what the headings of a page can be linked by: their letters and
// digits in lower case, with - for blanks.
func anchors(text string) (all []string) {
	for _, line := range strings.Split(text, "\n") {
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, title))
	}
	return all
}

// TestThreatModel: every claim of the threat model has a witness, and each of
// them is there: a test, by its name and file, or a script. The claims are the
// rows of the tables whose last column is "shown by".
func TestThreatModel(t *testing.T) {
	const name = "docs/threat-model.md"
	claims := 0
	inside := false
	for i, line := range strings.Split(page(t, name), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		last := strings.TrimSpace(cells[len(cells)-1])
		switch {
		case !strings.HasPrefix(line, "|"):
			inside = false
		case last == "shown by":
			inside = true
		case inside && !strings.HasPrefix(line, "|---"):
			claims++
			witnesses := link.FindAllStringSubmatch(last, -1)
			if len(witnesses) == 0 {
				t.Errorf("%s:%d: no test shows that %s", name, i+1, cells[0])
			}
			for _, w := range witnesses {
				if err := witness(w[1], filepath.Join(root, "docs", w[2])); err != nil {
					t.Errorf("%s:%d: %v", name, i+1, err)
				}
			}
		}
	}
	if claims < 20 {
		t.Errorf("%s makes %d claims", name, claims)
	}
}

// witness makes sure that a test is in a file, or that a script is that file.
func witness(what, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	test := strings.Trim(what, "`")
	switch {
	case strings.HasSuffix(path, ".txtar") && filepath.Base(path) == test:
		return nil
	case strings.HasSuffix(path, "_test.go") && regexp.MustCompile(`(?m)^func `+regexp.QuoteMeta(test)+`\(\w+ \*testing\.[TF]\)`).Match(text):
		return nil
	}
	return fmt.Errorf("%s is no test of %s", what, path)
}
