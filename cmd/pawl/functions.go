package main

import (
	"bytes"
	"context"
	"io"
	"os"
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

// mostKey is more than any shared key has, in bytes.
const mostKey = 4096

// sharedKey reads what requests to a function's URL are signed with: the file's
// text, without the end of its line.
func sharedKey(f config.Function) (secrets.Password, error) {
	bad := func(format string, args ...any) error {
		return secrets.Errorf(secrets.Invalid, "the shared key of the function %s: "+format, append([]any{f.Name}, args...)...).
			WithHint("make one: openssl rand -hex 32 >%s, and give the function the same", f.KeyFile)
	}
	file, err := os.Open(f.KeyFile)
	if err != nil {
		return secrets.Password{}, bad("%w", err) // which names the file
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return secrets.Password{}, secrets.Errorf(secrets.Invalid, "the shared key of the function %s: others than its owner may read %s", f.Name, f.KeyFile).
			WithHint("chmod 600 %s", f.KeyFile)
	}
	text, err := io.ReadAll(io.LimitReader(file, mostKey+1))
	defer clear(text)
	key := bytes.TrimRight(text, "\r\n")
	switch {
	case err != nil:
		return secrets.Password{}, bad("%w", err)
	case len(key) == 0:
		return secrets.Password{}, bad("%s is empty", f.KeyFile)
	case len(key) > mostKey:
		return secrets.Password{}, bad("%s is longer than %d bytes", f.KeyFile, mostKey)
	}
	return secrets.NewPassword(string(key)), nil
}
