package scheduler

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// memory is a service.Store in memory.
type memory struct {
	mu      sync.Mutex
	secrets map[secrets.ARN]*service.Secret
	order   []*service.Secret // those that are due some day, soonest first
	values  map[string][]byte
	locked  map[secrets.ARN]bool
	fail    func(op string) error // nil = nothing fails
	reads   int                   // secrets returned by Due
}

func newMemory() *memory {
	return &memory{secrets: map[secrets.ARN]*service.Secret{}, values: map[string][]byte{}, locked: map[secrets.ARN]bool{}}
}

func (m *memory) failing(op string) error {
	if m.fail != nil {
		return m.fail(op)
	}
	return nil
}

func (m *memory) failWith(f func(op string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

func copyOf(s *service.Secret) *service.Secret {
	c := *s
	c.Versions = slices.Clone(s.Versions)
	for i, v := range c.Versions {
		c.Versions[i].Labels = slices.Clone(v.Labels)
	}
	if s.Rotation != nil {
		r := *s.Rotation
		c.Rotation = &r
	}
	return &c
}

func (m *memory) put(s *service.Secret, values service.Sealed) {
	m.drop(s.ARN)
	s = copyOf(s)
	m.secrets[s.ARN] = s
	if !s.DueAt.IsZero() {
		i, _ := slices.BinarySearchFunc(m.order, service.DueAfterOf(s), comparePlace)
		m.order = slices.Insert(m.order, i, s)
	}
	for id, b := range values {
		m.values[s.ARN.String()+id] = b
	}
}

func (m *memory) drop(arn secrets.ARN) {
	if s := m.secrets[arn]; s != nil && !s.DueAt.IsZero() {
		i, _ := slices.BinarySearchFunc(m.order, service.DueAfterOf(s), comparePlace)
		m.order = slices.Delete(m.order, i, i+1)
	}
	delete(m.secrets, arn)
}

func comparePlace(s *service.Secret, place service.DueAfter) int {
	return cmp.Or(s.DueAt.Compare(place.At), strings.Compare(s.ARN.Name, place.ARN.Name))
}

func (m *memory) Create(_ context.Context, s *service.Secret, values service.Sealed) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(s, values)
	return nil
}

func (m *memory) Find(_ context.Context, id secrets.ID) (*service.Secret, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("find"); err != nil {
		return nil, err
	}
	if s, ok := m.secrets[id.ARN]; ok {
		return copyOf(s), nil
	}
	for arn, s := range m.secrets {
		if id.Matches(arn) {
			return copyOf(s), nil
		}
	}
	return nil, service.ErrNotFound
}

func (m *memory) Update(ctx context.Context, arn secrets.ARN, change func(*service.Secret) (service.Sealed, error)) (*service.Secret, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(ctx.Err(), m.failing("update")); err != nil {
		return nil, err
	}
	s, ok := m.secrets[arn]
	if !ok {
		return nil, service.ErrNotFound
	}
	s = copyOf(s)
	values, err := change(s)
	if err != nil {
		return nil, err
	}
	m.put(s, values)
	return s, nil
}

func (m *memory) Remove(_ context.Context, arn secrets.ARN) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(arn)
	return nil
}

func (m *memory) Value(_ context.Context, arn secrets.ARN, id string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.values[arn.String()+id]; ok {
		return b, nil
	}
	return nil, service.ErrNotFound
}

func (m *memory) List(_ context.Context, l service.Listing) ([]*service.Secret, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*service.Secret
	for _, s := range m.secrets {
		if s.ARN.Name > l.After.Name {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *service.Secret) int { return strings.Compare(a.ARN.Name, b.ARN.Name) })
	return copies(out, l.N), nil
}

func (m *memory) Places(context.Context) ([]service.Place, error) {
	return []service.Place{{Account: service.DefaultAccount, Region: service.DefaultRegion}}, nil
}

func (m *memory) Behind(context.Context, time.Time, int) ([]secrets.ARN, error) { return nil, nil }

func (m *memory) Backlog(ctx context.Context, before time.Time, most int) (n int, oldest time.Time, err error) {
	due, err := m.Due(ctx, before, service.DueAfter{}, most)
	if len(due) > 0 {
		oldest = due[0].DueAt
	}
	return len(due), oldest, err
}

func (m *memory) Due(_ context.Context, before time.Time, after service.DueAfter, n int) ([]*service.Secret, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("due"); err != nil {
		return nil, err
	}
	i, found := slices.BinarySearchFunc(m.order, after, comparePlace)
	if found {
		i++
	}
	out := m.order[i:]
	end := slices.IndexFunc(out[:min(n, len(out))], func(s *service.Secret) bool { return s.DueAt.After(before) })
	if end >= 0 {
		out = out[:end]
	}
	m.reads += min(n, len(out))
	return copies(out, n), nil
}

func copies(ss []*service.Secret, n int) (out []*service.Secret) {
	for _, s := range ss[:min(n, len(ss))] {
		out = append(out, copyOf(s))
	}
	return out
}

func (m *memory) Purgeable(_ context.Context, now time.Time, n int) (out []secrets.ARN, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for arn, s := range m.secrets {
		if !s.PurgeAt.IsZero() && !s.PurgeAt.After(now) && len(out) < n {
			out = append(out, arn)
		}
	}
	return out, nil
}

func (m *memory) Lock(_ context.Context, arn secrets.ARN) (service.Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked[arn] {
		return nil, secrets.Errorf(secrets.Conflict, "another process is rotating it")
	}
	m.locked[arn] = true
	return service.Unending(m, arn, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locked, arn)
	}), nil
}

func (m *memory) Close() error { return nil }
