package server

import (
	"net"
	"sync"
)

// limit lets at most n connections of l be open at a time. Others stay in the
// system's queue until one closes.
func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	slots  chan struct{}
	close  sync.Once
	closed chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slot{lazyConn: newLazyConn(c), free: func() { <-l.slots }}, nil
}

func (l *limited) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type slot struct {
	*lazyConn
	once sync.Once
	free func()
}

func (s *slot) Close() error {
	err := s.lazyConn.Close()
	s.once.Do(s.free)
	return err
}
