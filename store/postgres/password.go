package postgres

import (
	"context"
	"log/slog"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/secrets"
)

// passwords has each connection made with the password of its time: the one
// that was changed at the server, and then where it comes from, holds from the next
// connection on. Those that there are stay: a server asks for a password once.
type passwords struct {
	now func() (secrets.Password, error)
	log *slog.Logger

	mu      sync.Mutex
	last    secrets.Password // that could be had
	failing bool
}

// newPasswords asks once, so that whoever opens a store hears why there is none.
func newPasswords(c Config) (*passwords, error) {
	p := &passwords{now: c.PasswordNow, log: c.Log}
	if p.log == nil {
		p.log = slog.Default()
	}
	var err error
	p.last, err = p.now()
	return p, err
}

// before implements pgxpool.Config.BeforeConnect. Where the password can't be had
// just now, since somebody is writing the file, the last one may still be right; if
// it is not, the server says so.
func (p *passwords) before(_ context.Context, cc *pgx.ConnConfig) error {
	password, err := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.last = password
	} else if !p.failing {
		p.log.Warn("the database's password can't be read just now; new connections are made with the last one", "error", err)
	}
	p.failing = err != nil
	cc.Password = p.last.Reveal()
	return nil
}
