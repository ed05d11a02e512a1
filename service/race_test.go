package service_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// together runs do n times at once and returns the errors.
func together(n int, do func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	return errs
}

// One token makes one value, whoever is faster.
func TestATokenRacedFor(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	for round := range 5 {
		token := tok(fmt.Sprint("round", round))
		errs := together(8, func(i int) error {
			return second(h.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "s", ClientRequestToken: token, GivenValue: service.Give(secrets.Text(fmt.Sprint("value", i/2)))}))
		})
		out, err := h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s", VersionID: token})
		if err != nil {
			t.Fatal(err)
		}
		for i, err := range errs {
			same := out.Value.Equal(secrets.Text(fmt.Sprint("value", i/2)))
			if same != (err == nil) || err != nil && secrets.CodeOf(err) != "ResourceExistsException" {
				t.Errorf("put of the value that won: %v, error %v", same, err)
			}
		}
	}
}

func TestANameRacedFor(t *testing.T) {
	h := open(t, service.Config{})
	for round := range 5 {
		name := fmt.Sprint("s", round)
		errs := together(8, func(i int) error {
			return second(h.CreateSecret(t.Context(), service.CreateSecretInput{Name: name, ClientRequestToken: tok(fmt.Sprint("v", i)), GivenValue: service.Give(secrets.Text("x"))}))
		})
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
			} else {
				wantErr(t, err, "ResourceExistsException", "The operation failed because the secret "+name+" already exists.")
			}
		}
		if made != 1 {
			t.Errorf("%d were made", made)
		}
	}
}

func TestAClaimRacedFor(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	var mu sync.Mutex
	var held []*service.Claim
	errs := together(8, func(int) error {
		c, err := h.Claim(t.Context(), "s")
		if err == nil {
			mu.Lock()
			held = append(held, c)
			mu.Unlock()
		}
		return err
	})
	for _, err := range errs {
		if err != nil && secrets.KindOf(err) != secrets.Conflict {
			t.Error(err)
		}
	}
	if len(held) != 1 {
		t.Errorf("%d claims at once", len(held))
	}
	for _, c := range held {
		c.Release()
	}
}
