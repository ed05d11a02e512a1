package service

import (
	"sync/atomic"

	"github.com/pawlhq/pawl/secrets"
)

// attached is the daemon that a Service tells of what was asked for.
type attached struct{ p atomic.Pointer[Daemon] }

// Attach tells the Service, and those of all other callers, who rotates what
// RotateSecret asks for; nil for nobody.
func (s *Service) Attach(d Daemon) {
	if d == nil {
		s.daemon.p.Store(nil)
		return
	}
	s.daemon.p.Store(&d)
}

func (a *attached) get() (Daemon, bool) {
	if p := a.p.Load(); p != nil {
		return *p, true
	}
	return nil, false
}

// tell has a rotation that was asked for begun, or its checks.
func (s *Service) tell(arn secrets.ARN, rotate bool) {
	switch d, ok := s.daemon.get(); {
	case !ok:
	case rotate:
		d.Wake()
	default:
		d.Test(arn)
	}
}
