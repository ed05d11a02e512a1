package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// FillGroup is how many of Fill's secrets share the part of the name before the
// slash.
const FillGroup = 50

// FillARN is the ARN of the i-th secret that Fill makes, in the account and
// region that a Service has by default.
func FillARN(i int) secrets.ARN {
	return secrets.ARN{
		Partition: "aws", Region: service.DefaultRegion, Account: service.DefaultAccount,
		Name: fmt.Sprintf("team-%04d/db-%06d", i/FillGroup, i), Suffix: fmt.Sprintf("%06d", i%1000000),
	}
}

// FillCurrent is the version that is AWSCURRENT of each secret that Fill makes.
var FillCurrent = versionID(2)

// Fill makes n secrets for a measurement, as fast as writers that share
// transactions can: with tags, a version before the current one and, every
// second one, a rotation. No order of a listing is the order of another. seal
// makes the encrypted values; nil makes some that nothing opens.
func Fill(ctx context.Context, s service.Store, n int, seal func(arn secrets.ARN, versionID string) ([]byte, error)) error {
	if seal == nil {
		seal = func(secrets.ARN, string) ([]byte, error) { return make([]byte, 500), nil }
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= n {
					return
				}
				if err := fill(ctx, s, i, n, seal); err != nil {
					stop(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func fill(ctx context.Context, s service.Store, i, n int, seal func(secrets.ARN, string) ([]byte, error)) error {
	// deal makes an order as if the secrets were dealt out to so many people.
	deal := func(people int) time.Time {
		return noon.Add(-time.Duration(i%people*n+i/people) * time.Millisecond)
	}
	sec := &service.Secret{
		ARN: FillARN(i), Description: fmt.Sprintf("The database of service %d", i),
		Tags:    []service.Tag{{Key: "team", Value: fmt.Sprint(i / FillGroup)}, {Key: "stage", Value: "production"}},
		Created: deal(53), Changed: deal(37), ValueChanged: deal(37),
		Versions: secrets.Versions{version(1, secrets.Previous), version(2, secrets.Current)},
	}
	if i%3 != 0 {
		sec.Accessed = noon.Truncate(24*time.Hour).AddDate(0, 0, -i%101)
	}
	if i%2 == 0 {
		sec.DueAt = noon.Add(time.Duration(i) * time.Second)
		sec.Rotation = &secrets.Rotation{
			Enabled: true, Source: "api", LastRotated: sec.ValueChanged,
			Rules: secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: "rate(30 days)"},
		}
	}
	values := service.Sealed{}
	for _, v := range sec.Versions {
		b, err := seal(sec.ARN, v.ID)
		if err != nil {
			return err
		}
		values[v.ID] = b
	}
	return s.Create(ctx, sec, values)
}
