package aws

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/pawlhq/pawl/secrets"
)

const (
	// maxNamed is how many names are asked for by name. Ten go into one call, as
	// a hundred secrets of a whole listing do.
	maxNamed, namesACall = 100, 10
	// askers is how many secrets are asked about at a time.
	askers = 4
	// tryAgain is how soon what failed is asked again.
	tryAgain = 10 * time.Second
)

// queries returns the filters of the listings that together have every secret of
// this process's: those named, and those whose tags ask. One listing without a
// filter has all, where there are many names.
func (s *Store) queries(named []string) [][]types.Filter {
	byName := func(names []string) []types.Filter {
		return []types.Filter{{Key: types.FilterNameStringTypeName, Values: names}}
	}
	if len(named) > maxNamed {
		return [][]types.Filter{nil}
	}
	// A ! before a value turns a filter round. A name that begins so passes even
	// then: it does not begin with what follows.
	var out [][]types.Filter
	for names := range slices.Chunk(named, namesACall) {
		out = append(out, byName(names))
	}
	if s.settings().Discover {
		out = append(out, []types.Filter{{Key: types.FilterNameStringTypeTagKey, Values: []string{TagStrategy, TagSchedule}}})
	}
	return out
}

// list calls yield with every secret that passes the filters.
func (s *Store) list(ctx context.Context, filters []types.Filter, yield func(*record)) error {
	in := &secretsmanager.ListSecretsInput{Filters: filters, MaxResults: aws.Int32(100)}
	for {
		out, err := s.api.list(ctx, in)
		if err != nil {
			return err
		}
		for _, e := range out.SecretList {
			r, err := listed(e)
			if err != nil { // no endpoint but a broken one
				s.log.Debug("AWS lists what is no secret", "error", err)
				continue
			}
			s.kept.lay(r)
			yield(r)
		}
		switch next := aws.ToString(out.NextToken); {
		case next == "":
			return nil
		case next == aws.ToString(in.NextToken):
			return s.circles(opList)
		}
		in.NextToken = out.NextToken
	}
}

// circles is the error of an endpoint whose pages have no end. At AWS there is none
// that does so; but each page would be paid for.
func (s *Store) circles(operation string) error {
	e := secrets.Errorf(secrets.Invalid, "%s: the page after the last one is that one again", operation).
		WithHint("is it AWS Secrets Manager that answers at this address?")
	return secrets.At(e, "", "", s.api.server)
}

// versions asks which versions of a secret have labels, and when they were made.
func (s *Store) versions(ctx context.Context, arn secrets.ARN) (secrets.Versions, error) {
	in := &secretsmanager.ListSecretVersionIdsInput{SecretId: aws.String(arn.String())}
	stages, made := map[string][]string{}, map[string]time.Time{}
	for {
		out, err := s.api.versions(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, v := range out.Versions {
			if len(v.VersionStages) > 0 {
				stages[aws.ToString(v.VersionId)], made[aws.ToString(v.VersionId)] = v.VersionStages, date(v.CreatedDate)
			}
		}
		next := aws.ToString(out.NextToken)
		if next == "" {
			break
		}
		if next == aws.ToString(in.NextToken) {
			return nil, s.circles(opVersions)
		}
		in.NextToken = out.NextToken
	}
	vs := versionsOf(stages)
	for i := range vs {
		vs[i].Created = made[vs[i].ID]
	}
	return vs, nil
}

// relist asks AWS what there is, and makes the listing so. The caller has
// listing.busy.
func (s *Store) relist(ctx context.Context) error {
	l := &s.listing
	began := s.now()
	l.mu.Lock()
	l.outdated = false // what changes from here on is not in the listing for certain
	named := map[string]bool{}
	for name := range *l.declared.Load() {
		named[name] = true
	}
	for _, e := range l.entries {
		if e.begun() { // to be finished, also when nobody declares it any more
			named[e.ARN.Name] = true
		}
	}
	l.mu.Unlock()
	found := map[string]*record{}
	for _, filters := range s.queries(slices.Sorted(maps.Keys(named))) {
		err := s.list(ctx, filters, func(r *record) {
			if s.mine(r) {
				found[r.ARN.String()] = r
			}
		})
		if err != nil {
			s.notListed(ctx, err)
			return err
		}
	}
	s.adopt(found, began)
	return nil
}

// adopt makes the listing what AWS has answered, but for what a claim has told
// so late that the answer may not have it.
func (s *Store) adopt(found map[string]*record, began time.Time) {
	l := &s.listing
	now := s.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, e := range l.entries {
		late := !e.learnt.IsZero() && began.Before(e.learnt.Add(listingLag))
		switch r := found[key]; {
		case late:
		case r == nil:
			delete(l.entries, key)
			continue
		default:
			r.datedBy(e.Versions)
			e.record, e.gone = r, false
		}
		s.ponder(e, now)
	}
	for key, r := range found {
		if l.entries[key] == nil {
			e := &entry{record: r, first: now}
			l.entries[key] = e
			s.ponder(e, now)
		}
	}
	missing := map[string]bool{}
	for name := range *l.declared.Load() {
		missing[name] = true
	}
	for _, e := range l.entries {
		delete(missing, e.ARN.Name)
	}
	l.missing = slices.Sorted(maps.Keys(missing))
	l.listed, l.failed, l.failure = began, time.Time{}, nil
	if !l.complaint.IsZero() {
		l.complaint = time.Time{}
		s.log.Info("AWS lists the secrets again")
	}
	l.sort()
}

// notListed remembers that AWS could not be asked, and logs it once a minute.
func (s *Store) notListed(ctx context.Context, err error) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return // the caller gave up
	}
	l := &s.listing
	now := s.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed, l.failure = now, err
	if now.Sub(l.complaint) >= time.Minute {
		l.complaint = now
		s.log.Error("AWS can't be asked which secrets there are", "error", err)
	}
}

// date asks AWS when the versions of these secrets were made. Those that may be
// due, and of which it can't be told, are held back for a while. Errors: ctx's.
func (s *Store) date(ctx context.Context, es []*entry) error {
	var (
		wg    sync.WaitGroup
		next  = make(chan *entry)
		mu    sync.Mutex
		last  error
		fails int
	)
	for range min(askers, len(es)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for e := range next {
				if err := s.dateOne(ctx, e); err != nil {
					mu.Lock()
					fails, last = fails+1, err
					mu.Unlock()
				}
			}
		}()
	}
	for _, e := range es {
		if ctx.Err() != nil {
			break
		}
		next <- e
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if fails > 0 {
		s.log.Error("AWS does not say when versions of secrets were made, so nobody knows whether these are due", "secrets", fails, "error", last)
	}
	return nil
}

func (s *Store) dateOne(ctx context.Context, e *entry) error {
	l := &s.listing
	l.mu.Lock()
	arn, asked := e.ARN, e.record
	l.mu.Unlock()
	versions, err := s.versions(ctx, arn)
	if ctx.Err() != nil {
		return err
	}
	now := s.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if secrets.CodeOf(err) == resourceNotFound {
		l.remove(e)
		return nil
	}
	if err != nil {
		l.place(e, func() {
			e.undatable = err
			if e.undated {
				e.hold(secrets.KindOf(err), now)
			}
			s.ponder(e, now)
		})
		return err
	}
	l.place(e, func() {
		fresh := *e.record
		if versions.IDWith(secrets.Current) != "" && e.record == asked && e.learnt.IsZero() {
			fresh.Versions = versions // the labels are newer than the listing's, too
		} else {
			fresh.Versions = slices.Clone(fresh.Versions)
			fresh.datedBy(versions)
		}
		e.record, e.undatable, e.held = &fresh, nil, time.Time{}
		s.ponder(e, now)
		if e.undated && !e.at.After(now) { // AWS does not show yet what is there
			e.hold(secrets.Transient, now)
			s.ponder(e, now)
		} else {
			e.fails = 0
		}
	})
	return nil
}
