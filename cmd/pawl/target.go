package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/client"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// keeper is what `pawl secret` does. A Service on the store has it, and a
// Client of a running server.
type keeper interface {
	CreateSecret(context.Context, service.CreateSecretInput) (*service.CreateSecretOutput, error)
	PutSecretValue(context.Context, service.PutSecretValueInput) (*service.PutSecretValueOutput, error)
	GetSecretValue(context.Context, service.GetSecretValueInput) (*service.GetSecretValueOutput, error)
	ListSecrets(context.Context, service.ListSecretsInput) (*service.ListSecretsOutput, error)
	DescribeSecret(context.Context, service.DescribeSecretInput) (*service.DescribeSecretOutput, error)
	ListSecretVersionIDs(context.Context, service.ListSecretVersionIDsInput) (*service.ListSecretVersionIDsOutput, error)
	UpdateSecretVersionStage(context.Context, service.UpdateSecretVersionStageInput) (*service.UpdateSecretVersionStageOutput, error)
	DeleteSecret(context.Context, service.DeleteSecretInput) (*service.DeleteSecretOutput, error)
	RestoreSecret(context.Context, service.RestoreSecretInput) (*service.RestoreSecretOutput, error)
	TagResource(context.Context, service.TagResourceInput) error
	UntagResource(context.Context, service.UntagResourceInput) error
	ReplicateSecretToRegions(context.Context, service.ReplicateSecretToRegionsInput) (*service.ReplicateSecretToRegionsOutput, error)
	RemoveRegionsFromReplication(context.Context, service.RemoveRegionsFromReplicationInput) (*service.RemoveRegionsFromReplicationOutput, error)
	StopReplicationToReplica(context.Context, service.StopReplicationToReplicaInput) (*service.StopReplicationToReplicaOutput, error)
}

// planner is what `pawl plan`, `status`, `pause` and `resume` do.
type planner interface {
	// Plan calls yield with every rotation there is, and with those that follow
	// it until then where until is set.
	Plan(ctx context.Context, until time.Time, yield func(service.RotationStatus) error) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
}

// store is a Service as a planner: of all accounts and regions, because who can
// read the store is its operator.
type store struct{ *service.Service }

func (s store) Plan(ctx context.Context, until time.Time, yield func(service.RotationStatus) error) error {
	return s.Rotations(ctx, func(r service.RotationStatus) error {
		r.Following = s.Following(r, until, mostPlanned-1)
		return yield(r)
	})
}

// target is where a command acts: on the store, be that Pawl's own or AWS's, or
// with --endpoint at a server.
type target struct {
	keeper
	planner
	app    *app           // nil at a server
	server *client.Client // nil on the store
}

// target opens where the command acts. Anything wrong here is found before any
// secret is touched.
func (g *globals) target(cmd *cobra.Command) (*target, error) {
	return g.targetWith(cmd, options{shown: true})
}

func (g *globals) targetWith(cmd *cobra.Command, o options) (*target, error) {
	if g.endpoint == "" && !cmd.Flags().Changed("endpoint") {
		a, err := g.openWith(cmd, o)
		if err != nil {
			return nil, err
		}
		if a.aws != nil {
			t, err := a.atAWS(cmd.Context())
			if err != nil {
				a.Close()
			}
			return t, usage(err)
		}
		return &target{keeper: a.svc, planner: store{a.svc}, app: a}, nil
	}
	if g.config != "" {
		return nil, usage(errors.New("--config and --endpoint exclude each other: with --endpoint the server has the configuration"))
	}
	if _, err := g.logger(cmd.ErrOrStderr()); err != nil {
		return nil, err
	}
	c, err := client.FromEnvironment(cmd.Context(), g.endpoint)
	if err != nil {
		return nil, usage(fmt.Errorf("--endpoint: %w", err))
	}
	return &target{keeper: c, planner: c, server: c}, nil
}

func (t *target) Close() {
	if t.app != nil {
		t.app.Close()
	}
}

// declare writes the file's rotations into the store. A server has done so.
func (t *target) declare(ctx context.Context) (service.DeclareReport, error) {
	if t.app == nil {
		return service.DeclareReport{}, nil
	}
	return t.app.declare(ctx)
}

// declared are the file's entries; none at a server.
func (t *target) declared() []config.Secret {
	if t.app == nil {
		return nil
	}
	return t.app.cfg.Secrets
}

// withTarget opens the store or the server and runs one operation. Its error
// gets the exit code of its kind.
func withTarget(g *globals, cmd *cobra.Command, f func(context.Context, *target) error) error {
	t, err := g.target(cmd)
	if err != nil {
		return err
	}
	defer t.Close()
	return failed(f(cmd.Context(), t))
}

// rotations calls yield with the rotations of secrets, of all where none is
// named. A server is asked about the named ones alone: of others the caller may
// have no right to know.
func (t *target) rotations(ctx context.Context, names []string, yield func(service.RotationStatus) error) error {
	if t.server == nil || len(names) == 0 {
		return t.Plan(ctx, time.Time{}, yield)
	}
	for _, name := range names {
		out, err := t.server.ListRotations(ctx, service.ListRotationsInput{SecretIDs: []string{name}})
		if secrets.CodeOf(err) == "ResourceNotFoundException" {
			continue
		}
		if err != nil {
			return err
		}
		for _, r := range out.Rotations {
			if err := yield(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// shown is how a person means a secret here: by its name, or by its ARN where
// the name would mean another one.
func (t *target) shown(r service.RotationStatus) string {
	if t.app == nil || t.app.own == nil || r.ARN.Account == t.app.cfg.Account && r.ARN.Region == t.app.cfg.Region {
		return r.Name
	}
	return r.ARN.String()
}

// hereOnly refuses --endpoint for a command that works on this machine's files.
func (g *globals) hereOnly(cmd *cobra.Command) error {
	if !cmd.Flags().Changed("endpoint") {
		return nil
	}
	return usage(fmt.Errorf("%s works on this machine alone and takes no --endpoint", cmd.CommandPath()))
}

// withApp opens Pawl's own store for a command that works on this machine's files,
// and runs it. Its error gets the exit code of its kind.
func withApp(g *globals, cmd *cobra.Command, f func(context.Context, *app) error) error {
	if err := g.hereOnly(cmd); err != nil {
		return err
	}
	cfg, _, err := g.load(cmd)
	if err == nil {
		err = ownOnly(cmd, cfg)
	}
	if err != nil {
		return err
	}
	a, err := g.open(cmd)
	if err != nil {
		return err
	}
	defer a.Close()
	return failed(f(cmd.Context(), a))
}
