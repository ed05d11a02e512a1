package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Regions are the regions whose replicas, and primaries, are on other servers.
type Regions interface {
	// Server returns the server of a region; nil for one that is in this store.
	// It returns the same one until something about it has changed.
	Server(region string) Server
	// Heard is told when a server is found not to answer, with why, and when it
	// does again: nil. It is for the log, and must be quick.
	Heard(region string, why error)
}

// Bounds of what is done at another server.
const (
	remoteCall    = 10 * time.Second // one request, and what it is tried again for
	remoteReplica = 2 * time.Minute  // one replica, of however many requests
	remoteBatch   = 400 << 10        // of values in one request, as they are written there
	remoteRounds  = 4                // how often a replica may turn out to need other values
)

// serverOf returns the server that has the replicas of a region; nil where this
// store has them.
func (s *core) serverOf(region string) Server {
	if s.config.Regions == nil {
		return nil
	}
	return s.config.Regions.Server(region)
}

// otherServer is a region on another server.
//
// Its errors beside hopeless are an *away where the server, and not the replica,
// is the matter: then everything for that region waits until it answers again.
type otherServer struct {
	s     *Service
	name  string
	there Server
}

// apply sends the record without values first, which is all that most changes
// need, and then the values that the replica turns out to lack.
func (o otherServer) apply(ctx context.Context, of snapshot) error {
	if err := checkKey(of.primary.Name, of.key, of.region); err != nil {
		return withoutKey(err)
	}
	ctx, cancel := context.WithTimeout(ctx, remoteReplica)
	defer cancel()
	whole := of.request()
	missing, err := o.send(ctx, whole)
	for range remoteRounds {
		if err != nil || len(missing) == 0 {
			return err
		}
		if missing, err = o.sendValues(ctx, of, whole, missing); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return secrets.Errorf(secrets.Transient, "the replica in %s changes all the time", o.name)
}

// sendValues sends the values of versions, in as many requests as they take, the
// last of which is whole. What is missing then has become so meanwhile.
func (o otherServer) sendValues(ctx context.Context, of snapshot, whole ApplyReplicaInput, ids []string) (missing []string, err error) {
	var batch []ReplicaVersion
	size := 0
	for _, v := range whole.Versions {
		if !slices.Contains(ids, v.VersionID) {
			continue
		}
		value, err := of.value(ctx, v.VersionID)
		if err != nil {
			return nil, withoutKey(err)
		}
		n := written(value)
		if size += n; size > remoteBatch && len(batch) > 0 {
			part := whole
			part.Part, part.Versions = true, batch
			// What is missing of a part will be missing of the whole.
			if _, err := o.send(ctx, part); err != nil {
				return nil, err
			}
			batch, size = nil, n
		}
		v.VersionStages, v.GivenValue = nil, Give(value)
		batch = append(batch, v)
	}
	whole.Versions = slices.Clone(whole.Versions)
	for i := range whole.Versions {
		v := &whole.Versions[i]
		if j := slices.IndexFunc(batch, func(b ReplicaVersion) bool { return b.VersionID == v.VersionID }); j >= 0 {
			v.GivenValue = batch[j].GivenValue
		}
	}
	return o.send(ctx, whole)
}

// written is how many bytes a value takes in a request, at most.
func written(v secrets.Value) (n int) {
	if v.IsBinary() {
		return v.Len()*4/3 + 8
	}
	v.Use(func(data []byte) {
		for _, c := range data {
			switch {
			case c < ' ':
				n += 6
			case c == '"' || c == '\\':
				n += 2
			default:
				n++
			}
		}
	})
	return n
}

// request is what the replica should be, without values.
func (of snapshot) request() ApplyReplicaInput {
	in := ApplyReplicaInput{
		SecretID: of.replica().String(), PrimaryRegion: of.primary.Region, Revision: of.revision, KmsKeyID: of.key, Force: of.force,
		Description: of.Description, ResourcePolicy: of.Policy, Type: of.Type, OwningService: of.OwningService, Tags: of.Tags,
		LastChangedDate: of.changed, ValueChangedDate: of.valueChanged,
	}
	for _, v := range of.Versions {
		in.Versions = append(in.Versions, ReplicaVersion{VersionID: v.ID, VersionStages: v.Labels, CreatedDate: v.Created, Empty: v.Empty})
	}
	return in
}

func (o otherServer) send(ctx context.Context, in ApplyReplicaInput) (missing []string, err error) {
	err = o.do(ctx, in.SecretID, func(ctx context.Context) error {
		out, err := o.there.ApplyReplica(ctx, in)
		switch {
		case err != nil:
			return err
		case out.Failed != "":
			return hopeless(out.Failed)
		case out.Revision > in.Revision:
			// Where another process has gone on meanwhile, so has the primary, and this is
			// not written down. Else the primary went back.
			return hopeless(fmt.Sprintf("Replication failed: The replica in region %s is of a later state than this secret, as after the restore of an older backup. "+
				"It was left as it is, since it may have values that are lost here: promote it there.", o.name))
		}
		missing = out.Missing
		return nil
	})
	return missing, err
}

func (o otherServer) remove(ctx context.Context, l link) error {
	in := RemoveReplicaInput{SecretID: l.replica().String(), PrimaryRegion: l.primary.Region, Revision: l.revision}
	return o.do(ctx, in.SecretID, func(ctx context.Context) error {
		_, err := o.there.RemoveReplica(ctx, in)
		return err
	})
}

// release has nothing to do: who makes a replica on another server a secret of
// its own has done so there already when its primary hears of it.
func (o otherServer) release(context.Context, link) error { return nil }

// accessed is not known: a reading there is not asked for with each look here.
func (o otherServer) accessed(context.Context, link) time.Time { return time.Time{} }

// do sends one request, if the server is not away.
func (o otherServer) do(ctx context.Context, replica string, send func(ctx context.Context) error) error {
	if a := o.s.outages.of(o.name, o.there); a != nil {
		return a
	}
	call, cancel := context.WithTimeout(ctx, remoteCall)
	defer cancel()
	err := send(call)
	switch {
	case err == nil || errors.As(err, new(hopeless)):
		return err
	case ctx.Err() != nil:
		return err // the caller gave up, and the server is not to blame
	case answered(err) && o.answers(ctx, replica):
		return err
	case serversFault(err):
		return o.s.outages.begin(o.name, o.there, replica, err, o.s.now())
	case secrets.KindOf(err) == secrets.Invalid:
		return hopeless("Replication failed: " + textOf(err))
	}
	return err
}

// answered reports whether the server itself says that it could not do it now.
func answered(err error) bool {
	kind := secrets.KindOf(err)
	return secrets.CodeOf(err) != "" && (kind == secrets.Transient || kind == secrets.Unknown)
}

// answers reports whether the server answers a simple question about a replica: if
// so, what it could not do is the matter with that replica alone, whose key it
// can't reach at AWS KMS perhaps.
func (o otherServer) answers(ctx context.Context, replica string) bool {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_, err := o.there.DescribeReplica(ctx, DescribeReplicaInput{SecretID: replica})
	return err == nil || !serversFault(err)
}

// unknownOperation is what a server answers that is no Pawl, or an older one.
const unknownOperation = "UnknownOperationException"

// serversFault reports whether an error is about the server, the way to it, or
// the credentials for it, so that it would be the same for every other secret.
func serversFault(err error) bool {
	switch code, kind := secrets.CodeOf(err), secrets.KindOf(err); {
	case code == unknownOperation, kind == secrets.Transient, kind == secrets.Unknown:
		return true
	case code == "":
		return kind != secrets.Conflict
	default:
		return kind == secrets.Denied && code != accessDenied
	}
}

// tellPrimary has the primary on another server forget a replica that is one no
// more. It is a courtesy: where it can't be told now, what it sends next is
// refused here, and its status says why.
func (s *Service) tellPrimary(ctx context.Context, l link) {
	there := s.serverOf(l.primary.Region)
	if there == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, remoteTold)
	defer cancel()
	_, _ = there.ForgetReplica(ctx, ForgetReplicaInput{SecretID: l.primary.String(), ReplicaRegion: l.region})
}

// remoteTold is how long who promotes a replica waits for its primary to hear of
// it, which may be gone: that may be why he does.
const remoteTold = 3 * time.Second

// waiting is the StatusMessage of a replica that is behind.
func waiting(err error) string {
	return fmt.Sprintf("Replication is behind: %s", secrets.OneLine(err, 500))
}
