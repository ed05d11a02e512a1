// Package replica reaches the servers that have the replicas of other regions:
// each by HTTPS and an access key of that server's, which are read when they are
// first needed, and again when they were refused or the configuration was read
// again. What is wrong with them is an error of the first request, so that a
// server that can't replicate serves its own region all the same.
package replica

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Place is where the server of a region is, and by what it knows this one.
type Place struct {
	Endpoint string // https://…; http:// only on this machine
	CAFile   string // the authority of its certificate; "" = the system's
	// Credentials reads the file of the access key, whose name CredentialsFile is.
	Credentials     func() (secrets.Password, error)
	CredentialsFile string
}

// Regions are the regions that are on other servers. It implements
// service.Regions, and is safe for concurrent use.
type Regions struct {
	log *slog.Logger

	mu      sync.RWMutex
	servers map[string]*Server
}

// New makes Regions of their places by the regions' names. log hears when a
// server is found not to answer, and when it does again.
func New(log *slog.Logger, places map[string]Place) *Regions {
	r := &Regions{log: log}
	r.Reconfigure(places)
	return r
}

// Reconfigure puts other places in place of all that there were. Even where they
// are the same, files are read again, and servers that were away are asked at
// once.
func (r *Regions) Reconfigure(places map[string]Place) {
	servers := map[string]*Server{}
	for name, p := range places {
		servers[name] = newServer(name, p)
	}
	r.mu.Lock()
	old := r.servers
	r.servers = servers
	r.mu.Unlock()
	for _, s := range old {
		s.forget()
	}
}

// Server implements service.Regions.
func (r *Regions) Server(region string) service.Server {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.servers[region]; s != nil {
		return s
	}
	return nil
}

// Heard implements service.Regions.
func (r *Regions) Heard(region string, why error) {
	log := r.log.With("region", region)
	if why == nil {
		log.Info("the region's server answers again; its replicas catch up")
		return
	}
	log.Warn("the region's server can't be used; its replicas wait until it can", "error", why)
}

// Check reads what is needed to reach the servers, and says of each what is wrong
// with it. It asks no server.
func (r *Regions) Check() map[string]error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	bad := map[string]error{}
	for _, name := range slices.Sorted(maps.Keys(r.servers)) {
		if _, err := r.servers[name].reach(context.Background()); err != nil {
			bad[name] = err
		}
	}
	return bad
}

// Close ends idle connections.
func (r *Regions) Close() { r.Reconfigure(nil) }
