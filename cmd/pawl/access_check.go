package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/service"
)

// checkView is what check tells, as --json shows it.
type checkView struct {
	Allowed                     bool
	Principal, Action, Resource string
	Reason                      string
	Statements                  []statementView // that decided
	NearMisses                  []statementView // that would allow it but for Misses
	DependsOn                   []string        // condition keys that have no value here
	MayAllow, MayDeny           bool            // with some values of those
	Notes                       []string
	silent                      string // what has no statement about it, to people
}

func newAccessCheck(g *globals) *cobra.Command {
	var request []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check PRINCIPAL ACTION [SECRET]",
		Short: "Say whether somebody may do something, and which policy decides it",
		Long: `Evaluates the policies as a server does, and names the statement that decides.
PRINCIPAL is a name, an ARN (also one of a role's session, as it stands in a
refusal) or the id of an access key. ACTION may leave out secretsmanager:. A secret's
name is of the principal's own account; others need the ARN. For AssumeRole give a
role in place of the secret.

What only a request has, such as aws:SourceIp, is given by --context; the keys of
the secret and of the principal are those of the store.

Exit code 0: allowed. 1: denied, or somebody or something is not there.`,
		Example: `  pawl access check shop GetSecretValue prod/shop
  pawl access check AKIAIOSFODNN7EXAMPLE secretsmanager:PutSecretValue prod/shop --context aws:SourceIp=10.0.0.1
  pawl access check shop ListSecrets --json`,
		Args:              cobra.RangeArgs(2, 3),
		ValidArgsFunction: completeNames(g),
		RunE: func(cmd *cobra.Command, args []string) error {
			action, err := actionNamed(args[1])
			if err == nil {
				err = noSecret(action, len(args) == 3)
			}
			if err != nil {
				return err
			}
			given, err := contextFlag(request)
			if err != nil {
				return err
			}
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				secretID := ""
				if len(args) == 3 {
					secretID = args[2]
				}
				v, err := a.check(ctx, args[0], action, secretID, given)
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(cmd.OutOrStdout(), v)
				} else {
					v.tell(cmd.OutOrStdout())
				}
				if err == nil && !v.Allowed {
					err = &exitError{code: exitPerson}
				}
				return err
			})
		},
	}
	c.Flags().StringArrayVar(&request, "context", nil, "KEY=VALUE of the request, such as aws:SourceIp=10.0.0.1; may be given several times\n(aws:SecureTransport is true, and the time is now, unless given)")
	jsonFlag(c, &asJSON)
	return c
}

// check judges what a principal would do, now: to a secret, or to a role; secretID
// is empty for an action without.
func (a *app) check(ctx context.Context, principal, action, secretID string, given policy.Context) (checkView, error) {
	who, err := a.somebody(ctx, principal)
	if err != nil {
		return checkView{}, err
	}
	s := &subject{region: a.cfg.Region}
	switch {
	case action == assumeRole:
		s, err = a.role(ctx, secretID)
	case secretID != "":
		svc := a.svc.As(service.Caller{Region: a.cfg.Region, Account: who.record.Account, Own: true})
		s, err = a.secret(ctx, svc, action, secretID)
	}
	if err != nil {
		return checkView{}, err
	}
	answer, err := a.explain(ctx, who, action, s, given, time.Now())
	if err != nil {
		return checkView{}, err
	}
	v := checkView{
		Allowed: answer.Allowed, Principal: who.arn, Action: action, Resource: s.resource, Reason: s.because(answer.Reason),
		Statements: []statementView{}, NearMisses: []statementView{}, DependsOn: append([]string{}, answer.DependsOn...),
		MayAllow: answer.MayAllow, MayDeny: answer.MayDeny, Notes: append([]string{}, s.notes...),
		silent: silence(answer.Verdict, who.record, s),
	}
	if v.Principal == "" {
		v.Principal = who.record.ARN()
	}
	for _, at := range answer.Statements {
		v.Statements = append(v.Statements, statement(who.record, s, at))
	}
	for _, n := range answer.Near {
		near := statement(who.record, s, n.At)
		near.Misses = n.Misses
		v.NearMisses = append(v.NearMisses, near)
	}
	if v.Allowed {
		v.Notes = append(v.Notes, s.otherwise(action, who.record.Account)...)
	}
	if off := a.off(who); off != "" {
		if v.Notes = append(v.Notes, off); v.Allowed {
			v.Notes = append(v.Notes, "but for that it would be allowed: "+v.Reason)
		}
		v.Allowed, v.MayAllow, v.MayDeny = false, false, false
		v.Reason = "all requests of " + a.called(who.record) + " are refused"
		if !who.record.Disabled {
			v.Reason = "all requests with this access key are refused"
		}
	}
	return v, nil
}

// tell writes it for people.
func (v checkView) tell(w io.Writer) {
	verdict := map[bool]string{true: "ALLOWED", false: "DENIED"}[v.Allowed]
	fmt.Fprintf(w, "%s: %s by %s", verdict, v.Action, v.Principal)
	if v.Resource != "" {
		fmt.Fprintf(w, " on %s", v.Resource)
	}
	fmt.Fprintf(w, "\nbecause %s\n", v.Reason)
	for _, s := range v.Statements {
		fmt.Fprintf(w, "\n%s:\n%s\n", s.place(), indented(s.Statement))
	}
	for _, s := range v.NearMisses {
		fmt.Fprintf(w, "\n%s is about this action, but %s:\n%s\n", s.place(), strings.Join(s.Misses, "; "), indented(s.Statement))
	}
	if len(v.Statements)+len(v.NearMisses) == 0 && v.silent != "" {
		fmt.Fprintf(w, "\n%s\n", v.silent)
	}
	if len(v.DependsOn)+len(v.Notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, key := range v.DependsOn {
		fmt.Fprintf(w, "depends on %s: not given (--context %s=…)\n", key, key)
	}
	switch {
	case v.MayAllow:
		fmt.Fprintln(w, "some value there would allow it")
	case v.MayDeny:
		fmt.Fprintln(w, "some value there would deny it")
	}
	for _, n := range v.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
}

// silence says of a denial by default where a statement is missing.
func silence(v policy.Verdict, r *principals.Record, s *subject) string {
	switch {
	case v.Allowed || v.Reason >= policy.DeniedByIdentity:
		return ""
	case v.Reason == policy.NoBoundaryAllow:
		return "Nothing in the permissions boundary allows this action."
	case v.Reason == policy.NoResourceAllow && s.document == "":
		return "The secret has no resource policy, and without one nobody of another account gets to it."
	case v.Reason == policy.NoResourceAllow:
		return "Nothing in " + s.title + " allows this action."
	case len(r.Policies) == 0:
		return fmt.Sprintf("No policy is attached to %s %s: pawl access update %[2]s --policy FILE", r.Kind, r.Name)
	}
	var all []string
	for _, p := range r.Policies {
		all = append(all, p.Name)
	}
	return "Nothing in the policies attached to it (" + strings.Join(all, ", ") + ") allows this action."
}

// indented lays a statement out.
func indented(statement json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, statement, "    ", "  ") != nil {
		return ""
	}
	return "    " + b.String()
}
