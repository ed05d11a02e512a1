package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access/principals"
)

const shownOnce = "Keep the secret access key now: it is not shown again."

// printCredentials writes lines that a shell can evaluate. It is one of the two
// places where the secret of a key is shown. The token of an earlier session
// would spoil a long-term key.
func printCredentials(w io.Writer, c *principals.Credentials) error {
	token := "unset AWS_SESSION_TOKEN"
	if t := c.SessionToken.Reveal(); t != "" {
		token = "export AWS_SESSION_TOKEN=" + t
	}
	_, err := fmt.Fprintf(w, "export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\n%s\n", c.AccessKeyID, c.Secret.Reveal(), token)
	return err
}

// credentialsView is what AWS's SDKs take from a program that a profile names as
// its credential_process, and more.
type credentialsView struct {
	Version         int    // 1
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string    `json:",omitempty"`
	Expiration      time.Time `json:",omitzero"`
	Arn             string    // of the principal they make
}

// credentialsOf is the other place.
func credentialsOf(c *principals.Credentials) *credentialsView {
	return &credentialsView{
		Version: 1, AccessKeyID: c.AccessKeyID, SecretAccessKey: c.Secret.Reveal(), SessionToken: c.SessionToken.Reveal(),
		Expiration: c.Expires, Arn: c.ARN,
	}
}

func newAccessRotateKey(g *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "rotate-key NAME",
		Short: "Give a user a new access key beside the old one",
		Long: `Makes a second access key. Both are good until you delete the old one, so that no
program goes without: hand out the new key, see in ` + "`pawl access show`" + ` when the old one
was last used, then delete it by its id.`,
		Example:           "  pawl access rotate-key shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(g),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				r, key, err := a.people.RotateKey(ctx, args[0])
				if err != nil {
					return err
				}
				used, err := a.lastUses(ctx, r)
				if err != nil {
					a.log.Warn("when the old key was last used is not known", "error", err)
				}
				if asJSON {
					v := viewOf(r, used)
					v.Credentials = credentialsOf(key)
					return printJSON(cmd.OutOrStdout(), v)
				}
				says := cmd.ErrOrStderr()
				fmt.Fprintf(says, "Made access key %s of %s.\n%s\n", key.AccessKeyID, a.called(r), shownOnce)
				for _, old := range r.Keys {
					if old.ID != key.AccessKeyID {
						fmt.Fprintf(says, "%s (%s) stays good beside it. When nothing needs it any more: pawl access delete %[1]s --yes\n", old.ID, lastUsed(used[old.ID]))
					}
				}
				return printCredentials(cmd.OutOrStdout(), key)
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// lastUsed says when a key was, to the hour.
func lastUsed(at time.Time) string {
	if at.IsZero() {
		return "never used"
	}
	return "last used about " + when(at)
}

// lastUses returns when the keys of principals were last used, by their ids.
func (a *app) lastUses(ctx context.Context, rs ...*principals.Record) (map[string]time.Time, error) {
	var ids []string
	for _, r := range rs {
		for _, k := range r.Keys {
			ids = append(ids, k.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return a.people.LastUses(ctx, ids...)
}

func newAccessSession(g *globals) *cobra.Command {
	var n principals.NewSession
	var file string
	var tags []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "session NAME",
		Short: "Make short-lived credentials of a user or a role",
		Long: `Prints credentials that end by themselves, as lines for a shell. A user stays who
he is; a role is as if it had been assumed, whatever its trust policy says. --policy
limits the session further. It ends early with pawl access end-sessions or disable.

With --json it can be the credential_process of an AWS profile.`,
		Example: `  eval "$(pawl access session shop --duration 15m)"
  pawl access session deploy --duration 2h --policy just-this.json --name build-812`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(g),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if n.Policy, err = readIdentity(cmd, file); err != nil {
				return err
			}
			if n.Tags, err = principalTags(tags); err != nil {
				return err
			}
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				key, err := a.people.Session(ctx, args[0], n)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), credentialsOf(key))
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "Made a session of %s, good until %s.\n", key.ARN, when(key.Expires))
				return printCredentials(cmd.OutOrStdout(), key)
			})
		},
	}
	f := c.Flags()
	f.DurationVar(&n.Duration, "duration", time.Hour, "how long it lasts, 15m to 12h, of a role at most its --max-session")
	f.StringVar(&file, "policy", "", "file with a policy: the session may do what this allows too; - reads standard input")
	f.StringVar(&n.Name, "name", "", "name of the session, part of a role's ARN (default pawl)")
	f.StringArrayVar(&tags, "tag", nil, "KEY=VALUE of the session, besides the principal's own; may be given several times")
	jsonFlag(c, &asJSON)
	return c
}

func newAccessEndSessions(g *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:               "end-sessions NAME",
		Short:             "End all sessions of a user or a role",
		Long:              "Makes all session credentials that were made until now no good. Access keys stay as they are.",
		Example:           "  pawl access end-sessions deploy",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(g),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				r, err := a.people.EndSessions(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), viewOf(r, nil))
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Ended all sessions of %s.\n", a.called(r))
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}
