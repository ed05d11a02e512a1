package conformance

import "slices"

// operation is what the rules that are the same for many operations need to
// know of one.
type operation struct {
	name string
	// request returns a request that succeeds for a secret made by ready; nil
	// where the operation takes no SecretId.
	request func(p *Probe, s *Secret) M
	// ready makes such a secret; nil = any will do. The Probe is where to call.
	ready func(p *Probe) (*Probe, *Secret)
	// answer are the members of that answer; none = an empty body.
	answer []string
	// marked: also a secret marked for deletion answers.
	marked bool
	// reads: a replica answers too.
	reads bool
	// noID: takes no SecretId.
	noID bool
	// optionalID: SecretId may be left out.
	optionalID bool
}

// id returns a request for nothing but a secret.
func id(_ *Probe, s *Secret) M { return M{"SecretId": s.Name} }

// and returns id with more members.
func and(more M) func(*Probe, *Secret) M {
	return func(_ *Probe, s *Secret) M { return with(M{"SecretId": s.Name}, more) }
}

func anySecret(p *Probe) (*Probe, *Secret) { return p, p.Secret() }

// operations are all 23, in no particular order.
var operations = []operation{
	{name: "CreateSecret", noID: true, answer: []string{"ARN", "Name", "VersionId"},
		request: func(p *Probe, _ *Secret) M {
			return M{"Name": p.Name(), "ClientRequestToken": p.Token(), "SecretString": "x"}
		}},
	{name: "BatchGetSecretValue", noID: true, ready: anySecret, answer: []string{"Errors", "SecretValues"},
		request: func(_ *Probe, s *Secret) M { return M{"SecretIdList": L{s.Name, s.Name + "-no"}} }},
	{name: "ListSecrets", noID: true, ready: anySecret, answer: []string{"SecretList"},
		request: func(_ *Probe, s *Secret) M { return M{"Filters": L{M{"Key": "name", "Values": L{s.Name}}}} }},
	{name: "GetRandomPassword", noID: true, answer: []string{"RandomPassword"},
		request: func(*Probe, *Secret) M { return M{} }},
	{name: "GetSecretValue", request: id, reads: true,
		answer: []string{"ARN", "Name", "VersionId", "SecretString", "VersionStages", "CreatedDate"}},
	{name: "PutSecretValue", answer: []string{"ARN", "Name", "VersionId", "VersionStages"},
		request: func(p *Probe, s *Secret) M {
			return M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "SecretString": "x"}
		}},
	{name: "UpdateSecret", answer: []string{"ARN", "Name"},
		request: func(p *Probe, s *Secret) M {
			return M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "Description": "x"}
		}},
	{name: "UpdateSecretVersionStage", answer: []string{"ARN", "Name"},
		request: func(p *Probe, s *Secret) M {
			version := s.Version
			if version == "" {
				version = p.Token()
			}
			return M{"SecretId": s.Name, "VersionStage": "CUSTOM", "MoveToVersionId": version}
		}},
	{name: "DescribeSecret", request: id, marked: true, reads: true,
		answer: []string{"ARN", "Name", "CreatedDate", "LastChangedDate", "VersionIdsToStages"}},
	{name: "ListSecretVersionIds", request: id, marked: true, reads: true, answer: []string{"ARN", "Name", "Versions"}},
	{name: "DeleteSecret", request: id, answer: []string{"ARN", "Name", "DeletionDate"}},
	{name: "RestoreSecret", request: id, marked: true, answer: []string{"ARN", "Name"},
		ready: func(p *Probe) (*Probe, *Secret) { return p, p.Marked() }},
	{name: "RotateSecret", answer: []string{"ARN", "Name", "VersionId"},
		request: func(p *Probe, s *Secret) M {
			return M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "RotationLambdaARN": p.RotationFunction(),
				"RotationRules": M{"AutomaticallyAfterDays": 30}}
		}},
	{name: "CancelRotateSecret", request: id, answer: []string{"ARN", "Name", "VersionId"},
		ready: func(p *Probe) (*Probe, *Secret) { s, _ := p.Stuck(); return p, s }},
	{name: "TagResource", request: and(M{"Tags": L{M{"Key": "k", "Value": "v"}}})},
	{name: "UntagResource", request: and(M{"TagKeys": L{"k"}})},
	{name: "PutResourcePolicy", answer: []string{"ARN", "Name"},
		request: func(p *Probe, s *Secret) M { return M{"SecretId": s.Name, "ResourcePolicy": p.Policy()} }},
	{name: "GetResourcePolicy", request: id, reads: true, answer: []string{"ARN", "Name"}},
	{name: "DeleteResourcePolicy", request: id, answer: []string{"ARN", "Name"}},
	{name: "ValidateResourcePolicy", reads: true, optionalID: true, answer: []string{"PolicyValidationPassed", "ValidationErrors"},
		request: func(p *Probe, s *Secret) M { return M{"SecretId": s.Name, "ResourcePolicy": p.Policy()} }},
	{name: "ReplicateSecretToRegions", answer: []string{"ARN", "ReplicationStatus"},
		request: func(p *Probe, s *Secret) M {
			return M{"SecretId": s.Name, "AddReplicaRegions": L{M{"Region": p.InReplicaRegion().region}}}
		}},
	{name: "RemoveRegionsFromReplication", answer: []string{"ARN", "ReplicationStatus"},
		ready: func(p *Probe) (*Probe, *Secret) { s, _ := p.Replicated(); return p, s },
		request: func(p *Probe, s *Secret) M {
			return M{"SecretId": s.Name, "RemoveReplicaRegions": L{p.InReplicaRegion().region}}
		}},
	{name: "StopReplicationToReplica", request: id, answer: []string{"ARN"},
		ready: func(p *Probe) (*Probe, *Secret) { s, q := p.Replicated(); return q, s }},
}

func operationNamed(name string) operation {
	return operations[slices.IndexFunc(operations, func(o operation) bool { return o.name == name })]
}

// prepared returns where to call, and the secret to call for.
func (o operation) prepared(p *Probe) (*Probe, *Secret) {
	switch {
	case o.ready != nil:
		return o.ready(p)
	case o.noID:
		return p, nil
	}
	return anySecret(p)
}
