package main

import (
	"context"
	"maps"
	"slices"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/replica"
	"github.com/pawlhq/pawl/secrets"
)

// placesOf are the servers of other regions that the configuration names.
func placesOf(cfg *config.Config) map[string]replica.Place {
	places := map[string]replica.Place{}
	for name, r := range cfg.Regions {
		places[name] = replica.Place{
			Endpoint: r.Endpoint, CAFile: r.CAFile, CredentialsFile: r.CredentialsFile,
			Credentials: func() (secrets.Password, error) {
				return secretTextUpTo(mostCredentials, r.CredentialsFile, "regions."+name+".credentials_file",
					"make an access key at that server: pawl access create NAME --policy FILE --json, and put its output into the file")
			},
		}
	}
	return places
}

// checkRegions logs what keeps this server from reaching those of other regions.
// It is no reason not to serve: replicas wait, and say so.
func (a *app) checkRegions() {
	bad := a.regions.Check()
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		a.log.Error("nothing can be replicated to a region; its replicas wait until it can", "region", name, "error", bad[name])
	}
}

// replicating has the replicas on other servers follow their primaries as soon as
// a request to this process changed one; for what other processes change there is
// the scheduler's look every few seconds. stop returns when it has ended.
func (a *app) replicating(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-a.svc.Lagging():
			}
			// What it could not do the scheduler's next look finds due, and tells.
			_ = a.svc.Follow(ctx, a.clock.Now())
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}
