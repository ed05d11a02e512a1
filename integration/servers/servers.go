// Package servers starts real database servers, throw-away and on loopback,
// for Pawl's tests, benchmarks and `pawl demo`.
//
// A server gets a fresh data directory, a free port of 127.0.0.1 and a random
// administrator password, and asks everybody for a password: nothing here ever
// trusts a client. It is ready when a real login succeeded. On Linux the
// kernel kills it when this process dies, however it dies; on other systems
// only Stop ends it.
//
// The binaries come from the machine or from the cache that
// scripts/servers.sh fills (see [CacheDir]); an existing cluster of the
// machine is never touched.
package servers

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind names a server this package can start.
type Kind string

// The servers. AnyPostgres is whatever PostgreSQL (14 or newer) is at hand.
const (
	Postgres15  Kind = "postgres15"
	Postgres18  Kind = "postgres18"
	AnyPostgres Kind = "postgres"
	MariaDB     Kind = "mariadb"
	MySQL       Kind = "mysql"
)

// Kinds lists the servers that the test suite runs against, which are also
// the names that scripts/servers.sh takes.
var Kinds = []Kind{Postgres15, Postgres18, MariaDB, MySQL}

// IsPostgres reports whether the kind speaks PostgreSQL's protocol; the others
// speak MySQL's.
func (k Kind) IsPostgres() bool { return strings.HasPrefix(string(k), "postgres") }

// Options says how a server differs from the plain one. The zero value is a
// good server for a test.
type Options struct {
	// Dir is where the server lives: data, log, keys. It is kept by Stop. Every
	// directory above it must let the server's user through. Default: a new
	// temporary directory, which Stop removes.
	Dir string
	// Args follow the harness's own arguments, so that they win: "-c",
	// "log_statement=all" for PostgreSQL, "--general-log=1" for the others.
	// They show in the process list: never put a secret here.
	Args []string
	// TLS has the server offer TLS with a leaf for 127.0.0.1 and localhost,
	// signed by the authority in Server.CAFile. Plain connections still work.
	TLS bool
	// Durable makes every commit reach the disk, as in production. Without it
	// an acknowledged commit survives [Server.Kill] but not a power cut.
	Durable bool
	// Log receives a copy of the server's log.
	Log io.Writer
	// ReplicaOf makes a streaming replica of this server (PostgreSQL only, same
	// version). Its administrator is the primary's.
	ReplicaOf *Server
	// MinApplyDelay has a replica lag by this much.
	MinApplyDelay time.Duration
}

// Server is a running server. Its fields are facts and are not to be changed;
// its methods may be called from any goroutine.
type Server struct {
	Kind          Kind
	Version       string // as the server itself says, for example "15.18 (Debian 15.18-0+deb12u1)"
	Host          string // 127.0.0.1
	Port          int
	Admin         string // postgres, or root (MySQL's account is 'root'@'127.0.0.1')
	AdminPassword string
	Dir           string
	Log           string // path of the server's log (its standard error); grows over restarts
	GeneralLog    string // path of the general query log that Args "--general-log=1" turns on; not PostgreSQL
	CAFile        string // PEM, with Options.TLS only

	options Options
	bin     string
	ownDir  bool
	lock    *os.File
	user    *account
	flavour flavour

	mu   sync.Mutex
	proc *process
}

// flavour is what differs between the makes of server.
type flavour interface {
	// install makes the data directory.
	install(ctx context.Context, s *Server) error
	// command is what runs the server in the foreground. On the first run it
	// also gives the administrator the password, if install could not.
	command(s *Server, first bool) (*exec.Cmd, error)
	// login connects as the administrator and returns the server's version.
	login(ctx context.Context, s *Server) (version string, err error)
	// refused reports whether a login error is the server's verdict on the
	// credentials, so that waiting will not help.
	refused(err error) bool
	// stop is the signal for a fast, clean shutdown.
	stop() os.Signal
	// users are the accounts to run as when this process is root.
	users() []string
}

const (
	startTimeout = 90 * time.Second // a loaded two-core machine takes a tenth of it
	stopTimeout  = 20 * time.Second
	pollEvery    = 10 * time.Millisecond
	// portTakenGrace is how long a server may take to find its port in use.
	portTakenGrace = 15 * time.Second
)

var (
	errPortTaken = errors.New("the port was taken by another process")
	errStopped   = errors.New("the server is not running")
)

// Start makes and starts a server and returns when the administrator has
// logged in. ctx limits the starting, not the server's life; without a
// deadline Start gives up after 90 seconds. An error says what failed and ends
// with the tail of the server's log.
func Start(ctx context.Context, kind Kind, o Options) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s, err := prepare(ctx, kind, o)
	if err == nil {
		err = s.boot(ctx)
	}
	if err != nil {
		err = fmt.Errorf("start %s: %w", kind, err)
		if s != nil {
			err = errors.Join(err, s.Stop())
		}
		return nil, err
	}
	return s, nil
}

// prepare lays the directory out and installs the server in it. A server that
// is returned with an error has only to be stopped.
func prepare(ctx context.Context, kind Kind, o Options) (*Server, error) {
	bin, err := find(kind)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Kind: kind, Host: "127.0.0.1", Admin: "root", AdminPassword: rand.Text(),
		options: o, bin: bin, flavour: flavourOf(kind),
	}
	if kind.IsPostgres() {
		s.Admin = "postgres"
	}
	if primary := o.ReplicaOf; primary != nil {
		if !kind.IsPostgres() || !primary.Kind.IsPostgres() {
			return nil, errors.New("ReplicaOf is for PostgreSQL only")
		}
		s.Admin, s.AdminPassword = primary.Admin, primary.AdminPassword
	}
	if s.user, err = serverAccount(s.flavour.users()); err != nil {
		return nil, err
	}
	if err := s.user.canReach(bin); err != nil {
		return nil, fmt.Errorf("%w; set PAWL_TEST_CACHE to a directory that everybody may enter and run scripts/servers.sh again", err)
	}
	if err := s.makeDir(); err != nil {
		return s, err
	}
	if o.TLS {
		if err := s.makeCertificates(); err != nil {
			return s, err
		}
	}
	if err := s.flavour.install(ctx, s); err != nil {
		return s, fmt.Errorf("new data directory: %w%s", err, s.logTail())
	}
	return s, nil
}

// makeDir makes the server's directory, owned by the server's user.
func (s *Server) makeDir() error {
	dir := s.options.Dir
	if dir == "" {
		sweepOnce.Do(sweep)
		var err error
		if dir, err = os.MkdirTemp("", tempPrefix+string(s.Kind)+"-"); err != nil {
			return err
		}
		s.ownDir = true
	} else {
		var err error
		if dir, err = filepath.Abs(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if _, err := os.Lstat(filepath.Join(dir, "data")); err == nil {
			return fmt.Errorf("%s already holds a server", dir)
		}
	}
	s.Dir = dir
	s.Log = filepath.Join(dir, "server.log")
	if !s.Kind.IsPostgres() {
		s.GeneralLog = filepath.Join(dir, "general.log")
	}
	var err error
	if s.lock, err = lockDir(dir); err != nil {
		return err
	}
	if err := os.Mkdir(s.temp(), 0o700); err != nil {
		return err
	}
	return errors.Join(s.user.own(dir), s.user.own(s.temp()), s.user.canReach(s.temp()))
}

// boot starts an installed server for the first time. Between choosing a port
// and binding it another process may take it; then another port is tried.
func (s *Server) boot(ctx context.Context) error {
	for range 5 {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.Port = port
		if err = s.launch(ctx, true); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return errPortTaken
}

// launch runs the server and waits for the administrator's login. On error
// nothing is left running. The caller holds s.mu, or is the only one to know s.
func (s *Server) launch(ctx context.Context, first bool) error {
	cmd, err := s.flavour.command(s, first)
	if err != nil {
		return err
	}
	logFile, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	start, err := logFile.Seek(0, io.SeekEnd)
	if err != nil {
		return errors.Join(err, logFile.Close())
	}
	cmd.Stdout = logFile
	if s.options.Log != nil {
		cmd.Stdout = io.MultiWriter(logFile, s.options.Log)
	}
	cmd.Stderr = cmd.Stdout
	s.dress(cmd)
	if s.proc, err = spawn(cmd); err != nil {
		s.proc = nil
		return errors.Join(fmt.Errorf("%s: %w", cmd.Path, err), logFile.Close())
	}
	go func(p *process) {
		<-p.done
		logFile.Close()
	}(s.proc)
	err = s.awaitLogin(ctx)
	if err == nil {
		return nil
	}
	s.proc.kill()
	s.proc = nil
	if s.logSays(start, "address already in use") {
		return errPortTaken
	}
	return fmt.Errorf("%w%s", err, s.logTail())
}

// awaitLogin logs in until it works, the server exits or says no, or ctx ends.
func (s *Server) awaitLogin(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		version, err := s.flavour.login(attempt, s)
		cancel()
		if err == nil {
			s.Version = version
			return nil
		}
		if s.flavour.refused(err) {
			// If another process has the port, ours is about to exit.
			select {
			case <-s.proc.done:
			case <-time.After(portTakenGrace):
			}
			return fmt.Errorf("%s:%d refuses the administrator: %w", s.Host, s.Port, err)
		}
		select {
		case <-s.proc.done:
			return fmt.Errorf("the server exited before anybody could log in: %v", s.proc.err)
		case <-ctx.Done():
			return fmt.Errorf("no login before the time ran out, last: %w", err)
		case <-time.After(pollEvery):
		}
	}
}

// dress gives a command of this server its user, environment and process
// group. The environment is bare: no PG*, no MYSQL_*, no locale. Its directory
// for temporary files is its own: MariaDB's start deletes the temporary tables
// it finds there, also those of another server that is alive.
func (s *Server) dress(cmd *exec.Cmd) {
	cmd.Dir = s.Dir
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "HOME="+s.Dir, "TMPDIR="+s.temp(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = childAttr(s.user)
	cmd.WaitDelay = 5 * time.Second
}

// run runs a tool of the server to its end, its output going to the log.
func (s *Server) run(ctx context.Context, cmd *exec.Cmd) error {
	logFile, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	s.dress(cmd)
	p, err := spawn(cmd)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), p.err)
		}
		return nil
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), ctx.Err())
	}
}

// writeFile makes a file that only the server's user can read. It must not
// exist yet.
func (s *Server) writeFile(name string, content []byte) (string, error) {
	path := filepath.Join(s.Dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return path, s.user.own(path)
}

// logTail is the end of the log, to append to an error's text.
func (s *Server) logTail() string {
	content, err := os.ReadFile(s.Log)
	if err != nil || len(content) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return "\nserver log:\n  " + strings.Join(lines[max(0, len(lines)-30):], "\n  ")
}

// logSays reports whether the log has a text (in small letters) after offset.
func (s *Server) logSays(offset int64, text string) bool {
	content, err := os.ReadFile(s.Log)
	return err == nil && bytes.Contains(bytes.ToLower(content[min(int(offset), len(content)):]), []byte(text))
}

// args joins argument lists, the options' last.
func (s *Server) args(lists ...[]string) []string {
	return slices.Concat(append(lists, s.options.Args)...)
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }
func (s *Server) temp() string { return filepath.Join(s.Dir, "tmp") }
