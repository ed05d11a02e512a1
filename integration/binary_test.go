package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/teststore"
)

// binaryDir is where the real binary is built to, once per run of the package.
var binaryDir string

// removeBinary is for TestMain, when all tests have ended.
func removeBinary() {
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pawl-binary-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	// go test runs a test again when a file has changed that it looked at; it
	// knows of no other tie between this package and the program's own.
	sources, err := filepath.Glob(filepath.Join("..", "cmd", "pawl", "*.go"))
	if err != nil || len(sources) == 0 {
		return "", fmt.Errorf("the program's sources: %d found, %v", len(sources), err)
	}
	for _, f := range sources {
		if _, err := os.Stat(f); err != nil {
			return "", err
		}
	}
	path := filepath.Join(dir, "pawl")
	cmd := exec.Command("go", "build", "-o", path, "github.com/pawlhq/pawl/cmd/pawl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// site is a folder as `pawl init` makes it, for the real binary. The pawl in it
// is on the same store, in this process: it makes secrets and looks.
type site struct {
	*pawl
	dir, bin string
	env      []string // NAME=value, besides a path
	data     teststore.Data
}

// newSite makes a site whose configuration ends with these lines.
func newSite(t testing.TB, lines string) *site {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{pawl: &pawl{t: t}, dir: t.TempDir(), bin: bin}
	s.init()
	s.configure(lines)
	s.look()
	return s
}

// init has the binary make everything, with these flags of its init, and returns
// what it says to a shell.
func (s *site) init(flags ...string) (said string) {
	s.t.Helper()
	if teststore.OnPostgres() {
		s.data = teststore.New(s.t)
	} else {
		s.data = teststore.File(filepath.Join(s.dir, config.DefaultDatabase))
	}
	said = s.do(append([]string{"init", "--dir", s.dir}, flags...)...)
	if !teststore.OnPostgres() {
		return said
	}
	// The same over a database: init knows the folder's files only.
	files, err := filepath.Glob(filepath.Join(s.dir, config.DefaultDatabase+"*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range append(files, filepath.Join(s.dir, config.DefaultKeyFile)) {
		if err := os.Remove(f); err != nil {
			s.t.Fatal(err)
		}
	}
	s.configure("")
	return s.do("init", "--store")
}

// look opens the store in this process.
func (s *site) look() {
	s.t.Helper()
	keys, err := seal.Load(filepath.Join(s.dir, config.DefaultKeyFile))
	if err != nil {
		s.t.Fatal(err)
	}
	s.store = teststore.Fresh(s.data.Open(s.t))
	s.svc = service.New(service.Config{Store: s.store, Sealer: keys, MinimumInterval: time.Second})
}

// do runs a command that must succeed, and returns what it prints.
func (s *site) do(args ...string) string {
	s.t.Helper()
	r := s.cli(args...)
	if r.code != 0 {
		s.t.Fatalf("pawl %q: exit code %d: %s", args, r.code, r.err)
	}
	return r.out
}

// in is s for a subtest: what fails is that one's failure.
func (s *site) in(t testing.TB) *site {
	return &site{pawl: &pawl{t: t, store: s.store, svc: s.svc}, dir: s.dir, bin: s.bin, env: s.env, data: s.data}
}

func (s *site) file() string { return filepath.Join(s.dir, config.DefaultFile) }

// template is what init writes, and names the store that these tests are on.
func (s *site) template() string { return s.over(config.Template()) }

// over has a configuration that init wrote name the store that these tests are on.
func (s *site) over(file []byte) string {
	text := string(file)
	if !teststore.OnPostgres() {
		return text
	}
	begin := strings.Index(text, "store:\n")
	end := begin + strings.Index(text[begin:], "\n\n") + 1
	return text[:begin] + s.data.Lines() + text[end:]
}

// configure writes the configuration file anew: what init writes, and lines.
func (s *site) configure(lines string) {
	s.t.Helper()
	if err := os.WriteFile(s.file(), []byte(s.template()+lines), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// command is a call of the binary that inherits nothing but a path.
func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.bin, args...)
	cmd.Dir = s.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, s.env...)
	return cmd
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
}

// cli runs a command to its end.
func (s *site) cli(args ...string) result {
	s.t.Helper()
	p := s.start(args...)
	code := p.wait()
	return result{code, p.out.String(), p.err.String()}
}

// process is a command that runs.
type process struct {
	t        testing.TB
	cmd      *exec.Cmd
	out, err *screen
	ended    chan struct{}
}

// screen is output that can be read while it is written.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// start starts a command. It ends with the test at the latest.
func (s *site) start(args ...string) *process {
	s.t.Helper()
	return s.startLogging(nil, args...)
}

// startLogging is start with a file for the log, which costs the tests' own
// process nothing; nil = the log is at hand in err.
func (s *site) startLogging(log *os.File, args ...string) *process {
	s.t.Helper()
	p := &process{t: s.t, cmd: s.command(args...), out: &screen{}, err: &screen{}, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	if log != nil {
		p.cmd.Stderr = log
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the code is in ProcessState
	}()
	s.t.Cleanup(p.kill)
	return p
}

// wait waits for the end and returns the exit code, -1 after a signal.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(60 * time.Second):
		p.kill()
		p.t.Fatalf("%q does not end: %s", p.cmd.Args, p.err)
		return -1
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// await waits until the log has a line that matches, and fails when the process
// ends first.
func (p *process) await(pattern string) {
	p.t.Helper()
	p.awaitAfter(0, pattern)
}

// awaitAfter is await for what the log says beyond its first n bytes.
func (p *process) awaitAfter(n int, pattern string) {
	p.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	until(p.t, fmt.Sprintf("%s in the log", pattern), func() bool {
		log := p.err.String()
		if re.MatchString(log[n:]) {
			return true
		}
		select {
		case <-p.ended:
			p.t.Fatalf("it ended without %s: %s", pattern, log)
		default:
		}
		return false
	})
}

// logged is how much the log holds by now.
func (p *process) logged() int { return len(p.err.String()) }

// serve starts a daemon and waits until it serves.
func (s *site) serve(args ...string) *process {
	s.t.Helper()
	p := s.start(append([]string{"serve"}, args...)...)
	p.await("pawl serves")
	return p
}

// stop ends a daemon gracefully: SIGTERM, exit code 0, within the grace.
func (p *process) stop() {
	p.t.Helper()
	began := time.Now()
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM: %s", code, p.err)
	}
	if took := time.Since(began); took > 25*time.Second {
		p.t.Errorf("SIGTERM took %v", took)
	}
}

// rest checks that after a daemon's end nothing is under way at these secrets.
// A rotation that SIGTERM met before setSecret has stopped there: then the next
// command must finish it.
func (s *site) rest(names ...string) {
	s.t.Helper()
	open := slices.ContainsFunc(names, func(n string) bool { return s.holder(n, secrets.Pending) != "" })
	if open {
		if r := s.cli("rotate", "--due"); r.code != 0 {
			s.t.Errorf("rotate --due after the daemon's end: exit code %d: %s", r.code, r.err)
		}
	}
	for _, name := range names {
		s.atRest(name)
	}
}

// waitVersion waits until a secret's AWSCURRENT is none of the given versions,
// and returns it.
func (s *site) waitVersion(name string, not ...string) (id string) {
	s.t.Helper()
	until(s.t, name+" to rotate", func() bool {
		id = s.holder(name, secrets.Current)
		return !slices.Contains(not, id)
	})
	return id
}

// waitAll waits until each of the secrets has an AWSCURRENT that did not exist
// when it was called.
func (s *site) waitAll(names ...string) {
	s.t.Helper()
	before := map[string][]string{}
	for _, name := range names {
		before[name] = s.allVersions(name)
	}
	for _, name := range names {
		s.waitVersion(name, before[name]...)
	}
}

var acknowledgement = regexp.MustCompile(`(?m)^\S+: (?:rotated|resumed) in ([^\s,]+), version ([0-9a-f-]{36})`)

// acknowledgedBy returns the version that a `pawl rotate` has acknowledged, and
// how long it says that the rotation took; "" where it acknowledged none.
func acknowledgedBy(out string) (id string, took time.Duration) {
	m := acknowledgement.FindStringSubmatch(out)
	if m == nil {
		return "", 0
	}
	took, err := time.ParseDuration(m[1])
	if err != nil {
		return "", 0
	}
	return m[2], took
}

// begun waits until a process has shown the first step of a rotation.
func (p *process) begun() {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); p.logged() == 0; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			p.t.Fatal("no step is shown")
		}
	}
}

// allVersions lists a secret's versions, oldest first, those without labels too.
func (s *site) allVersions(name string) []string {
	s.t.Helper()
	var ids []string
	in := service.ListSecretVersionIDsInput{SecretID: name, IncludeDeprecated: true}
	for {
		out, err := s.svc.ListSecretVersionIDs(s.t.Context(), in)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, v := range out.Versions {
			ids = append(ids, v.VersionID)
		}
		if in.NextToken = out.NextToken; in.NextToken == "" {
			return ids
		}
	}
}

// everyPassword returns the values, and the passwords in them, of all versions.
func (s *site) everyPassword(name string) []string {
	s.t.Helper()
	var out []string
	for _, id := range s.allVersions(name) {
		v, err := s.svc.GetSecretValue(context.WithoutCancel(s.t.Context()), service.GetSecretValueInput{SecretID: name, VersionID: id})
		if secrets.CodeOf(err) == "ResourceNotFoundException" {
			continue // it has no value yet
		}
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, string(v.Value.Reveal()))
		if c, err := secrets.ParseCredentials(v.Value); err == nil {
			out = append(out, c.Password().Reveal())
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// contains reports the first of the texts that is in s, by its place in the list.
func contains(s string, texts []string) (int, bool) {
	i := slices.IndexFunc(texts, func(t string) bool { return strings.Contains(s, t) })
	return i, i >= 0
}
