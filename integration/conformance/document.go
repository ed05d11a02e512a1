package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// Untried is why a rule could not be tried against Pawl, both "" where it was:
// Signed with signatures that are verified, Dev against a development server.
type Untried struct{ Signed, Dev string }

// note is what the document adds to the rule's name.
func (u Untried) note() string {
	switch {
	case u.Signed != "":
		return " (not tried: " + cell(u.Signed) + ")"
	case u.Dev != "":
		return " †"
	}
	return ""
}

// Document renders docs/compatibility.md: every rule with its source, by
// operation, and every known difference.
func Document(rules []Rule, untried func(Rule) Untried) string {
	var b strings.Builder
	count := map[string]int{}
	open, signedOnly := 0, 0
	for _, r := range rules {
		count[r.Operation]++
		switch u := untried(r); {
		case u.Signed != "":
			open++
		case u.Dev != "":
			signedOnly++
		}
	}
	all := "all hold"
	if open > 0 {
		all = fmt.Sprintf("all hold, but for %d that can't be tried, marked with the reason", open)
	}
	fmt.Fprintf(&b, `# Compatibility with AWS Secrets Manager

<!-- Written by go test ./integration/conformance -args -update. Change the table, not this file. -->

Pawl answers as AWS Secrets Manager does, API version 2017-10-17, all 23
operations. This page lists what that means: %d rules, each with its source, and
at the end [every known difference](#known-differences).

Each rule is a test over signed HTTP. All of them are tried against Pawl at every
change, and %s.
They run twice: over TLS, where signatures are verified and policies decide, by an
administrator, one of another account, a session and somebody who may do nothing;
and against a development server, which takes any credentials. The %d rules marked
† need the former. The same table runs against any other endpoint, AWS included:

    go test -v ./integration/conformance                                      # Pawl, in process
    go test -v ./integration/conformance -args -endpoint URL -region REGION   # with AWS_ACCESS_KEY_ID…

It makes its own secrets, whose names begin with or contain "pawl-conformance" or
a random word, touches no others, and ends by deleting them.
`+"`-args -help`"+` lists what else it can be told: a second region, a second
account, a KMS key, a rotation function.

About the sources: "recorded on AWS" is an answer that LocalStack's test suite
recorded on AWS, by the name of the test; "checked against AWS" is a test of that
project that its authors ran against AWS. "Service model" is the description that
AWS's SDKs are generated from. "Another emulator" and "inferred" mean that no
answer of AWS is known to us: if you know one, please tell.

| Operation | Rules |
|---|---:|
`, len(rules), all, signedOnly)
	for _, op := range Operations {
		fmt.Fprintf(&b, "| [%s](#%s) | %d |\n", op, anchor(op), count[op])
	}
	fmt.Fprintf(&b, "| **All** | **%d** |\n", len(rules))
	for _, op := range Operations {
		fmt.Fprintf(&b, "\n## %s\n\n| Rule | Source |\n|---|---|\n", op)
		for _, r := range rules {
			if r.Operation != op {
				continue
			}
			fmt.Fprintf(&b, "| %s%s | %s |\n", cell(r.Name), untried(r).note(), cell(r.Source))
		}
	}
	b.WriteString("\n## Known differences\n")
	var about []string
	for _, d := range Differences {
		if !slices.Contains(about, d.About) {
			about = append(about, d.About)
		}
	}
	for _, a := range about {
		fmt.Fprintf(&b, "\n### %s\n\n", a)
		for _, d := range Differences {
			if d.About == a {
				fmt.Fprintf(&b, "- %s\n", d.Text)
			}
		}
	}
	return b.String()
}

// cell makes text safe in a Markdown table.
func cell(s string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`, "]", `\]`, "`", "\\`", "\n", " ").Replace(s)
}

func anchor(heading string) string {
	return strings.ReplaceAll(strings.ToLower(heading), " ", "-")
}
