package main

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies/function"
)

// functions are the custom rotation functions that the operator lets be called.
// The service asks which there are, the rotator calls them.
type functions struct {
	app *app
	now atomic.Pointer[callers]
	// served is the API that this process serves; nil = none.
	served atomic.Pointer[reach]
}

// callers are the functions of one configuration file, as it was read.
type callers struct {
	cfg *config.Config

	mu     sync.Mutex
	lambda function.InvokeAPI // nil until a Lambda function is called
}

// open gives the functions what they reach their secrets by.
func (f *functions) open(a *app) {
	f.app = a
	f.configure(a.cfg)
}

// configure makes the functions those of a configuration.
func (f *functions) configure(cfg *config.Config) {
	f.now.Store(&callers{cfg: cfg})
}

// Has implements service.Functions.
func (f *functions) Has(arn string) bool {
	cfg := f.now.Load().cfg
	_, named := cfg.NamedFunction(arn)
	return named || cfg.Functions.Allows(arn)
}

// Check implements service.Functions.
func (f *functions) Check(ctx context.Context, arn string) error {
	caller, err := f.caller(f.now.Load(), arn)
	if err != nil {
		return err
	}
	return caller.Check(ctx)
}

// foreign is the rotator's.
func (f *functions) foreign(rules secrets.RotationRules) (rotator.Foreign, error) {
	now := f.now.Load()
	caller, err := f.caller(now, rules.Function)
	if err != nil {
		return nil, err
	}
	named, _ := now.cfg.NamedFunction(rules.Function)
	return &function.Rotation{Caller: caller, Limit: named.Timeout}, nil
}

// caller returns how a rotation's function is called. Errors are Invalid.
func (f *functions) caller(now *callers, arn string) (function.Caller, error) {
	named, ok := now.cfg.NamedFunction(arn)
	switch {
	case ok && named.URL != "":
		key, err := sharedKey(named)
		if err != nil {
			return nil, err
		}
		return &function.HTTP{URL: named.URL, Key: key}, nil
	case ok:
		return program{
			Command: &function.Command{
				Args: named.Command, Dir: filepath.Dir(now.cfg.Path),
				Environment: func(ctx context.Context, e function.Event) ([]string, error) {
					return f.environment(ctx, named, e)
				},
			},
			reach: f.reach,
		}, nil
	case arn == "":
		return nil, secrets.Errorf(secrets.Invalid, "no rotation function is named").
			WithHint("name it in the configuration, or through the API: RotateSecret with RotationLambdaARN")
	case now.cfg.Functions == nil:
		return nil, secrets.Errorf(secrets.Invalid, "no rotation functions are configured, and so %s can't be called", arn).
			WithHint("add functions: to %s; see docs/functions.md", now.cfg.Path)
	case !now.cfg.Functions.Allows(arn):
		return nil, secrets.Errorf(secrets.Invalid, "%s is none of the rotation functions that may be called", arn).
			WithHint("allow it in %s: functions: {allow: [%q]}", now.cfg.Path, arn)
	}
	api, err := now.invokeAPI()
	if err != nil {
		return nil, err
	}
	return &function.Lambda{API: api, ARN: arn}, nil
}

// program is a command that is checked for a way to its secret, too.
type program struct {
	*function.Command
	reach func(context.Context) (*reach, error)
}

func (p program) Check(ctx context.Context) error {
	if _, err := p.reach(ctx); err != nil {
		return err
	}
	return p.Command.Check(ctx)
}

// invokeAPI returns the client of the Lambda API, made once; each call goes to the
// region of its function. Errors are Invalid.
func (c *callers) invokeAPI() (function.InvokeAPI, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lambda != nil {
		return c.lambda, nil
	}
	api, err := function.NewInvokeAPI(context.Background(), function.LambdaConfig{Endpoint: c.cfg.Functions.Endpoint, Profile: c.cfg.Functions.Profile})
	if err != nil {
		return nil, err
	}
	c.lambda = api
	return api, nil
}

// sharedKey reads what requests to a function's URL are signed with.
func sharedKey(f config.Function) (secrets.Password, error) {
	return secretText(f.KeyFile, "the shared key of the function "+f.Name,
		"make one: openssl rand -hex 32 >"+f.KeyFile+", and give the function the same")
}
