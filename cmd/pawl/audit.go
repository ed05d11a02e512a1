package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/events"
)

// audit tells the file that the configuration names what becomes of rotations.
// The file may become another one when the configuration is read again.
type audit struct {
	log *slog.Logger

	mu   sync.RWMutex
	path string
	file *events.File // nil = none
}

// open makes the configuration's file the one that is told; where that can't be
// opened the one there was stays. Errors are Invalid.
func (a *audit) open(cfg *config.Config) error {
	path := cfg.Events.File
	a.mu.Lock()
	defer a.mu.Unlock()
	if path == a.path {
		return nil
	}
	var file *events.File
	if path != "" {
		var err error
		if file, err = events.OpenFile(path, a.log); err != nil {
			return err
		}
	}
	a.closeFile()
	a.path, a.file = path, file
	return nil
}

// Hear implements events.Listener.
func (a *audit) Hear(ctx context.Context, e events.Event) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.file != nil {
		a.file.Hear(ctx, e)
	}
}

// Close closes the file. Whatever is heard afterwards is dropped.
func (a *audit) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closeFile()
	a.path, a.file = "", nil
}

func (a *audit) closeFile() {
	if a.file == nil {
		return
	}
	if err := a.file.Close(); err != nil {
		a.log.Error("closing the events' file", "file", a.path, "error", err)
	}
}
