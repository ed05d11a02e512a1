package conformance

import (
	"fmt"
	"time"
)

const replicate = "AWS user guide, Replicate secrets across Regions"

// Replicated makes a secret with a replica that is in sync, and returns the
// Probe for the replica's region.
func (p *Probe) Replicated(members ...M) (*Secret, *Probe) {
	q := p.InReplicaRegion()
	s := p.Secret(append(members, M{"AddReplicaRegions": L{M{"Region": q.region}}})...)
	q.Named(s.Name)
	p.replicaIs(s, q.region, "InSync")
	return s, q
}

// replicaIs waits for a replica's status and returns its entry.
func (p *Probe) replicaIs(s *Secret, region, status string) *Answer {
	var found *Answer
	p.Eventually(func() string {
		d := p.Describe(s)
		for _, r := range d.list("ReplicationStatus") {
			if r["Region"] == region && r["Status"] == status {
				found = d.sub(r)
				return ""
			}
		}
		return d.String()
	})
	return found
}

// follows waits until a replica answers what it should.
func (p *Probe) follows(check func() bool, what string) {
	p.Eventually(func() string {
		if !check() {
			return "the replica does not follow: " + what
		}
		return ""
	})
}

var replicationRules = append(append(on("ReplicateSecretToRegions",
	rule{"answers ARN and the status of each replica", api("ReplicateSecretToRegions"), func(p *Probe) {
		s, region := p.Secret(), p.InReplicaRegion().region
		a := p.OK("ReplicateSecretToRegions", M{"SecretId": s.Name, "AddReplicaRegions": L{M{"Region": region}}}).Is("ARN", s.ARN)
		l := a.list("ReplicationStatus")
		if len(l) != 1 || l[0]["Region"] != region || l[0]["Status"] != "InProgress" && l[0]["Status"] != "InSync" {
			p.Fail("%s", a)
		}
	}},
	rule{"makes a replica with the same name and suffix", replicate, func(p *Probe) {
		s, q := p.Replicated()
		q.Describe(s).Is("ARN", arnIn(s.ARN, q.region)).Is("Name", s.Name)
	}},
	rule{"names the primary's region at both ends", api("DescribeSecret"), func(p *Probe) {
		s, q := p.Replicated()
		p.Describe(s).Is("PrimaryRegion", p.region)
		q.Describe(s).Is("PrimaryRegion", p.region)
	}},
	rule{"copies value and version id", replicate, func(p *Probe) {
		s, q := p.Replicated()
		q.Get(s).Is("SecretString", "first").Is("VersionId", s.Version).Labels("VersionStages", "AWSCURRENT")
	}},
	rule{"copies description, tags and policy", replicate, func(p *Probe) {
		s, q := p.Replicated(M{"Description": "d", "Tags": L{M{"Key": "k", "Value": "v"}}})
		q.Describe(s).Is("Description", "d").tagged(map[string]string{"k": "v"})
		p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": p.Policy()})
		q.follows(func() bool { return q.OK("GetResourcePolicy", id(p, s)).Members["ResourcePolicy"] == p.Policy() }, "policy")
	}},
	rule{"a replica follows new values and their labels", replicate, func(p *Probe) {
		s, q := p.Replicated()
		v2 := p.Put(s, "second", "AWSCURRENT", "CUSTOM")
		q.follows(func() bool { return q.Get(s).Members["SecretString"] == "second" }, "value")
		q.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", v2: "AWSCURRENT CUSTOM"})
	}},
	rule{"a replica follows labels that move", replicate, func(p *Probe) {
		s, q := p.Replicated()
		v2 := p.Put(s, "second")
		p.moved(s, "AWSCURRENT", v2, s.Version)
		q.follows(func() bool { return q.Get(s).Members["VersionId"] == s.Version }, "labels")
	}},
	rule{"a replica follows description and tags", replicate, func(p *Probe) {
		s, q := p.Replicated()
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "Description": "new"})
		p.OK("TagResource", M{"SecretId": s.Name, "Tags": L{M{"Key": "k", "Value": "v"}}})
		q.follows(func() bool {
			d := q.Describe(s)
			return d.Members["Description"] == "new" && len(d.list("Tags")) == 1
		}, "description and tags")
	}},
	rule{"has a key of its own in each region", api("ReplicaRegionType"), func(p *Probe) {
		q := p.InReplicaRegion()
		s := p.Secret(M{"AddReplicaRegions": L{M{"Region": q.region, "KmsKeyId": "alias/aws/secretsmanager"}}})
		p.replicaIs(s, q.region, "InSync").Is("KmsKeyId", "alias/aws/secretsmanager")
		p.Describe(s).Absent("KmsKeyId")
	}},
	rule{"adds a replica to a secret without a value", replicate, func(p *Probe) {
		s, q := p.Replicated(M{"SecretString": nil})
		q.Describe(s).Absent("VersionIdsToStages")
	}},
	rule{"succeeds where the replica's name is taken, and reports the failure", api("ReplicateSecretToRegions"), func(p *Probe) {
		q := p.InReplicaRegion()
		s := p.Secret()
		q.Secret(M{"Name": q.Named(s.Name)})
		p.OK("ReplicateSecretToRegions", M{"SecretId": s.Name, "AddReplicaRegions": L{M{"Region": q.region}}})
		p.replicaIs(s, q.region, "Failed").Str("StatusMessage")
	}},
	rule{"says which name is taken", "another emulator's text", func(p *Probe) {
		q := p.InReplicaRegion()
		s := p.Secret()
		q.Secret(M{"Name": q.Named(s.Name)})
		p.OK("ReplicateSecretToRegions", M{"SecretId": s.Name, "AddReplicaRegions": L{M{"Region": q.region}}})
		p.replicaIs(s, q.region, "Failed").Is("StatusMessage",
			fmt.Sprintf("Replication failed: Secret name %s already exists in region %s.", s.Name, q.region))
	}},
	rule{"replaces a secret of the same name with ForceOverwriteReplicaSecret", api("ReplicateSecretToRegions"), func(p *Probe) {
		q := p.InReplicaRegion()
		s := p.Secret()
		q.Secret(M{"Name": q.Named(s.Name), "SecretString": "in the way"})
		p.OK("ReplicateSecretToRegions", M{"SecretId": s.Name, "AddReplicaRegions": L{M{"Region": q.region}}, "ForceOverwriteReplicaSecret": true})
		p.replicaIs(s, q.region, "InSync")
		q.Get(s).Is("SecretString", "first")
	}},
	rule{"tries a failed region again when asked again", replicate, func(p *Probe) {
		q := p.InReplicaRegion()
		s := p.Secret()
		q.Secret(M{"Name": q.Named(s.Name)})
		in := M{"SecretId": s.Name, "AddReplicaRegions": L{M{"Region": q.region}}}
		p.OK("ReplicateSecretToRegions", in)
		p.replicaIs(s, q.region, "Failed")
		q.OK("DeleteSecret", M{"SecretId": s.Name, "ForceDeleteWithoutRecovery": true})
		p.Eventually(func() string {
			p.OK("ReplicateSecretToRegions", in)
			if d := p.Describe(s); d.list("ReplicationStatus")[0]["Status"] != "InSync" {
				return d.String()
			}
			return ""
		})
	}},
	rule{"refuses its own region as a replica's", preflight, func(p *Probe) {
		p.Refused("ReplicateSecretToRegions", M{"SecretId": p.Secret().Name, "AddReplicaRegions": L{M{"Region": p.region}}},
			"InvalidParameterException", "Invalid replica region.")
	}},
	rule{"refuses a region that does not exist", preflight, func(p *Probe) {
		p.Refused("ReplicateSecretToRegions", M{"SecretId": p.Secret().Name, "AddReplicaRegions": L{M{"Region": "xx-nowhere-9"}}},
			"InvalidParameterException", "Invalid replica region.")
	}},
	rule{"shows when a replica was last read", api("ReplicationStatusType"), func(p *Probe) {
		s, q := p.Replicated()
		q.Get(s)
		p.Eventually(func() string {
			r := p.replicaIs(s, q.region, "InSync")
			if _, ok := r.Members["LastAccessedDate"]; !ok {
				return "no LastAccessedDate"
			}
			if at := r.Time("LastAccessedDate"); !at.Equal(at.Truncate(24 * time.Hour)) {
				return at.String()
			}
			return ""
		})
	}},
), on("RemoveRegionsFromReplication",
	rule{"ends the replicas of those regions at once", api("RemoveRegionsFromReplication"), func(p *Probe) {
		s, q := p.Replicated()
		p.OK("RemoveRegionsFromReplication", M{"SecretId": s.Name, "RemoveReplicaRegions": L{q.region}}).Is("ARN", s.ARN)
		q.Eventually(func() string {
			if a := q.Call("DescribeSecret", id(q, s)); a.Code() != "ResourceNotFoundException" {
				return a.String()
			}
			return ""
		})
	}},
	rule{"leaves nothing of replication on a primary without replicas", api("DescribeSecret"), func(p *Probe) {
		s, q := p.Replicated()
		p.OK("RemoveRegionsFromReplication", M{"SecretId": s.Name, "RemoveReplicaRegions": L{q.region}})
		p.Eventually(func() string {
			d := p.Describe(s)
			if d.Members["PrimaryRegion"] != nil || d.Members["ReplicationStatus"] != nil {
				return d.String()
			}
			return ""
		})
		p.Get(s)
	}},
	rule{"ignores regions without a replica", "another emulator's behaviour", func(p *Probe) {
		s, q := p.Replicated()
		a := p.OK("RemoveRegionsFromReplication", M{"SecretId": s.Name, "RemoveReplicaRegions": L{"af-south-1"}})
		if l := a.list("ReplicationStatus"); len(l) != 1 || l[0]["Region"] != q.region {
			p.Fail("%s", a)
		}
	}},
	rule{"lets the secret be deleted", terraformRelies, func(p *Probe) {
		s, q := p.Replicated()
		p.OK("RemoveRegionsFromReplication", M{"SecretId": s.Name, "RemoveReplicaRegions": L{q.region}})
		p.Eventually(func() string {
			if a := p.Call("DeleteSecret", id(p, s)); a.Status != 200 {
				return a.String()
			}
			return ""
		})
	}},
)...), on("StopReplicationToReplica",
	rule{"makes the replica a secret of its own with the same ARN", api("StopReplicationToReplica"), func(p *Probe) {
		s, q := p.Replicated()
		arn := arnIn(s.ARN, q.region)
		q.OK("StopReplicationToReplica", id(q, s)).Exactly("ARN").Is("ARN", arn)
		q.Describe(s).Is("ARN", arn).Absent("PrimaryRegion", "ReplicationStatus")
		q.Put(s, "of its own")
		q.Get(s).Is("SecretString", "of its own")
		p.Get(s).Is("SecretString", "first")
	}},
	rule{"has the primary forget the replica", api("StopReplicationToReplica"), func(p *Probe) {
		s, q := p.Replicated()
		q.OK("StopReplicationToReplica", id(q, s))
		p.Eventually(func() string {
			if d := p.Describe(s); d.Members["ReplicationStatus"] != nil || d.Members["PrimaryRegion"] != nil {
				return d.String()
			}
			return ""
		})
	}},
	rule{"refuses a secret that is no replica", inferred, func(p *Probe) {
		p.Refused("StopReplicationToReplica", id(p, p.Secret()), "", "")
	}},
	rule{"keeps value, labels and tags", api("StopReplicationToReplica"), func(p *Probe) {
		s, q := p.Replicated(M{"Tags": L{M{"Key": "k", "Value": "v"}}})
		q.OK("StopReplicationToReplica", id(q, s))
		q.Stages(s, map[string]string{s.Version: "AWSCURRENT"})
		q.Describe(s).tagged(map[string]string{"k": "v"})
		q.Get(s).Is("SecretString", "first")
	}},
)...)
