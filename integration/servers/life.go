package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Stop shuts the server down, politely at first, and removes its directory if
// Start made it. Stopping a stopped server does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.halt()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
		s.lock = nil
	}
	if s.ownDir {
		err = errors.Join(err, os.RemoveAll(s.Dir))
		s.ownDir = false
	}
	return err
}

// Kill ends the server and everything below it with SIGKILL, as a crash would.
// Its data stays: Restart recovers it.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return errStopped
	}
	s.proc.kill()
	s.proc = nil
	return nil
}

// Pause freezes the server and everything below it (SIGSTOP): connections
// stay, the kernel still accepts new ones, nobody answers.
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return errStopped
	}
	return s.proc.pause()
}

// Resume ends a Pause.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return errStopped
	}
	return s.proc.resume()
}

// Restart stops the server if it runs and starts it again with the same port
// and data, returning when the administrator has logged in.
func (s *Server) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return fmt.Errorf("restart %s: %w: it was stopped for good", s.Kind, errStopped)
	}
	if err := s.halt(); err != nil {
		return fmt.Errorf("restart %s: %w", s.Kind, err)
	}
	if err := s.launch(ctx, false); err != nil {
		return fmt.Errorf("restart %s: %w", s.Kind, err)
	}
	return nil
}

// halt ends the process: by its shutdown signal, and if that takes too long by
// SIGKILL. The caller holds s.mu.
func (s *Server) halt() error {
	if s.proc == nil {
		return nil
	}
	defer func() {
		s.proc.kill()
		s.proc = nil
	}()
	_ = s.proc.resume() // a frozen server cannot hear the signal
	if err := s.proc.cmd.Process.Signal(s.flavour.stop()); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.proc.done:
	case <-time.After(stopTimeout):
	}
	return nil
}
