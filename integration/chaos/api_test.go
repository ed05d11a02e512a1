//go:build linux

package chaos_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server/wire"
)

// patience is how long a client waits for an answer.
const patience = 2 * time.Second

// api calls replicas as a load balancer's clients do: one of them at random, and
// another one where that does not answer.
type api struct {
	replicas []*replica
	key      aws.Credentials
	http     *http.Client
	avoid    []atomic.Int64 // until when, by replica
}

func newAPI(replicas []*replica, key aws.Credentials) *api {
	return &api{
		replicas: replicas, key: key, avoid: make([]atomic.Int64, len(replicas)),
		http: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
}

// choose picks a replica that has said that it serves, which may be long ago; one
// that did not answer only after a while again.
func (a *api) choose() *replica {
	for _, mind := range []bool{true, false} {
		for _, i := range rand.Perm(len(a.replicas)) {
			r := a.replicas[i]
			endpoint, _ := r.at()
			if endpoint != "" && (!mind || time.Now().UnixNano() > a.avoid[i].Load()) {
				return r
			}
		}
	}
	return a.replicas[0]
}

// avoidFor is how long a replica that did not answer is left alone.
const avoidFor = 700 * time.Millisecond

// answered is who answered a request and when.
type answered struct {
	process    int
	start, end time.Time
}

// call sends one request to one replica, once. Whatever its machine's clock shows, it
// takes the signature: it goes by the database's. Errors:
// Transient where there was no answer, or one that says nothing of what was asked.
func call[Out any](ctx context.Context, a *api, r *replica, operation string, in any) (*Out, answered, error) {
	endpoint, process := r.at()
	who := answered{process: process, start: time.Now()}
	out, err := send[Out](ctx, a, endpoint, operation, in)
	who.end = time.Now()
	if err != nil && secrets.CodeOf(err) == "" {
		a.avoid[r.n].Store(who.end.Add(avoidFor).UnixNano())
	}
	return out, who, err
}

func send[Out any](ctx context.Context, a *api, endpoint, operation string, in any) (*Out, error) {
	if endpoint == "" {
		return nil, secrets.Errorf(secrets.Transient, "it does not serve")
	}
	body, err := wire.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // the transport must not send it twice
	req.Header.Set("Content-Type", wire.ContentType)
	req.Header.Set(wire.TargetHeader, "secretsmanager."+operation)
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, a.key, req, hex.EncodeToString(sum[:]), "secretsmanager", config.DefaultRegion, time.Now()); err != nil {
		return nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, secrets.Errorf(secrets.Transient, "no answer: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, secrets.Errorf(secrets.Transient, "half an answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		fault := wire.ReadFault(resp.StatusCode, answer)
		if resp.StatusCode >= 500 {
			fault.Kind = secrets.Transient
		}
		return nil, fault
	}
	out := new(Out)
	_, err = wire.Unmarshal(answer, out)
	return out, err
}
