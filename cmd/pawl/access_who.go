package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access/explain"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
)

// whoView is what who tells, as --json shows it.
type whoView struct {
	Action, Resource string
	Principals       []whoMay
	// Named are whom the secret's policy names beyond the principals that there are.
	Named []namedView
	Notes []string
}

type whoMay struct {
	Arn, Name, Kind, Account string
	Disabled                 bool
	Allowed                  bool // false: only some value of DependsOn allows it
	Reason                   string
	Statements               []statementView
	DependsOn                []string
	AssumedBy                []string `json:",omitempty"` // of a role
}

type namedView struct {
	Whom      string
	Statement statementView
}

func newAccessWho(g *globals) *cobra.Command {
	var name string
	var asJSON bool
	c := &cobra.Command{
		Use:   "who SECRET",
		Short: "List who may read a secret, and why",
		Long: `Lists the users and roles of all accounts that may read a secret's value, or do
something else to it, each with the statement that lets them; for roles also who
may assume them. Whoever can read the store and its key is not in the list.`,
		Example: "  pawl access who prod/shop\n  pawl access who prod/shop --action PutSecretValue --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			action, err := actionNamed(name)
			if err == nil && action != assumeRole {
				err = noSecret(action, true)
			}
			if err != nil {
				return err
			}
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				var s *subject
				if action == assumeRole {
					s, err = a.role(ctx, args[0])
				} else {
					s, err = a.secret(ctx, a.svc, action, args[0])
				}
				if err != nil {
					return err
				}
				v := whoView{Action: action, Resource: s.resource, Principals: []whoMay{}, Named: []namedView{}, Notes: append([]string{}, s.notes...)}
				now := time.Now()
				known := map[string]bool{}
				err := a.people.Each(ctx, "", func(r *principals.Record) error {
					known[r.ARN()] = true
					answer, err := a.explain(ctx, &somebody{record: r}, action, s, nil, now)
					if err != nil {
						v.Notes = append(v.Notes, err.Error()) // nor does a server let him in
						return nil
					}
					if answer.Allowed || answer.MayAllow {
						v.Principals = append(v.Principals, mayOf(r, s, answer))
					}
					return nil
				})
				if err != nil {
					return err
				}
				v.Named = append(v.Named, beyond(s, action, known)...)
				if asJSON {
					return printJSON(cmd.OutOrStdout(), v)
				}
				return v.tell(cmd.OutOrStdout())
			})
		},
	}
	c.Flags().StringVar(&name, "action", "GetSecretValue", "what they may do")
	jsonFlag(c, &asJSON)
	return c
}

// mayOf is one who may, or could with other values of what it depends on.
func mayOf(r *principals.Record, s *subject, answer explain.Answer) whoMay {
	m := whoMay{
		Arn: r.ARN(), Name: r.Name, Kind: string(r.Kind), Account: r.Account, Disabled: r.Disabled,
		Allowed: answer.Allowed, Reason: s.because(answer.Reason), Statements: []statementView{}, DependsOn: []string{},
	}
	if answer.MayAllow || answer.MayDeny {
		m.DependsOn = answer.DependsOn
	}
	for _, at := range answer.Statements {
		m.Statements = append(m.Statements, statement(r, s, at))
	}
	if r.Kind == principals.Role {
		m.AssumedBy = []string{}
		if d, err := policy.ParseTrust(r.Trust); err == nil {
			for _, st := range d.Statements {
				m.AssumedBy = append(m.AssumedBy, whomLine(st))
			}
		}
	}
	return m
}

// beyond lists whom the policy on a secret lets in, or could, that are none of
// the principals that there are: accounts, everybody, ARNs of nobody.
func beyond(s *subject, action string, known map[string]bool) []namedView {
	if s.attached == nil {
		return nil
	}
	var out []namedView
	for i, st := range s.attached.Document.Statements {
		if st.Effect != policy.Allow || !explain.About(s.attached.Document.Version, st, action, s.resource) {
			continue
		}
		at := policy.At{Policy: policy.ResourceBased, Index: i, Sid: st.Sid}
		for _, whom := range wide(s.account, st, known) {
			if conditions := conditionsOf(st); conditions != "" {
				whom += ", if " + conditions
			}
			out = append(out, namedView{whom, statement(nil, s, at)})
		}
	}
	return out
}

// wide says whom a statement names but for known principals.
func wide(account string, st policy.Statement, known map[string]bool) []string {
	if st.NotPrincipal != nil {
		return []string{"everybody but " + strings.Join(st.NotPrincipal.AWS, ", ")}
	}
	if st.Principal == nil {
		return nil
	}
	var out []string
	for _, p := range st.Principal.AWS {
		number := strings.TrimSuffix(p, ":root")
		number = number[strings.LastIndexByte(number, ':')+1:]
		switch {
		case p == "*":
			out = append(out, "everybody of account "+account+", and of other accounts those whom their own policies allow it too")
		case number != p && strings.HasSuffix(p, ":root"), len(p) == 12 && number == p:
			out = append(out, "account "+number+": those whom their own policies allow it too")
		case !known[p]:
			out = append(out, p+", of whom there is no record here")
		}
	}
	for _, p := range st.Principal.Service {
		out = append(out, "the service "+p+", which never calls Pawl")
	}
	return out
}

// whomLine says on one line whom a statement of a trust policy is about.
func whomLine(st policy.Statement) string {
	all := func(p *policy.Principals) string {
		return strings.Join(append(append([]string{}, p.AWS...), p.Service...), ", ")
	}
	var line string
	switch {
	case st.NotPrincipal != nil:
		line = "everybody but " + all(st.NotPrincipal)
	case st.Principal.Anyone():
		line = "everybody"
	case st.Principal != nil:
		line = all(st.Principal)
	}
	if st.Effect == policy.Deny {
		line = "not " + line
	}
	if conditions := conditionsOf(st); conditions != "" {
		line += ", if " + conditions
	}
	return line
}

func conditionsOf(st policy.Statement) string {
	var all []string
	for _, c := range st.Conditions {
		all = append(all, explain.Condition(c))
	}
	return strings.Join(all, " and ")
}

// tell writes it for people.
func (v whoView) tell(w io.Writer) error {
	fmt.Fprintf(w, "%s on %s:\n\n", v.Action, v.Resource)
	rows := [][]string{{"NAME", "KIND", "ACCOUNT", "MAY", "BECAUSE OF", "NOTE"}}
	var roles []whoMay
	for _, m := range v.Principals {
		rows = append(rows, m.row())
		if m.Kind == string(principals.Role) {
			roles = append(roles, m)
		}
	}
	if len(rows) == 1 {
		fmt.Fprintln(w, "no user and no role")
	} else if err := table(w, rows); err != nil {
		return err
	}
	for _, r := range roles {
		fmt.Fprintf(w, "\nrole %s is assumed by: %s\n", r.Name, strings.Join(r.AssumedBy, "; "))
	}
	if len(v.Named) > 0 {
		fmt.Fprintf(w, "\nThe secret's resource policy also names:\n")
	}
	for _, n := range v.Named {
		fmt.Fprintf(w, "  %s (Statement[%d]%s)\n", n.Whom, n.Statement.Index, sid(n.Statement.Sid))
	}
	for _, n := range v.Notes {
		fmt.Fprintf(w, "\nnote: %s\n", n)
	}
	return nil
}

func sid(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf(" %q", s)
}

func (m whoMay) row() []string {
	may := map[bool]string{true: "yes", false: "perhaps"}[m.Allowed]
	var places, notes []string
	for _, s := range m.Statements {
		places = append(places, s.place())
	}
	if len(places) == 0 {
		places = []string{m.Reason}
	}
	if m.Disabled {
		may = "no"
		notes = append(notes, "disabled")
	}
	if len(m.DependsOn) > 0 {
		notes = append(notes, "depends on "+strings.Join(m.DependsOn, ", "))
	}
	return []string{m.Name, m.Kind, m.Account, may, strings.Join(places, " and "), strings.Join(notes, "; ")}
}
