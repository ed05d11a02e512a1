package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSoak mixes clients that behave with clients that do not, for a second or
// as long as PAWL_SOAK says (3m). Those that behave notice nothing; afterwards
// the server has as many goroutines and as much memory as before.
func TestSoak(t *testing.T) {
	length := time.Second
	if s := os.Getenv("PAWL_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatalf("PAWL_SOAK: %v", err)
		}
	}
	r := start(t, Config{Log: slog.New(slog.NewJSONHandler(io.Discard, nil))}, func(s *Server) {
		s.http.ReadHeaderTimeout, s.http.ReadTimeout = 2*time.Second, 2*time.Second
	})
	r.create("witness")
	r.call("GetSecretValue", `{"SecretId":"witness"}`)
	witness := r.send(post("DescribeSecret", signed, `{"SecretId":"witness"}`)).body
	for i := range 4 { // what is made once and stays is made before it is measured
		if err := behave(r.addr, fmt.Sprintf("warm-%d", i), func() bool { return false }); err != nil {
			t.Fatal(err)
		}
		attack(r.addr, rand.New(rand.NewPCG(uint64(i), 0)))
	}
	goroutines, heap := runtime.NumGoroutine(), heapInUse()

	end := time.Now().Add(length)
	over := func() bool { return time.Now().After(end) }
	var group sync.WaitGroup
	var rounds, attacks atomic.Int64
	for i := range 4 {
		group.Go(func() {
			for n := 0; n == 0 || !over(); n++ {
				if err := behave(r.addr, fmt.Sprintf("team-%d/s-%d", i, n), over); err != nil {
					t.Errorf("a client that behaves: %v", err)
					return
				}
				rounds.Add(1)
			}
		})
	}
	for i := range 12 {
		random := rand.New(rand.NewPCG(uint64(i), 1))
		group.Go(func() {
			for n := 0; n == 0 || !over(); n++ {
				attack(r.addr, random)
				attacks.Add(1)
			}
		})
	}
	group.Wait()
	t.Logf("%d secrets lived, %d attacks", rounds.Load(), attacks.Load())

	if now := r.send(post("DescribeSecret", signed, `{"SecretId":"witness"}`)).body; now != witness {
		t.Errorf("the witness changed:\n%s\n%s", witness, now)
	}
	if list := r.send(post("ListSecrets", signed, `{"IncludePlannedDeletion":true}`)).body; strings.Count(list, `"ARN"`) != 1 {
		t.Errorf("more than the witness is left: %.2000s", list)
	}
	within(t, "goroutines", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	within(t, "memory", func() bool { return heapInUse() <= heap+16<<20 })
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%s do not come back to where they were: %d goroutines, %d bytes", what, runtime.NumGoroutine(), heapInUse())
			return
		}
	}
}

// behave lives the life of a secret over one connection.
func behave(addr, name string, over func() bool) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	in := bufio.NewReader(c)
	do := func(operation, body, want string) error {
		if _, err := io.WriteString(c, post(operation, signed, body)); err != nil {
			return fmt.Errorf("%s: %w", operation, err)
		}
		a, err := read(in)
		if err != nil {
			return fmt.Errorf("%s: %w", operation, err)
		}
		if a.StatusCode != 200 || !strings.Contains(a.body, want) {
			return fmt.Errorf("%s: %d %.300s", operation, a.StatusCode, a.body)
		}
		return nil
	}
	id := `{"SecretId":"` + name + `"`
	steps := []struct{ operation, body, want string }{
		{"CreateSecret", `{"Name":"` + name + `","ClientRequestToken":"` + token + `","SecretString":"` + canary + `"}`, token},
		{"TagResource", id + `,"Tags":[{"Key":"k","Value":"v"}]}`, ""},
		{"GetSecretValue", id + `}`, canary},
		{"PutSecretValue", id + `,"ClientRequestToken":"` + strings.Repeat("2", 32) + `","SecretString":"two"}`, "AWSCURRENT"},
		{"GetSecretValue", id + `}`, `"two"`},
		{"GetSecretValue", id + `,"VersionStage":"AWSPREVIOUS"}`, canary},
		{"DescribeSecret", id + `}`, `"Key":"k"`},
		{"ListSecretVersionIds", id + `}`, token},
		{"DeleteSecret", id + `,"ForceDeleteWithoutRecovery":true}`, "DeletionDate"},
	}
	for i, s := range steps {
		if over() && i > 0 && i < len(steps)-1 {
			continue
		}
		if err := do(s.operation, s.body, s.want); err != nil {
			return err
		}
	}
	return nil
}

// attack does one thing that no client should.
func attack(addr string, random *rand.Rand) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	good := post("DeleteSecret", signed, `{"SecretId":"witness","ForceDeleteWithoutRecovery":true}`)
	kill := func(body string) string { return post("DeleteSecret", signed, body) }
	raw := ""
	switch random.IntN(12) {
	case 0:
		raw = good[:random.IntN(len(good)-1)] // and then silence
	case 1:
		raw = good[:random.IntN(len(good)-1)]
		_, _ = io.WriteString(c, raw)
		return // and then gone
	case 2:
		raw = kill(`{"SecretId":"witness",` + strings.Repeat(`"x":{`, 10_000))
	case 3:
		raw = kill(strings.Repeat("[", 500_000))
	case 4:
		raw = kill(`{"SecretId":"witness","SecretId":"` + strings.Repeat("\xff", 1000) + `"}`)
	case 5:
		raw = strings.Replace(good, "Content-Length: ", "Content-Length: 9", 1)
	case 6:
		raw = strings.Replace(good, "POST / ", "POST /%2e%2e/ ", 1)
	case 7:
		raw = strings.Replace(good, signed, signed+"X: "+strings.Repeat("y", 100_000)+"\r\n", 1)
	case 8:
		raw = kill(strings.Repeat("x", 3<<20))
	case 9:
		b := make([]byte, 4096)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		raw = string(b)
	case 10:
		b := bytes.Clone([]byte(good))
		b[strings.Index(good, "\r\n\r\n")+4] = byte(random.IntN('{')) // no longer an object
		raw = string(b)
	case 11:
		raw = strings.Replace(good, "Credential=", "Credentials=", 1)
		_ = c.SetDeadline(time.Now().Add(50 * time.Millisecond)) // the answer is held back, and nobody waits for it
	}
	go func() { _, _ = io.WriteString(c, raw) }()
	_, _ = read(bufio.NewReader(c)) // or it is cut off
}
