package config

import (
	"maps"
	"slices"

	"github.com/pawlhq/pawl/engines"
)

// regions checks the servers that have the replicas of other regions.
func (c *checker) regions(regions map[string]regionYAML, own string) map[string]Region {
	if len(regions) == 0 {
		return nil
	}
	out := make(map[string]Region, len(regions))
	for _, name := range slices.Sorted(maps.Keys(regions)) {
		key, r := child("regions", name), regions[name]
		if name == own {
			c.add(key, "is the region of this file's own secrets; replicas are in others, leave it out")
		}
		at := Region{Endpoint: value(r.Endpoint), CredentialsFile: c.path(key+".credentials_file", r.CredentialsFile)}
		if r.CAFile != nil {
			at.CAFile = c.path(key+".ca_file", r.CAFile)
			c.authorities(key+".ca_file", at.CAFile)
		}
		u, ok := webAddress(at.Endpoint)
		switch {
		case at.Endpoint == "":
			c.add(key+".endpoint", "is missing: where the region's own Pawl serves the API; write for example endpoint: https://secrets.%s.example.com:4566", name)
		case !ok || u.Path != "" && u.Path != "/":
			c.add(key+".endpoint", "must be the address of a Pawl server, such as https://secrets.%s.example.com:4566", name)
		case u.Scheme == "http" && !engines.Loopback(u.Hostname()):
			c.add(key+".endpoint", "must be https:// unless it is a loopback address: secrets go there in the clear")
		case u.Scheme == "http" && r.CAFile != nil:
			c.add(key+".ca_file", "is of no use with an http:// endpoint; leave it out")
		}
		out[name] = at
	}
	return out
}
