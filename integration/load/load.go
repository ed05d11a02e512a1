// Package load is a client of HTTP/1.1 that costs next to nothing, for
// measurements where client and server share a machine: prepared requests, and
// of an answer only the status and the length are read.
package load

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Call makes the bytes of a request to Secrets Manager's protocol. It is signed
// by nobody: only a server in development mode takes it.
func Call(target, body string) []byte {
	return []byte("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: " + target +
		"\r\nX-Amz-Date: 20260301T120000Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260301/us-east-1/secretsmanager/aws4_request, " +
		"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=" + strings.Repeat("0", 64) +
		"\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}

// Conn is one connection.
type Conn struct {
	net.Conn
	in *bufio.Reader
}

// Dial opens a connection.
func Dial(addr string) (*Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Conn{c, bufio.NewReader(c)}, nil
}

// Do sends a request and waits for its answer, which must be a 200.
func (c *Conn) Do(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	var status []byte
	length := 0
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		if status == nil {
			status = bytes.Clone(line)
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if !bytes.Contains(status, []byte(" 200 ")) {
		body, _ := c.in.Peek(min(length, 300))
		return fmt.Errorf("answer: %s: %s", status, body)
	}
	_, err := c.in.Discard(length)
	return err
}

// Result is what a run measured.
type Result struct {
	Requests int
	Took     time.Duration
	times    []time.Duration // of every answer, sorted
}

// Rate is requests per second.
func (r Result) Rate() float64 { return float64(r.Requests) / r.Took.Seconds() }

// Quantile is the time within which the share q of the answers came.
func (r Result) Quantile(q float64) time.Duration {
	if len(r.times) == 0 {
		return 0
	}
	return r.times[min(len(r.times)-1, int(q*float64(len(r.times))))]
}

// Full has every connection send as soon as it has its last answer.
func Full(ctx context.Context, addr string, connections int, d time.Duration, request func(n int) []byte) (Result, error) {
	return run(ctx, addr, connections, d, 0, request)
}

// Paced has all connections together send rate requests per second, evenly. A
// time counts from when a request should have been sent: a server that stops
// for a while is charged for what it kept waiting.
func Paced(ctx context.Context, addr string, connections int, d time.Duration, rate float64, request func(n int) []byte) (Result, error) {
	return run(ctx, addr, connections, d, rate, request)
}

func run(ctx context.Context, addr string, connections int, d time.Duration, rate float64, request func(n int) []byte) (Result, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		group sync.WaitGroup
		next  atomic.Int64
		mu    sync.Mutex
		all   []time.Duration
	)
	begin := time.Now()
	end := begin.Add(d)
	for range connections {
		group.Go(func() {
			c, err := Dial(addr)
			if err != nil {
				stop(err)
				return
			}
			defer c.Close()
			var times []time.Duration
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				at := time.Now()
				if rate > 0 {
					at = begin.Add(time.Duration(float64(n) / rate * float64(time.Second)))
					time.Sleep(time.Until(at))
				}
				if at.After(end) {
					break
				}
				if err := c.Do(request(n)); err != nil {
					stop(fmt.Errorf("request %d: %w", n, err))
					return
				}
				times = append(times, time.Since(at))
			}
			mu.Lock()
			all = append(all, times...)
			mu.Unlock()
		})
	}
	group.Wait()
	took := time.Since(begin)
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	slices.Sort(all)
	return Result{len(all), took, all}, nil
}
