package scheduler

import "slices"

// resize sets the limits and starts what they let run. What runs beyond lower
// ones runs to its end.
func (p *pool) resize(workers, perTarget int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.workers, p.perTarget = workers, perTarget
	for p.accepting {
		j := p.take()
		if j == nil {
			return
		}
		p.start(j)
	}
}

// open begins to accept secrets, for run.
func (p *pool) open(run runner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run, p.accepting = run, true
}

// close accepts no more, drops what waits, and returns a channel that is closed
// when the last worker has ended.
func (p *pool) close() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepting = false
	for _, j := range p.queue {
		t := p.target(j.Target)
		t.queued--
		if j.probe {
			t.breaker.probe = false
		}
		delete(p.jobs, j.ARN)
	}
	p.queue = nil
	return p.idle()
}

// idle returns a channel that is closed when no worker is left. Call it with
// p.mu held.
func (p *pool) idle() <-chan struct{} {
	if p.drained == nil {
		p.drained = make(chan struct{})
	}
	done := p.drained
	if p.goroutines == 0 {
		close(p.drained)
		p.drained = nil
	}
	return done
}

// names lists the secrets that are being rotated, in alphabetical order.
func (p *pool) names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for arn, j := range p.jobs {
		if j.running {
			out = append(out, arn.Name)
		}
	}
	slices.Sort(out)
	return out
}
