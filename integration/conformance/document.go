package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// Document renders docs/compatibility.md: every rule with its source, by
// operation, and every known difference. untried says, for each rule, why it
// could not be tried against Pawl, or "".
func Document(rules []Rule, untried func(Rule) string) string {
	var b strings.Builder
	count := map[string]int{}
	open := 0
	for _, r := range rules {
		count[r.Operation]++
		if untried(r) != "" {
			open++
		}
	}
	fmt.Fprintf(&b, `# Compatibility with AWS Secrets Manager

<!-- Written by go test ./integration/conformance -args -update. Change the table, not this file. -->

Pawl answers as AWS Secrets Manager does, API version 2017-10-17, all 23
operations. This page lists what that means: %d rules, each with its source, and
at the end [every known difference](#known-differences).

Each rule is a test over signed HTTP. All of them are tried against Pawl at every
change, and all hold, but for %d that can't be tried there, each marked with the
reason. The same table runs against any other endpoint, AWS included:

    go test -v ./integration/conformance                                      # Pawl, in process
    go test -v ./integration/conformance -args -endpoint URL -region REGION   # with AWS_ACCESS_KEY_ID…

It makes its own secrets, whose names begin with or contain "pawl-conformance" or
a random word, touches no others, and ends by deleting them.
`+"`-args -help`"+` lists what else it can be told: a second region, a second
account, a rotation function.

About the sources: "recorded on AWS" is an answer that LocalStack's test suite
recorded on AWS, by the name of the test; "checked against AWS" is a test of that
project that its authors ran against AWS. "Service model" is the description that
AWS's SDKs are generated from. "Another emulator" and "inferred" mean that no
answer of AWS is known to us: if you know one, please tell.

| Operation | Rules |
|---|---:|
`, len(rules), open)
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
			name := cell(r.Name)
			if why := untried(r); why != "" {
				name += " (not tried: " + cell(why) + ")"
			}
			fmt.Fprintf(&b, "| %s | %s |\n", name, cell(r.Source))
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
