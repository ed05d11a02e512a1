package server

import (
	"context"
	"maps"
	"reflect"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server/wire"
	"github.com/pawlhq/pawl/service"
)

type svc = *service.Service

// operations are what X-Amz-Target can name, case-sensitive.
var operations = table(
	under("secretsmanager",
		op("BatchGetSecretValue", svc.BatchGetSecretValue),
		op("CancelRotateSecret", svc.CancelRotateSecret),
		op("CreateSecret", svc.CreateSecret),
		op("DeleteResourcePolicy", svc.DeleteResourcePolicy),
		op("DeleteSecret", svc.DeleteSecret),
		op("DescribeSecret", svc.DescribeSecret),
		op("GetRandomPassword", svc.GetRandomPassword),
		op("GetResourcePolicy", svc.GetResourcePolicy),
		op("GetSecretValue", svc.GetSecretValue),
		op("ListSecretVersionIds", svc.ListSecretVersionIDs),
		op("ListSecrets", svc.ListSecrets),
		op("PutResourcePolicy", svc.PutResourcePolicy),
		op("PutSecretValue", svc.PutSecretValue),
		op("RemoveRegionsFromReplication", svc.RemoveRegionsFromReplication),
		op("ReplicateSecretToRegions", svc.ReplicateSecretToRegions),
		op("RestoreSecret", svc.RestoreSecret),
		op("RotateSecret", svc.RotateSecret),
		op("StopReplicationToReplica", svc.StopReplicationToReplica),
		op("TagResource", silent(svc.TagResource)),
		op("UntagResource", silent(svc.UntagResource)),
		op("UpdateSecret", svc.UpdateSecret),
		op("UpdateSecretVersionStage", svc.UpdateSecretVersionStage),
		op("ValidateResourcePolicy", svc.ValidateResourcePolicy),
	),
	under("pawl", // what AWS has no operation for
		op("ApplyReplica", svc.ApplyReplica),
		op("DescribeReplica", svc.DescribeReplica),
		op("ForgetReplica", svc.ForgetReplica),
		op("ListRotations", svc.ListRotations),
		op("PauseRotation", svc.PauseRotation),
		op("RemoveReplica", svc.RemoveReplica),
		op("ResumeRotation", svc.ResumeRotation),
		op("StartRotation", svc.StartRotation),
		op("TestRotation", svc.TestRotation),
	),
)

// An operation is one entry of the table.
type operation struct {
	name    string // GetSecretValue
	action  string // secretsmanager:GetSecretValue
	in, out reflect.Type
	keys    map[string][]memberKey // the condition keys that its requests have
	// run decodes the request, checks it, calls the service, which asks what the
	// caller may, and returns a pointer to the answer; nil for one without a body.
	run func(s *Server, e *exchange) (answer any, err error)
}

// op makes an operation of a method of the service.
func op[In, Out any](name string, do func(*service.Service, context.Context, In) (*Out, error)) *operation {
	o := &operation{name: name, in: reflect.TypeFor[In](), out: reflect.TypeFor[Out]()}
	o.keys = memberKeys(o.in)
	subject := subjectOf(o.in)
	o.run = func(s *Server, e *exchange) (any, error) {
		c := &call[In]{}
		sent, err := wire.Unmarshal(e.body, &c.in)
		if err != nil {
			return nil, err
		}
		v := reflect.ValueOf(&c.in).Elem()
		e.secret = loggable(subject(v))
		if sent != nil {
			// The operation checks too, but can't tell "" from nothing.
			if err := service.Check(c.in, sent); err != nil {
				return nil, err
			}
		}
		c.guard = guard{
			e: e, op: o, in: v, sent: sent, attached: &s.attached,
			at: service.Caller{Partition: secrets.PartitionOf(e.who.Region), Region: e.who.Region, Account: e.who.Account},
		}
		caller := c.guard.at
		caller.Guard = &c.guard
		c.service = *s.service.As(caller)
		out, err := do(&c.service, e.r.Context(), c.in)
		if err != nil {
			return nil, err
		}
		if o.out == reflect.TypeFor[none]() {
			return nil, nil
		}
		return out, nil
	}
	return o
}

// call is what one request to an operation needs, in one piece of memory.
type call[In any] struct {
	in      In
	guard   guard
	service service.Service
}

// none is the answer of operations that answer an empty body.
type none struct{}

// silent gives an operation without an answer the form of the others.
func silent[In any](do func(*service.Service, context.Context, In) error) func(*service.Service, context.Context, In) (*none, error) {
	return func(s *service.Service, ctx context.Context, in In) (*none, error) { return nil, do(s, ctx, in) }
}

// subjectOf returns what reads from a request of a type which secret it is about,
// as it was sent; "" where it is about none or several.
func subjectOf(in reflect.Type) (read func(reflect.Value) string) {
	for _, name := range []string{"SecretID", "SecretIDList", "SecretIDs", "Name"} {
		f, ok := in.FieldByName(name)
		switch {
		case !ok:
		case f.Type.Kind() == reflect.String:
			return func(v reflect.Value) string { return v.FieldByIndex(f.Index).String() }
		case f.Type == reflect.TypeFor[[]string]():
			return func(v reflect.Value) string {
				if ids := v.FieldByIndex(f.Index); ids.Len() == 1 {
					return ids.Index(0).String()
				}
				return ""
			}
		}
	}
	return func(reflect.Value) string { return "" }
}

// under puts operations under the prefix of their targets and actions.
func under(prefix string, ops ...*operation) map[string]*operation {
	m := map[string]*operation{}
	for _, o := range ops {
		o.action = prefix + ":" + o.name
		m[prefix+"."+o.name] = o
	}
	return m
}

func table(parts ...map[string]*operation) map[string]*operation {
	m := map[string]*operation{}
	for _, p := range parts {
		maps.Copy(m, p)
	}
	return m
}
