package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
)

func TestParseRules(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "ca.pem", certificate(t))
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]secrets.RotationRules{
		"":          {},
		"# nothing": {},
		"{}":        {},
		"{strategy: alternating-users, check_query: select 1, tls: {mode: verify-full}}": {
			Strategy: secrets.AlternatingUsers, CheckQuery: "select 1", TLS: secrets.TLSRules{Mode: "verify-full"},
		},
		"window: 3h": {Window: "3h"}, // a tag may say the schedule
		"engine: mysql\nsuperuser: root\nschedule: rate(4 hours)\nhosts: [a, 'b:1']\nadmin_host: c\npropagation_timeout: 1m\ntls: {ca_file: ca.pem}\nplain_password: allow\nadopt_clone: true\npassword: {length: 20}\n": {
			Engine: "mysql", Superuser: "root", Schedule: "rate(4 hours)", Hosts: []string{"a", "b:1"}, AdminHost: "c",
			PropagationTimeout: time.Minute, TLS: secrets.TLSRules{CAFile: filepath.Join(dir, "ca.pem")},
			PlainPassword: true, AdoptClone: true, Password: secrets.PasswordRules{Length: 20},
		},
	} {
		got, err := ParseRules("PAWL_RULES", text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestParsePairings(t *testing.T) {
	for text, want := range map[string][]secrets.Pairing{
		"":                                 {},
		"[]":                               {},
		"[{secret: root, for: [\"p/*\"]}]": {{Secret: "root", For: []string{"p/*"}}},
		"- secret: a\n  for: [b]\n  hosts: ['c:1', d]\n- {secret: e, for: [f, g]}\n": {
			{Secret: "a", For: []string{"b"}, Hosts: []string{"c:1", "d"}}, {Secret: "e", For: []string{"f", "g"}},
		},
	} {
		got, err := ParsePairings("PAWL_SUPERUSERS", text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, append([]secrets.Pairing{}, got...)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestBadVariables(t *testing.T) {
	rules := func(name, text string) error { _, err := ParseRules(name, text); return err }
	pairings := func(name, text string) error { _, err := ParsePairings(name, text); return err }
	const known = "strategy, superuser, schedule, window, propagation_timeout, tls, plain_password, password, engine, hosts, admin_host, check_query, adopt_clone"
	for _, c := range []struct {
		parse      func(name, text string) error
		text, want string
	}{
		{rules, "single-user", "V: must be keys with values, not a single value"},
		{rules, "[]", "V: must be keys with values, not a list"},
		{rules, "{", "V:1:1: not valid YAML: could not find flow mapping end token '}'"},
		{rules, "{stratgy: x}", `V:1: stratgy: unknown key; did you mean "strategy"?`},
		{rules, "{name: a}", "V:1: name: unknown key; known: " + known},
		{rules, "{function: a}", "V:1: function: unknown key; known: " + known},
		{rules, "workers: 3", "V:1: workers: unknown key; known: " + known},
		{rules, "tls:\n  mode: on\n  ca_file: none.pem", "V:2: tls.mode: must be disable, require, verify-ca or verify-full\n" +
			"V:3: tls.ca_file: can't be used: no such file or directory; a relative path starts at the working directory"},
		{rules, "strategy: x\nsuperuser: 'a b'\npropagation_timeout: 2h\nplain_password: yes\nhosts: ['']\nadmin_host: 'a:0'\npassword: {length: 3}\nengine: [x]",
			"V:1: strategy: must be single-user or alternating-users\n" +
				"V:2: superuser: must be the name or ARN of a secret\n" +
				"V:3: propagation_timeout: must be more than 0s and at most 1h\n" +
				"V:4: plain_password: must be allow or deny\n" +
				"V:5: hosts[0]: must be a host or host:port\n" +
				"V:6: admin_host: the port must be a number from 1 to 65535\n" +
				"V:7: password: length is too short for one character of each type; make it longer, or set require_each_included_type: false\n" +
				"V:8: engine: must be a single value, not a list"},
		{rules, "schedule: rate(2 hours)", `V:1: schedule: rate "2 hours": windows would open 2h apart, must be at least 4h; leave at least 4h between windows`},
		{rules, "schedule: rate(10 minutes)", `V:1: schedule: unit "minutes": must be hours or days while windows must be 4h apart; write rate(4 hours)`},
		{rules, "schedule: cron(* * * * ? *)", `V:1: schedule: minutes "*": must be 0, windows open on the hour; write cron(0 10 * * ? *)`},
		{rules, "schedule: rate(4 hours)\nwindow: 6h", "V:2: window: window 6h: reaches into the next window of rate(4 hours), which opens 4h later; write 4h or less"},
		{rules, "window: 90m", "V:1: window: must be whole hours, from 1h to 24h; write for example 3h"},
		{pairings, "{secret: a, for: [b]}", `V: must be a list, not keys with values; write [a, b], or one "- item" a line`},
		{pairings, "[{secret: a}, {for: ['a b'], hosts: ['']}]",
			`V:1: [0].for: is missing; list the names of the secrets that may choose this superuser, such as ["prod/*"]` + "\n" +
				"V:1: [1].secret: is missing; name the superuser's secret\n" +
				"V:1: [1].for[0]: must be a secret's name, in which * stands for any characters\n" +
				"V:1: [1].hosts[0]: must be a host or host:port"},
		{pairings, "- secrt: a\n  for: [b]", `V:1: [0].secrt: unknown key; did you mean "secret"?` + "\n" + "V:1: [0].secret: is missing; name the superuser's secret"},
	} {
		err := c.parse("V", c.text)
		if err == nil {
			t.Errorf("%s: no error", c.text)
			continue
		}
		if secrets.KindOf(err) != secrets.Invalid {
			t.Errorf("%s: kind %v", c.text, secrets.KindOf(err))
		}
		if diff := cmp.Diff(strings.Split(c.want, "\n"), strings.Split(err.Error(), "\n")); diff != "" {
			t.Errorf("%s: want - got +\n%s", c.text, diff)
		}
	}
}

// TestVariablesStaySecret: a value at the wrong place is not repeated.
func TestVariablesStaySecret(t *testing.T) {
	for _, text := range []string{
		marker, "[" + marker + "]", "strategy: '" + marker + "'", "schedule: '" + marker + "'", "window: '" + marker + "'",
		"'" + marker + "': 1", "tls: '" + marker + "'", "- secret: '" + marker + "'", "- {for: ['" + marker + "'], hosts: ['" + marker + "']}",
	} {
		_, err1 := ParseRules("V", text)
		_, err2 := ParsePairings("V", text)
		for _, err := range []error{err1, err2} {
			if err == nil || strings.Contains(err.Error(), core) {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}
