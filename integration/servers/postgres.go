package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgres is the flavour of every PostgreSQL.
type postgres struct{}

// install makes a cluster in which every line of pg_hba.conf demands SCRAM, or
// copies the primary. Passwords reach the tools in files, since arguments are
// for everybody to see.
func (postgres) install(ctx context.Context, s *Server) error {
	if s.options.ReplicaOf != nil {
		return copyPrimary(ctx, s)
	}
	file, err := s.writeFile("password", []byte(s.AdminPassword))
	if err != nil {
		return err
	}
	defer os.Remove(file)
	return s.run(ctx, exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", s.Admin,
		"--auth=scram-sha-256", "--pwfile="+file, "--encoding=UTF8", "--locale=C", "--no-sync"))
}

// copyPrimary takes a base backup. "-R" writes the connection to the primary
// into the replica's settings, with the path of the password file: it stays.
func copyPrimary(ctx context.Context, s *Server) error {
	p := s.options.ReplicaOf
	file, err := s.writeFile("primary.pgpass", fmt.Appendf(nil, "*:*:*:%s:%s\n", p.Admin, p.AdminPassword))
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(s.bin, "pg_basebackup"), "-h", p.Host, "-p", fmt.Sprint(p.Port), "-U", p.Admin,
		"-w", "-D", s.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync")
	cmd.Env = []string{"PGPASSFILE=" + file}
	return s.run(ctx, cmd)
}

func (postgres) command(s *Server, _ bool) (*exec.Cmd, error) {
	args := []string{
		"-D", s.data(), "-p", fmt.Sprint(s.Port),
		"-c", "listen_addresses=" + s.Host, "-c", "unix_socket_directories=",
		"-c", "shared_buffers=32MB", "-c", "max_connections=200",
	}
	if !s.options.Durable {
		args = append(args, "-c", "fsync=off", "-c", "full_page_writes=off")
	}
	if s.options.TLS {
		args = append(args, "-c", "ssl=on", "-c", "ssl_cert_file="+s.certFile(), "-c", "ssl_key_file="+s.keyFile())
	}
	if s.options.ReplicaOf != nil {
		args = append(args, "-c", fmt.Sprintf("recovery_min_apply_delay=%dms", s.options.MinApplyDelay.Milliseconds()))
	}
	return exec.Command(filepath.Join(s.bin, "postgres"), s.args(args)...), nil
}

func (postgres) login(ctx context.Context, s *Server) (string, error) {
	config, err := s.PostgresConfig(s.Admin, s.AdminPassword, "postgres")
	if err != nil {
		return "", err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	return conn.PgConn().ParameterStatus("server_version"), nil
}

// refused knows class 28 of PostgreSQL's error codes, "Invalid Authorization
// Specification".
func (postgres) refused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code[:2] == "28"
}

// stop is a "fast shutdown" (PostgreSQL documentation, "Shutting Down the
// Server"): clients are disconnected.
func (postgres) stop() os.Signal { return syscall.SIGINT }

func (postgres) users() []string { return []string{"postgres"} }

// PostgresConfig is a pgx configuration for a user of this server, verifying
// its certificate if it has one and otherwise plain. Nothing comes from the
// environment or from files in the home directory.
func (s *Server) PostgresConfig(user, password, database string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=x dbname=x sslmode=disable passfile=/dev/null "+
		"target_session_attrs=any connect_timeout=5", s.Host, s.Port))
	if err != nil {
		return nil, err
	}
	config.User, config.Password, config.Database = user, password, database
	config.RuntimeParams = map[string]string{}
	config.Fallbacks = nil
	config.TLSConfig, err = s.TLSConfig()
	return config, err
}
