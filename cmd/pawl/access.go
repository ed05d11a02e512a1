package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/server"
)

func newAccess(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "access",
		Short: "Say who may do what: users, roles, their keys and policies",
		Long: `Users and roles are who may ask a server (pawl serve) for secrets, and policies in
IAM's language say for what. A change holds from the next request on, also at
servers that run.

These commands work on the store of the configuration: whoever can read it and
its key may do everything anyway.`,
		Example: "  pawl access create shop --policy read-shop.json\n  pawl access check shop GetSecretValue prod/shop",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(
		newAccessCreate(g), newAccessList(g), newAccessShow(g), newAccessUpdate(g),
		newAccessSwitch(g, "disable"), newAccessSwitch(g, "enable"), newAccessDelete(g),
		newAccessRotateKey(g), newAccessSession(g), newAccessEndSessions(g),
		newAccessCheck(g), newAccessWho(g),
	)
	return c
}

// file is a policy document that somebody named on the command line. Errors are
// of usage, and name the file.
type file struct {
	name string // as errors call it
	text string
}

// readFile reads a policy document; - is standard input.
func readFile(cmd *cobra.Command, name string) (file, error) {
	var data []byte
	var err error
	f := file{name: name}
	if name == "-" {
		f.name = "standard input"
		data, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), mostPolicy+1))
	} else if data, err = os.ReadFile(name); err != nil {
		var at *os.PathError
		if errors.As(err, &at) {
			err = fmt.Errorf("policy file %s: %w", name, at.Err)
		}
	}
	if err == nil && len(data) > mostPolicy {
		err = fmt.Errorf("%s is longer than %d bytes, which no policy is", f.name, mostPolicy)
	}
	f.text = string(data)
	return f, usage(err)
}

// mostPolicy is more than any policy has, so that a wrong file is no burden.
const mostPolicy = 1 << 20

// identity checks that the file can be a policy on a principal.
func (f file) identity() error {
	if _, err := policy.ParseIdentity(f.text); err != nil {
		return usage(fmt.Errorf("%s: %w", f.name, err))
	}
	return nil
}

// policyFlags are the documents that create, update and session take.
type policyFlags struct {
	files         []string
	administrator bool
	boundary      string
	trust         string
}

const policyUsage = "[NAME=]FILE with an IAM policy, called NAME or else like the file; - reads standard input;\nmay be given several times"

func (p *policyFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&p.files, "policy", nil, policyUsage)
	f.BoolVar(&p.administrator, "administrator", false, "a policy that allows everything")
	f.StringVar(&p.boundary, "boundary", "", "file with a permissions boundary: what lies outside it no policy allows")
	f.StringVar(&p.trust, "trust", "", "file with the trust policy of a role: who may assume it")
}

// administratorPolicy is what the policy of --administrator is called.
const administratorPolicy = "administrator"

// policies reads the policies.
func (p *policyFlags) policies(cmd *cobra.Command) ([]principals.Policy, error) {
	var all []principals.Policy
	from := map[string]string{}
	if p.administrator {
		all = append(all, principals.Policy{Name: administratorPolicy, Document: principals.AdministratorPolicy})
		from[administratorPolicy] = "--administrator"
	}
	for _, arg := range p.files {
		name, path, ok := strings.Cut(arg, "=")
		if !ok {
			name, path = strings.TrimSuffix(filepath.Base(arg), filepath.Ext(arg)), arg
		}
		if path == "-" && !ok {
			name = "policy"
		}
		if other := from[name]; other != "" {
			return nil, usage(fmt.Errorf("%s and %s would both be the policy %q; name one of them: --policy NAME=%s", other, path, name, path))
		}
		from[name] = path
		f, err := readFile(cmd, path)
		if err == nil {
			err = f.identity()
		}
		if err != nil {
			return nil, err
		}
		all = append(all, principals.Policy{Name: name, Document: f.text})
	}
	return all, nil
}

// limit reads the permissions boundary, "" for none.
func (p *policyFlags) limit(cmd *cobra.Command) (string, error) { return readIdentity(cmd, p.boundary) }

// readIdentity reads one policy on a principal; "" is none.
func readIdentity(cmd *cobra.Command, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	f, err := readFile(cmd, name)
	if err != nil {
		return "", err
	}
	return f.text, f.identity()
}

// trustText reads the trust policy, "" for none.
func (p *policyFlags) trustText(cmd *cobra.Command) (string, error) {
	if p.trust == "" {
		return "", nil
	}
	f, err := readFile(cmd, p.trust)
	if err != nil {
		return "", err
	}
	if _, err := policy.ParseTrust(f.text); err != nil {
		return "", usage(fmt.Errorf("%s: %w", f.name, err))
	}
	return f.text, nil
}

// once refuses standard input for more than one document.
func (p *policyFlags) once() error {
	n := 0
	for _, f := range append([]string{p.boundary, p.trust}, p.files...) {
		if _, path, ok := strings.Cut(f, "="); f == "-" || ok && path == "-" {
			n++
		}
	}
	if n > 1 {
		return usage(errors.New("standard input (-) can be only one of the policies"))
	}
	return nil
}

// principalTags reads KEY=VALUE tags.
func principalTags(args []string) ([]policy.Tag, error) {
	tags, err := parseTags(args)
	var out []policy.Tag
	for _, t := range tags {
		out = append(out, policy.Tag{Key: t.Key, Value: t.Value})
	}
	return out, err
}

// warnWithoutAdministrator tells who just took the last administrator away.
func (a *app) warnWithoutAdministrator(ctx context.Context, cmd *cobra.Command) {
	if there, err := a.people.Administrator(ctx); err == nil && !there {
		fmt.Fprintln(cmd.ErrOrStderr(), "Nobody who can sign a request may do everything any more, and without that pawl serve does not start:\n  pawl access create NAME --administrator")
	}
}

// called is how a person means a principal: by its name, or by its ARN where
// that is another account's.
func (a *app) called(r *principals.Record) string {
	if r.Account == a.cfg.Account {
		return string(r.Kind) + " " + r.Name
	}
	return r.ARN()
}

// ref is a principal as an argument of a further command.
func (a *app) ref(r *principals.Record) string {
	if r.Account == a.cfg.Account {
		return r.Name
	}
	return r.ARN()
}

// completeNames completes the first argument to the names of principals, and the
// second of check to actions.
func completeNames(g *globals) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var words []string
		switch {
		case len(args) == 1 && cmd.Name() == "check":
			for _, action := range append(server.Actions(), assumeRole) {
				_, short, _ := strings.Cut(action, ":")
				words = append(words, short)
			}
		case len(args) == 0:
			_ = withApp(g, cmd, func(ctx context.Context, a *app) error {
				ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
				defer cancel()
				return a.people.Each(ctx, "", func(r *principals.Record) error {
					words = append(words, a.ref(r))
					return nil
				})
			})
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// defaultAccount is what --account says of itself.
const defaultAccount = "account of 12 digits (default: that of the configuration, " + config.DefaultAccount + " unless it says otherwise)"
