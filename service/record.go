package service

import "slices"

// Clone returns a copy that shares nothing with s that can be altered.
func (s *Secret) Clone() *Secret {
	out := *s
	out.Tags = slices.Clone(s.Tags)
	if s.Rotation != nil {
		r := *s.Rotation
		r.Rules.Hosts = slices.Clone(r.Rules.Hosts)
		out.Rotation = &r
	}
	if s.External != nil {
		e := *s.External
		e.Metadata = slices.Clone(e.Metadata)
		out.External = &e
	}
	out.Replicas = slices.Clone(s.Replicas)
	out.Versions = slices.Clone(s.Versions)
	for i := range out.Versions {
		out.Versions[i].Labels = slices.Clone(out.Versions[i].Labels)
	}
	return &out
}

// What a record takes in memory, beside what is as long as somebody made it.
const (
	recordWeight  = 1000
	VersionWeight = 150 // of a version, also of its value in a Sealed
)

// Weight is about how many bytes the record takes in memory.
func (s *Secret) Weight() int {
	n := recordWeight + len(s.ARN.Name) + len(s.Description) + len(s.Policy)
	for _, t := range s.Tags {
		n += 32 + len(t.Key) + len(t.Value)
	}
	for _, v := range s.Versions {
		n += VersionWeight + len(v.ID)
		for _, l := range v.Labels {
			n += 16 + len(l)
		}
	}
	if r := s.Rotation; r != nil {
		n += 600 + len(r.Attempt.LastError) + len(r.Rules.CheckQuery)
	}
	if s.External != nil {
		for _, m := range s.External.Metadata {
			n += 32 + len(m.Key) + len(m.Value)
		}
	}
	for _, r := range s.Replicas {
		n += 100 + len(r.Message)
	}
	return n
}
