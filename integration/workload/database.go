// Package workload is what a rotation happens to: a database with an owner, a
// table and application users, and an application that keeps logging in with
// whatever its secret says. The demo shows it, the end-to-end tests check by it.
package workload

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	driver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
)

// Database is one database of a throw-away server.
type Database struct {
	Server *servers.Server
	Name   string
}

// Prepare makes a database with an owner and a table `items` of 100 rows.
func Prepare(ctx context.Context, s *servers.Server, name string) (*Database, error) {
	d := &Database{Server: s, Name: name}
	if s.Kind.IsPostgres() {
		owner := name + "_owner"
		if err := d.exec(ctx, "postgres",
			"CREATE ROLE "+owner+" NOLOGIN", "CREATE DATABASE "+name+" OWNER "+owner); err != nil {
			return nil, err
		}
		return d, d.exec(ctx, name,
			"SET ROLE "+owner, "CREATE SCHEMA shop", "CREATE TABLE shop.items (id int PRIMARY KEY, name text)",
			"INSERT INTO shop.items SELECT n, 'item '||n FROM generate_series(1,100) n")
	}
	rows := ""
	for i := 1; i <= 100; i++ {
		rows += fmt.Sprintf(",(%d,'item %d')", i, i)
	}
	return d, d.exec(ctx, "",
		"CREATE DATABASE "+name, "CREATE TABLE "+name+".items (id int PRIMARY KEY, name varchar(20))",
		"INSERT INTO "+name+".items VALUES "+rows[1:])
}

// AddUser makes an application user who may read and add items, and returns his
// credentials as a secret holds them.
func (d *Database) AddUser(ctx context.Context, user string) (secrets.Credentials, error) {
	pw, err := secrets.PasswordRules{ExcludePunctuation: true}.Generate(rand.Reader)
	if err != nil {
		return secrets.Credentials{}, err
	}
	if d.Server.Kind.IsPostgres() {
		q := pgx.Identifier{user}.Sanitize()
		err = d.exec(ctx, d.Name, "CREATE ROLE "+q+" LOGIN PASSWORD '"+pw+"'",
			"GRANT USAGE, CREATE ON SCHEMA shop TO "+q, "GRANT SELECT, INSERT ON shop.items TO "+q)
	} else {
		q := "'" + user + "'@'%'"
		err = d.exec(ctx, "", "CREATE USER "+q+" IDENTIFIED BY '"+pw+"'", "GRANT SELECT, INSERT ON "+d.Name+".items TO "+q)
	}
	return d.credentials(user, pw), err
}

// Superuser returns the server's administrator as a secret holds him.
func (d *Database) Superuser() secrets.Credentials {
	return d.credentials(d.Server.Admin, d.Server.AdminPassword)
}

func (d *Database) credentials(user, pw string) secrets.Credentials {
	engine := "mysql"
	switch {
	case d.Server.Kind.IsPostgres():
		engine = "postgres"
	case d.Server.Kind == servers.MariaDB:
		engine = "mariadb"
	}
	return secrets.NewCredentials("engine", engine, "host", d.Server.Host).
		WithNumber("port", strconv.Itoa(d.Server.Port)).
		With("username", user).With("password", pw).With("dbname", d.Name)
}

// Exec runs statements as the administrator.
func (d *Database) Exec(ctx context.Context, statements ...string) error {
	return d.exec(ctx, d.Name, statements...)
}

func (d *Database) exec(ctx context.Context, database string, statements ...string) error {
	return d.as(ctx, d.Server.Admin, d.Server.AdminPassword, database, statements...)
}

// ExecAs runs statements with a secret's credentials, on one connection.
func (d *Database) ExecAs(ctx context.Context, c secrets.Credentials, statements ...string) error {
	return d.as(ctx, c.Username(), c.Password().Reveal(), d.Name, statements...)
}

// Login logs in as an application does, with the bare driver, and reads a row.
func (d *Database) Login(ctx context.Context, c secrets.Credentials) error {
	table := "shop.items"
	if !d.Server.Kind.IsPostgres() {
		table = "items"
	}
	return d.ExecAs(ctx, c, "SELECT name FROM "+table+" WHERE id = 7")
}

func (d *Database) as(ctx context.Context, user, pw, database string, statements ...string) error {
	if d.Server.Kind.IsPostgres() {
		cfg, err := d.Server.PostgresConfig(user, pw, database)
		if err != nil {
			return err
		}
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		for _, s := range statements {
			if _, err := conn.Exec(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
	cfg, err := d.Server.MySQLConfig(user, pw, database)
	if err != nil {
		return err
	}
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, s := range statements {
		rows, err := conn.QueryContext(ctx, s)
		if err != nil {
			return err
		}
		for rows.Next() {
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Refused reports whether the server refused a login's credentials, as opposed
// to any other failure.
func Refused(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "28P01" || pg.Code == "28000"
	}
	var my *driver.MySQLError
	return errors.As(err, &my) && (my.Number == 1045 || my.Number == 3118 || my.Number == 4151)
}
