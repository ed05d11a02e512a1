package config

import (
	"fmt"
	"path/filepath"

	"github.com/pawlhq/pawl/secrets"
)

// ParseRules reads the rules of one secret, without its name, as an entry of the
// file gives them: {strategy: alternating-users, tls: {mode: verify-full}}. The
// text is that of the environment variable called name, for where there is no
// file. What it says nothing of is zero, Strategy too. Schedules are at least as
// far apart as AWS's; relative paths start at the working directory. The error is
// Invalid and holds Problems, with the variable in the file's place.
func ParseRules(name, text string) (secrets.RotationRules, error) {
	var y entryYAML
	c, err := parseVariable(name, text, &y)
	if err != nil {
		return secrets.RotationRules{}, err
	}
	rules := secretYAML{entryYAML: y}.rules(rulesYAML{}, c.dir)
	rules.Strategy = value(y.Strategy)
	c.entry("", y)
	c.window("", y.rulesYAML, rules)
	c.password("password", y.Password, rules.Password)
	if err := c.problems.err(); err != nil {
		return secrets.RotationRules{}, err
	}
	return rules, nil
}

// ParsePairings reads what superusers: is in the file, a list of pairings, from
// the environment variable called name. The error is as that of ParseRules.
func ParsePairings(name, text string) ([]secrets.Pairing, error) {
	var list []pairingYAML
	c, err := parseVariable(name, text, &list)
	if err != nil {
		return nil, err
	}
	var out []secrets.Pairing
	for i, p := range list {
		out = append(out, c.pairing(fmt.Sprintf("[%d]", i), p))
	}
	if err := c.problems.err(); err != nil {
		return nil, err
	}
	return out, nil
}

// parseVariable decodes a variable's text. Problems of single keys are left for
// the checker's end.
func parseVariable(name, text string, into any) (*checker, error) {
	dir, err := filepath.Abs(".")
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "%s: %w", name, err)
	}
	body, problem := parseYAML([]byte(text))
	if problem != nil {
		problem.File = name
		return nil, Problems{*problem}.err()
	}
	d := newDecoder(name)
	d.places = nil // there is nothing around it
	if body != nil {
		d.decode(body, into)
	}
	return &checker{
		decoder: d, dir: dir, dirName: "the working directory", variable: true,
		minimum:   secrets.AWSMinimumInterval,
		schedules: map[string]parsedSchedule{}, caFiles: map[string]error{},
	}, nil
}
