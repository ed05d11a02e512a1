package integration_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pawlhq/pawl/integration/load"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	connections = 32
	rounds      = 5               // interleaved measurements of Pawl and of the floor
	span        = 2 * time.Second // of one measurement
)

// BenchmarkReads measures GetSecretValue of 1 KB over loopback as who has to sign
// his requests and is judged by his policies gets it, audit and all; and in turn,
// with the same client, a floor: net/http answering 1 KB. Of both it tells the
// requests a second and the processor's time that the server took for each. Then
// the delays at half of the rate just measured.
func BenchmarkReads(b *testing.B) { benchmarkReads(b, newManager(b, 100, secured)) }

// BenchmarkReadsDev is BenchmarkReads of a development server.
func BenchmarkReadsDev(b *testing.B) { benchmarkReads(b, newManager(b, 100, unsecured)) }

func benchmarkReads(b *testing.B, m *manager) {
	floor, floorProcess := startFloor(b)
	requests := make([][]byte, m.secrets)
	request := func(n int) []byte { return requests[n%len(requests)] }
	full := func(addr string, pid int) (rate, each float64) {
		for i := range requests { // anew: signatures are good for minutes only
			requests[i] = m.call("secretsmanager.GetSecretValue", fmt.Sprintf(`{"SecretId":%q}`, m.name(i)))
		}
		before := processor(b, pid)
		r, err := load.Full(b.Context(), addr, connections, span, request)
		if err != nil {
			b.Fatal(err)
		}
		return r.Rate(), (processor(b, pid) - before).Seconds() * 1e6 / float64(r.Requests)
	}
	ours := func() (rate, each float64) { return full(m.addr, m.process.cmd.Process.Pid) }
	theirs := func() (rate, each float64) { return full(floor, floorProcess) }
	ours()
	theirs() // both warm
	for b.Loop() {
		var rates, floors, ratios, each, floorEach []float64
		for n := range rounds {
			var r, f, re, fe float64
			if n%2 == 0 {
				r, re = ours()
				f, fe = theirs()
			} else {
				f, fe = theirs()
				r, re = ours()
			}
			rates, floors, ratios = append(rates, r), append(floors, f), append(ratios, r/f)
			each, floorEach = append(each, re), append(floorEach, fe)
		}
		half, err := load.Paced(b.Context(), m.addr, connections, 2*span, median(rates)/2, request)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(median(rates), "reads/s")
		b.ReportMetric(median(floors), "floor/s")
		b.ReportMetric(median(ratios), "of-floor")
		b.ReportMetric(median(each), "µs-cpu")
		b.ReportMetric(median(floorEach), "µs-cpu-floor")
		b.ReportMetric(ms(half.Quantile(0.99)), "ms-p99-at-half")
		b.ReportMetric(0, "ns/op")
	}
}

// processor is the processor's time that a process has taken: utime and stime,
// which Linux counts in hundredths of a second; 0 where there is no /proc.
func processor(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// Behind the name, which may hold anything, the third field is the first.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum
}

// BenchmarkWrites measures PutSecretValue, each durable before it is answered,
// over a thousand secrets.
func BenchmarkWrites(b *testing.B) {
	const secretsThere = 1000
	m := newManager(b, secretsThere, unsecured)
	var serial atomic.Int64
	body := strings.Repeat("x", 200)
	request := func(n int) []byte {
		return load.Call("secretsmanager.PutSecretValue", fmt.Sprintf(`{"SecretId":%q,"ClientRequestToken":"%036d","SecretString":%q}`,
			m.name(n%secretsThere), serial.Add(1), body))
	}
	for b.Loop() {
		var rates, slow []float64
		for range rounds {
			r, err := load.Full(b.Context(), m.addr, connections, span, request)
			if err != nil {
				b.Fatal(err)
			}
			rates, slow = append(rates, r.Rate()), append(slow, ms(r.Quantile(0.99)))
		}
		b.ReportMetric(median(rates), "writes/s")
		b.ReportMetric(median(slow), "ms-p99")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkManySecrets compares every operation on a store of 100,000 secrets
// with the same on one of 100, in turn, one request at a time, and tells what
// the larger server keeps resident after that.
func BenchmarkManySecrets(b *testing.B) {
	const few, many = 100, 100_000
	small, large := newManager(b, few, unsecured), newManager(b, many, unsecured)
	small.connect()
	large.connect()
	for b.Loop() {
		worst := 0.0
		for _, o := range operations() {
			var a, z []float64
			for n := range 15 {
				a = append(a, small.ask(o.request(small, n)))
				z = append(z, large.ask(o.request(large, n)))
			}
			x, y := median(a), median(z)
			worst = max(worst, y/x)
			fmt.Printf("%-34s %8.3f ms of %d secrets, %8.3f ms of %d: ×%.2f\n", o.name, x, few, y, many, y/x)
			if o.name == "ListSecrets" {
				b.ReportMetric(y, "ms-ListSecrets")
			}
		}
		b.ReportMetric(worst, "worst-ratio")
		b.ReportMetric(float64(resident(b, large.process))/(1<<20), "MB-resident")
		b.ReportMetric(0, "ns/op")
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// operation is what is timed. request makes the n-th one's target and body.
type operation struct {
	name    string
	request func(m *manager, n int) []byte
}

func operations() []operation {
	var serial atomic.Int64
	token := func() string { return fmt.Sprintf("%036d", serial.Add(1)) }
	on := func(name, target, body string) operation {
		return operation{name, func(m *manager, n int) []byte {
			r := strings.NewReplacer("NAME", m.name(n*7%m.secrets), "TOKEN", token(), "NEW", "new/"+token())
			return load.Call("secretsmanager."+target, r.Replace(body))
		}}
	}
	return []operation{
		on("GetSecretValue", "GetSecretValue", `{"SecretId":"NAME"}`),
		on("DescribeSecret", "DescribeSecret", `{"SecretId":"NAME"}`),
		on("BatchGetSecretValue of a team", "BatchGetSecretValue", `{"Filters":[{"Key":"name","Values":["team-01/"]}]}`),
		on("ListSecrets", "ListSecrets", `{}`),
		on("ListSecrets, newest first", "ListSecrets", `{"SortOrder":"desc"}`),
		on("ListSecrets by name", "ListSecrets", `{"SortBy":"name"}`),
		on("ListSecrets by change", "ListSecrets", `{"SortBy":"last-changed-date","SortOrder":"desc"}`),
		on("ListSecrets by access", "ListSecrets", `{"SortBy":"last-accessed-date"}`),
		on("ListSecrets of a team", "ListSecrets", `{"Filters":[{"Key":"name","Values":["team-01/"]}],"SortBy":"name"}`),
		on("ListSecretVersionIds", "ListSecretVersionIds", `{"SecretId":"NAME"}`),
		on("CreateSecret", "CreateSecret", `{"Name":"NEW","ClientRequestToken":"TOKEN","SecretString":"x"}`),
		on("PutSecretValue", "PutSecretValue", `{"SecretId":"NAME","ClientRequestToken":"TOKEN","SecretString":"x"}`),
		on("UpdateSecret", "UpdateSecret", `{"SecretId":"NAME","ClientRequestToken":"TOKEN","Description":"TOKEN"}`),
		on("TagResource", "TagResource", `{"SecretId":"NAME","Tags":[{"Key":"k","Value":"TOKEN"}]}`),
		on("UntagResource", "UntagResource", `{"SecretId":"NAME","TagKeys":["k"]}`),
		on("PutResourcePolicy", "PutResourcePolicy", `{"SecretId":"NAME","ResourcePolicy":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"secretsmanager:ReplicateSecretToRegions\",\"Resource\":\"*\"}]}"}`),
		on("DeleteSecret", "DeleteSecret", `{"SecretId":"NAME"}`),
		on("RestoreSecret", "RestoreSecret", `{"SecretId":"NAME"}`),
		on("GetRandomPassword", "GetRandomPassword", `{}`),
	}
}

// manager is the real binary on a store of its own.
type manager struct {
	*site
	process *process
	addr    string
	conn    *load.Conn
	secrets int
	call    func(target, body string) []byte // makes a request
}

// Whom a manager serves.
const (
	unsecured = false // everybody, in development mode
	secured   = true  // who signs his requests; call signs them for a user who has load.Policies
)

var listening = regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`)

// newManager fills a store with n secrets and serves it.
func newManager(b *testing.B, n int, secured bool) *manager {
	b.Helper()
	m := &manager{site: newSite(b, "server: {rate_limits: 0}\n"), secrets: n, call: load.Call}
	var group errgroup.Group
	var next atomic.Int64
	value := service.Give(secrets.Text(strings.Repeat("x", 850)))
	for range 64 {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				_, err := m.svc.CreateSecret(b.Context(), service.CreateSecretInput{
					Name: m.name(i), GivenValue: value, ClientRequestToken: m.token(), Description: fmt.Sprint("The database of service ", i),
					Tags: []service.Tag{{Key: "team", Value: fmt.Sprint(i / 50)}, {Key: "stage", Value: "production"}},
				})
				if err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	if err := m.store.Close(); err != nil {
		b.Fatal(err)
	}
	log, err := os.Create(filepath.Join(m.dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	args := []string{"serve", "--config", m.file(), "--listen", "127.0.0.1:0", "--log-format", "json"}
	if secured {
		m.secure()
	} else {
		args = append(args, "--dev")
	}
	m.process = m.startLogging(log, args...)
	b.Cleanup(m.process.stop)
	until(b, "the server to say where it listens", func() bool {
		found := listening.FindStringSubmatch(m.process.out.String())
		if found != nil {
			m.addr = found[1]
		}
		return found != nil
	})
	return m
}

// secure makes the user. The administrator, without whom nothing is served, is
// there already.
func (m *manager) secure() {
	m.t.Helper()
	args := []string{"access", "create", "reader", "--json"}
	for _, name := range slices.Sorted(maps.Keys(load.Policies)) {
		file := filepath.Join(m.dir, name+".json")
		if err := os.WriteFile(file, []byte(load.Policies[name]), 0o600); err != nil {
			m.t.Fatal(err)
		}
		args = append(args, "--policy", file)
	}
	r := m.cli(args...)
	var made struct {
		Credentials struct{ AccessKeyID, SecretAccessKey string }
	}
	if err := json.Unmarshal([]byte(r.out), &made); r.code != 0 || err != nil {
		m.t.Fatalf("access create: %v, %s", err, r.err)
	}
	signer := load.Signer{KeyID: made.Credentials.AccessKeyID, Secret: made.Credentials.SecretAccessKey, Region: "us-east-1"}
	m.call = func(target, body string) []byte { return signer.Call(target, body, time.Now()) }
}

// name is the i-th secret's; those of a team have no order in common with the
// order of creation.
func (m *manager) name(i int) string {
	return fmt.Sprintf("team-%02d/db-%06d", i*7919%max(2, m.secrets/50), i)
}

// connect opens the connection for ask. The server drops one that asks nothing.
func (m *manager) connect() {
	m.t.Helper()
	conn, err := load.Dial(m.addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { conn.Close() })
	m.conn = conn
}

// ask returns how many milliseconds an answer took.
func (m *manager) ask(request []byte) float64 {
	m.t.Helper()
	begin := time.Now()
	if err := m.conn.Do(request); err != nil {
		m.t.Fatal(err)
	}
	return ms(time.Since(begin))
}

// startFloor builds and runs the floor, and returns its address and process.
func startFloor(b *testing.B) (addr string, pid int) {
	b.Helper()
	bin := filepath.Join(b.TempDir(), "floor")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/pawlhq/pawl/integration/load/floor").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.Command(bin)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line), cmd.Process.Pid
}
