package postgres

var children = map[string]func(args []string) error{}
