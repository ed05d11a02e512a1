package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/store/seal"
)

// keyList is `key list --json`.
type keyList struct {
	Keys []keyView `json:"Keys"`
	// KMS counts the values that keys of AWS KMS encrypt.
	KMS int `json:"ValuesUnderAWSKMS"`
	// Missing counts the values of keys that there are not, by the key's id: they
	// can't be read.
	Missing map[string]int `json:"ValuesUnderMissingKeys,omitempty"`
}

// keyView is a key.
type keyView struct {
	KeyID       string           `json:"KeyId,omitempty"`
	Alias       string           `json:"Alias"`
	Created     *time.Time       `json:"CreationDate,omitempty"`
	Generations []generationView `json:"Generations"` // newest first
	Values      int              `json:"Values"`
	Old         int              `json:"ValuesUnderOldGenerations"`
}

type generationView struct {
	ID      string     `json:"Id"`
	Created *time.Time `json:"CreationDate,omitempty"`
	Values  int        `json:"Values"`
}

func viewOfKey(k seal.NamedKey, usage map[string]int) keyView {
	v := keyView{KeyID: k.ID, Alias: k.Alias, Created: some(k.Created), Generations: []generationView{}}
	for i, g := range k.Generations {
		v.Generations = append(v.Generations, generationView{ID: g.ID, Created: some(g.Created), Values: usage[g.ID]})
		v.Values += usage[g.ID]
		if i > 0 {
			v.Old += usage[g.ID]
		}
	}
	return v
}

// viewOfKeys sorts what is used by the keys there are.
func viewOfKeys(keys []seal.NamedKey, usage map[string]int) keyList {
	list := keyList{Keys: []keyView{}, KMS: usage[seal.ByKMS], Missing: maps.Clone(usage)}
	delete(list.Missing, seal.ByKMS)
	for _, k := range keys {
		list.Keys = append(list.Keys, viewOfKey(k, usage))
		for _, g := range k.Generations {
			delete(list.Missing, g.ID)
		}
	}
	return list
}

func newKeyList(g *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the keys, and how many values each encrypts",
		Long: `Lists the default key, which is the master key, and those made by pawl key create,
with their generations and how many values they encrypt. Values under an old
generation wait for a re-wrap: pawl key rewrap.`,
		Example: "  pawl key list\n  pawl key list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				keys, err := a.keys.ListKeys(ctx)
				if err != nil {
					return err
				}
				usage, err := a.keys.Usage(ctx)
				if err != nil {
					return err
				}
				list := viewOfKeys(keys, usage)
				if asJSON {
					return printJSON(cmd.OutOrStdout(), list)
				}
				return list.print(cmd.OutOrStdout())
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (l keyList) print(w io.Writer) error {
	rows := [][]string{{"KEY", "ID", "CREATED", "GENERATIONS", "VALUES", "UNDER OLD GENERATIONS"}}
	old := 0
	for _, k := range l.Keys {
		rows = append(rows, []string{k.Alias, orDash(k.KeyID), whenp(k.Created), strconv.Itoa(len(k.Generations)), strconv.Itoa(k.Values), strconv.Itoa(k.Old)})
		old += k.Old
	}
	if l.KMS > 0 {
		rows = append(rows, []string{"keys of AWS KMS", "-", "-", "-", strconv.Itoa(l.KMS), "-"})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if old > 0 {
		fmt.Fprintf(w, "\n%s under old generations; move them: pawl key rewrap\n", values(old))
	}
	for _, id := range slices.Sorted(maps.Keys(l.Missing)) {
		fmt.Fprintf(w, "\n%s under the key %s, which is not there, and can't be read: put back the\nkey file, or the database, that was in use when they were written.\n", values(l.Missing[id]), id)
	}
	return nil
}

// values counts them, as the start of a sentence.
func values(n int) string {
	if n == 1 {
		return "1 value is"
	}
	return strconv.Itoa(n) + " values are"
}
