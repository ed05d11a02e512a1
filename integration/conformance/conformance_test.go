package conformance_test

import (
	"cmp"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/pawlhq/pawl/integration/conformance"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/teststore"
)

// What the table is tried against. Without -endpoint it is Pawl, in this
// process, once as a development server and once as all others are.
var (
	endpoint      = flag.String("endpoint", "", "try this URL instead of Pawl in process; credentials come from the AWS environment")
	region        = flag.String("region", "us-east-1", "with -endpoint: the region")
	replicaRegion = flag.String("replica-region", "", "with -endpoint: a second region, for replicas")
	otherProfile  = flag.String("other-profile", "", "with -endpoint: the AWS profile of another account")
	deniedProfile = flag.String("denied-profile", "", "with -endpoint: the AWS profile of somebody of the same account who may do nothing")
	sessionOf     = flag.String("session-profile", "", "with -endpoint: an AWS profile with session credentials of the same account that may do everything")
	key           = flag.String("key", "", "with -endpoint: a KMS key, by id, ARN or alias, that the other account may use too")
	function      = flag.String("function", "", "with -endpoint: ARN of a single-user rotation function that may be invoked")
	rotatable     = flag.String("rotatable", "", "with -endpoint: file of secret values that the function can rotate, one JSON object a line")
	partnerRole   = flag.String("partner-role", "", "with -endpoint: ARN of a role for partners' secrets")
	unverified    = flag.Bool("unverified", false, "with -endpoint: it accepts any credentials")
	patience      = flag.Duration("patience", 6*time.Minute, "with -endpoint: how long to wait for listings and replicas")
	only          = flag.String("only", "", "try only rules whose operation or name contains this")
	update        = flag.Bool("update", false, "write docs/compatibility.md")
)

func TestMain(m *testing.M) { os.Exit(teststore.Main(m)) }

const document = "../../docs/compatibility.md"

// noDatabase is why rules of whole rotations can't be tried on a machine
// without a database server; no reason to mark them in the document.
const noDatabase = "needs a server whose password the function can rotate"

func TestConformance(t *testing.T) {
	rules := slices.DeleteFunc(conformance.Rules(), func(r conformance.Rule) bool {
		return !strings.Contains(r.Operation+": "+r.Name, *only)
	})
	if *endpoint != "" {
		conform(t, elsewhere(t), rules)
		return
	}
	results := map[string][]conformance.Result{}
	var mu sync.Mutex
	t.Run("pawl", func(t *testing.T) { // ends when both have
		for name, start := range map[string]func(*testing.T) (conformance.Target, func() []service.Place){"signed": signed, "dev": dev} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				target, left := start(t)
				got := conform(t, target, rules)
				if places := left(); len(places) > 0 {
					t.Errorf("secrets are left behind in %v", places)
				}
				mu.Lock()
				defer mu.Unlock()
				results[name] = got
			})
		}
	})
	if *only == "" && !t.Failed() {
		checkDocument(t, rules, results["signed"], results["dev"])
	}
}

// conform tries the rules on a target.
func conform(t *testing.T, target conformance.Target, rules []conformance.Rule) []conformance.Result {
	start := time.Now()
	results, err := conformance.Run(t.Context(), target, rules)
	if err != nil {
		t.Fatal(err)
	}
	report(t, slices.Clone(results))
	t.Logf("%d rules in %v", len(results), time.Since(start).Round(time.Millisecond))
	return results
}

// report fails the test for each failed rule and prints what passed.
func report(t *testing.T, results []conformance.Result) {
	type tally struct{ passed, total, skipped int }
	tallies := map[string]*tally{}
	var sum tally
	for _, r := range results {
		n := tallies[r.Operation]
		if n == nil {
			n = &tally{}
			tallies[r.Operation] = n
		}
		switch {
		case r.Skipped != "":
			n.skipped++
			sum.skipped++
			if testing.Verbose() {
				t.Logf("skipped: %s: %s: %s", r.Operation, r.Name, r.Skipped)
			}
			continue
		case r.Failure != "":
			t.Errorf("%s: %s\n  source: %s\n  %s", r.Operation, r.Name, r.Source, r.Failure)
		default:
			n.passed++
			sum.passed++
		}
		if r.Leak != nil {
			t.Errorf("%s: %s: %v", r.Operation, r.Name, r.Leak)
		}
		n.total++
		sum.total++
	}
	out := &strings.Builder{}
	line := func(name string, n tally) {
		skipped := ""
		if n.skipped > 0 {
			skipped = fmt.Sprintf(", %d skipped", n.skipped)
		}
		fmt.Fprintf(out, "%s: %d/%d%s\n", name, n.passed, n.total, skipped)
	}
	for _, op := range conformance.Operations {
		if n := tallies[op]; n != nil {
			line(op, *n)
		}
	}
	line("All", sum)
	fmt.Printf("%s\n%s\n", t.Name(), out)
	slices.SortFunc(results, func(a, b conformance.Result) int { return cmp.Compare(b.Took, a.Took) })
	if testing.Verbose() {
		for _, r := range results[:min(5, len(results))] {
			t.Logf("slow: %v: %s: %s", r.Took.Round(time.Millisecond), r.Operation, r.Name)
		}
	}
}

// checkDocument fails if docs/compatibility.md is not what the table says, or
// writes it.
func checkDocument(t *testing.T, rules []conformance.Rule, signed, dev []conformance.Result) {
	skipped := func(results []conformance.Result) map[string]string {
		why := map[string]string{}
		for _, r := range results {
			if r.Skipped != noDatabase {
				why[r.Operation+r.Name] = r.Skipped
			}
		}
		return why
	}
	whySigned, whyDev := skipped(signed), skipped(dev)
	want := conformance.Document(rules, func(r conformance.Rule) conformance.Untried {
		return conformance.Untried{Signed: whySigned[r.Operation+r.Name], Dev: whyDev[r.Operation+r.Name]}
	})
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(document)
	if err != nil || string(got) != want {
		t.Errorf("docs/compatibility.md is stale (%v): go test ./integration/conformance -args -update", err)
	}
}

// TestTable holds the table itself together.
func TestTable(t *testing.T) {
	rules := conformance.Rules()
	seen := map[string]bool{}
	for _, r := range rules {
		key := r.Operation + ": " + r.Name
		switch {
		case seen[key]:
			t.Errorf("twice: %s", key)
		case !slices.Contains(conformance.Operations, r.Operation):
			t.Errorf("no such operation: %s", key)
		case r.Name == "" || r.Source == "" || r.Check == nil:
			t.Errorf("incomplete: %s", key)
		}
		seen[key] = true
	}
	if len(rules) < 400 {
		t.Errorf("%d rules", len(rules))
	}
}

// elsewhere is the endpoint that the flags say.
func elsewhere(t *testing.T) conformance.Target {
	target := conformance.Target{
		URL: strings.TrimRight(*endpoint, "/"), Region: *region, ReplicaRegion: *replicaRegion, Function: *function,
		PartnerRole: *partnerRole, Key: *key, Unverified: *unverified, Patience: *patience, Client: &http.Client{Timeout: time.Minute},
	}
	credentials := func(options ...func(*config.LoadOptions) error) *aws.Credentials {
		c, err := config.LoadDefaultConfig(t.Context(), options...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Credentials.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return &got
	}
	target.Credentials = *credentials()
	if *otherProfile != "" {
		target.Other = credentials(config.WithSharedConfigProfile(*otherProfile))
	}
	if *deniedProfile != "" {
		target.Denied = credentials(config.WithSharedConfigProfile(*deniedProfile))
	}
	if *sessionOf != "" {
		target.Session = credentials(config.WithSharedConfigProfile(*sessionOf))
	}
	if *rotatable != "" {
		target.Rotatable = lines(t, *rotatable)
	}
	return target
}

// lines gives out the lines of a file, each once.
func lines(t *testing.T, file string) func() (string, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	left := strings.Split(strings.TrimSpace(string(b)), "\n")
	var mu sync.Mutex
	return func() (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(left) == 0 {
			return "", false
		}
		line := left[0]
		left = left[1:]
		return line, true
	}
}
