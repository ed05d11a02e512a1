//go:build !chaos

package main

import "github.com/jonboulle/clockwork"

// wallClock is the clock of all that is given one here.
func wallClock() clockwork.Clock { return clockwork.NewRealClock() }
