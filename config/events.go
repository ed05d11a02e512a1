package config

// events checks who is told of rotations. Lines are appended to the file, whatever
// is in it: it must be none of those that Pawl lives on.
func (c *checker) events(e eventsYAML, out *Config) Events {
	const key = "events.file"
	if e.File == nil {
		return Events{}
	}
	events := Events{File: c.path(key, e.File)}
	if events.File == "" {
		return events
	}
	taken := map[string]string{out.Path: "this configuration file"}
	if q := out.Store.SQLite; q != nil {
		taken[q.Path], taken[q.KeyFile] = "store.sqlite.path", "store.sqlite.key_file"
	}
	if t := out.Server.TLS; t != nil {
		taken[t.CertFile], taken[t.KeyFile], taken[t.ClientCAFile] = "server.tls.cert_file", "server.tls.key_file", "server.tls.client_ca_file"
	}
	if out.Functions != nil {
		for _, f := range out.Functions.Named {
			taken[f.KeyFile] = "the key_file of a function"
		}
	}
	if what := taken[events.File]; what != "" {
		c.add(key, "is the same file as %s; give the events a file of their own", what)
	}
	return events
}
