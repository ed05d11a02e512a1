package transfer

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/aws"
)

// API is what a copy needs of Secrets Manager. client.Client is one.
type API interface {
	ListSecrets(context.Context, service.ListSecretsInput) (*service.ListSecretsOutput, error)
	DescribeSecret(context.Context, service.DescribeSecretInput) (*service.DescribeSecretOutput, error)
	GetSecretValue(context.Context, service.GetSecretValueInput) (*service.GetSecretValueOutput, error)
	CreateSecret(context.Context, service.CreateSecretInput) (*service.CreateSecretOutput, error)
	PutSecretValue(context.Context, service.PutSecretValueInput) (*service.PutSecretValueOutput, error)
	UpdateSecret(context.Context, service.UpdateSecretInput) (*service.UpdateSecretOutput, error)
	UpdateSecretVersionStage(context.Context, service.UpdateSecretVersionStageInput) (*service.UpdateSecretVersionStageOutput, error)
	TagResource(context.Context, service.TagResourceInput) error
	UntagResource(context.Context, service.UntagResourceInput) error
}

// AWS is AWS Secrets Manager of one account and region as an End. It has names,
// descriptions, tags, and the values of versions that have a label, under the ids
// they have elsewhere. It makes ARNs and dates itself, and encrypts with its
// default key; policies and rotations do not go along, because whom they name is
// somebody else there.
type AWS struct{ API API }

// AWS's quotas are met by fewer than this at once, mostly; what it refuses is
// tried again.
func (a *AWS) atOnce() int { return 4 }

const notFound = "ResourceNotFoundException"

func (a *AWS) each(ctx context.Context, yield func(secrets.ARN) error) error {
	for token := ""; ; {
		var out *service.ListSecretsOutput
		out, err := a.API.ListSecrets(ctx, service.ListSecretsInput{NextToken: token})
		if err != nil {
			return err
		}
		for _, e := range out.SecretList {
			var arn secrets.ARN
			if err := arn.UnmarshalText([]byte(e.ARN)); err != nil {
				return err
			}
			if err := yield(arn); err != nil {
				return err
			}
		}
		if token = out.NextToken; token == "" {
			return nil
		}
	}
}

func (a *AWS) read(ctx context.Context, arn secrets.ARN) (*item, error) {
	before, err := a.describe(ctx, arn.Name)
	if err != nil {
		return nil, err
	}
	for again := 0; ; again++ {
		it, err := a.valuesOf(ctx, before)
		if err != nil {
			return nil, err
		}
		after, err := a.describe(ctx, arn.Name)
		if err != nil {
			return nil, err
		}
		// Nothing moved between the first look and the last.
		if before.ARN == after.ARN && before.LastChangedDate.Equal(after.LastChangedDate) && sameStages(before, after) {
			return it, nil
		}
		if again == 5 {
			return nil, secrets.Errorf(secrets.Transient, "it changes all the time").WithHint("stop what changes it")
		}
		before = after
	}
}

func (a *AWS) describe(ctx context.Context, name string) (*service.DescribeSecretOutput, error) {
	out, err := a.API.DescribeSecret(ctx, service.DescribeSecretInput{SecretID: name})
	if secrets.CodeOf(err) == notFound {
		return nil, service.ErrNotFound
	}
	return out, err
}

func sameStages(a, b *service.DescribeSecretOutput) bool {
	if len(a.VersionIDsToStages) != len(b.VersionIDsToStages) {
		return false
	}
	for id, stages := range a.VersionIDsToStages {
		there, ok := b.VersionIDsToStages[id]
		if !ok || !slices.Equal(slices.Sorted(slices.Values(stages)), slices.Sorted(slices.Values(there))) {
			return false
		}
	}
	return true
}

// valuesOf makes an item of what is known of a secret, and reads its values.
func (a *AWS) valuesOf(ctx context.Context, d *service.DescribeSecretOutput) (*item, error) {
	s := &service.Secret{
		Description: d.Description, Created: d.CreatedDate, Changed: d.LastChangedDate, Accessed: d.LastAccessedDate,
		ValueChanged: d.CreatedDate, Deleted: d.DeletedDate, Type: d.Type, OwningService: d.OwningService,
	}
	if err := s.ARN.UnmarshalText([]byte(d.ARN)); err != nil {
		return nil, err
	}
	if d.PrimaryRegion != s.ARN.Region {
		s.PrimaryRegion = d.PrimaryRegion
	}
	if len(d.Tags) > 0 {
		s.Tags = tagsOf(&service.Secret{Tags: d.Tags})
	}
	it := &item{record: s, values: map[string]secrets.Value{}}
	if !s.Deleted.IsZero() {
		return it, nil // no value of it can be read
	}
	for id, stages := range d.VersionIDsToStages {
		if len(stages) == 0 {
			continue
		}
		v := secrets.Version{ID: id, Labels: ours(stages)}
		out, err := a.API.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: d.ARN, VersionID: id})
		switch {
		case secrets.CodeOf(err) == notFound:
			// It was asked for by a rotation and has none yet; or it was removed, and
			// the next look shows that.
			v.Empty = true
		case err != nil:
			return nil, err
		default:
			v.Created, it.values[id] = out.CreatedDate, out.Value
		}
		if !v.Empty && v.Has(secrets.Current) {
			s.ValueChanged = v.Created
		}
		if !v.Empty { // who finishes that rotation is there
			s.Versions = append(s.Versions, v)
		}
	}
	slices.SortFunc(s.Versions, func(a, b secrets.Version) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return it, nil
}

// Pawl's own label has another name at AWS, see aws.Intent.
func ours(stages []string) []string {
	var out []string
	for _, s := range slices.Sorted(slices.Values(stages)) {
		switch s {
		case aws.Intent:
			out = append(out, secrets.Intent)
		case secrets.Intent:
		default:
			out = append(out, s)
		}
	}
	return out
}

func theirs(labels []string) []string {
	out := slices.Clone(labels)
	for i, l := range out {
		if l == secrets.Intent {
			out[i] = aws.Intent
		}
	}
	return out
}

func (a *AWS) claim(context.Context, secrets.ARN) (func(), error) { return func() {}, nil }

func (a *AWS) fits(it *item) (string, error) { return misfit(it.record), nil }

// misfit says why a secret does not go to an AWS, or come from one; "" = it does.
func misfit(r *service.Secret) string {
	switch {
	case !r.Deleted.IsZero():
		return "it is marked for deletion"
	case r.PrimaryRegion != "":
		return "it is a replica of the secret in " + r.PrimaryRegion
	case r.OwningService != "":
		return "the AWS service " + r.OwningService + " manages it"
	}
	return ""
}

// write makes a secret at AWS the one that is copied, and is right wherever an
// earlier one was stopped: AWSCURRENT is put first, so that nobody ever reads an
// older value.
func (a *AWS) write(ctx context.Context, it, was *item) error {
	versions := labelled(it)
	slices.SortStableFunc(versions, func(x, y secrets.Version) int { return rank(x) - rank(y) })
	name := it.record.ARN.Name
	if was == nil {
		in := service.CreateSecretInput{Name: name, Description: it.record.Description, Tags: tagsOf(it.record), Type: it.record.Type, ClientRequestToken: uuid.NewString()}
		if len(in.Tags) == 0 {
			in.Tags = nil
		}
		if len(versions) > 0 && versions[0].Has(secrets.Current) {
			in.ClientRequestToken, in.GivenValue = versions[0].ID, service.Give(it.values[versions[0].ID])
		}
		if _, err := a.API.CreateSecret(ctx, in); err != nil {
			return err
		}
		var err error
		if was, err = a.read(ctx, it.record.ARN); err != nil {
			return err
		}
	}
	if was.record.Description != it.record.Description {
		_, err := a.API.UpdateSecret(ctx, service.UpdateSecretInput{SecretID: name, ClientRequestToken: uuid.NewString(), Description: &it.record.Description})
		if err != nil {
			return err
		}
	}
	if err := a.tag(ctx, name, tagsOf(was.record), tagsOf(it.record)); err != nil {
		return err
	}
	for _, v := range versions {
		if _, there := was.values[v.ID]; there {
			continue
		}
		if _, err := a.API.PutSecretValue(ctx, service.PutSecretValueInput{
			SecretID: name, ClientRequestToken: v.ID, GivenValue: service.Give(it.values[v.ID]), VersionStages: theirs(v.Labels),
		}); err != nil {
			return err
		}
	}
	return a.label(ctx, name, it)
}

// rank orders versions for writing: AWSCURRENT, and then the others.
func rank(v secrets.Version) int {
	if v.Has(secrets.Current) {
		return 0
	}
	return 1
}

// tag makes the tags of a secret these.
func (a *AWS) tag(ctx context.Context, name string, has, want []service.Tag) error {
	var gone []string
	for _, t := range has {
		if !slices.ContainsFunc(want, func(w service.Tag) bool { return w.Key == t.Key }) {
			gone = append(gone, t.Key)
		}
	}
	var add []service.Tag
	for _, t := range want {
		if !slices.Contains(has, t) {
			add = append(add, t)
		}
	}
	if len(gone) > 0 {
		if err := a.API.UntagResource(ctx, service.UntagResourceInput{SecretID: name, TagKeys: gone}); err != nil {
			return err
		}
	}
	if len(add) > 0 {
		return a.API.TagResource(ctx, service.TagResourceInput{SecretID: name, Tags: add})
	}
	return nil
}

// label moves the labels to where they are at the source. Moving AWSCURRENT moves
// AWSPREVIOUS too, so it goes first.
func (a *AWS) label(ctx context.Context, name string, it *item) error {
	for _, which := range []func(string) bool{
		func(l string) bool { return l == secrets.Current },
		func(l string) bool { return l != secrets.Current },
	} {
		there, err := a.read(ctx, it.record.ARN)
		if err != nil {
			return err
		}
		for _, l := range labelsOf(it, there) {
			if !which(l) {
				continue
			}
			from, to := holder(there, l), holder(it, l)
			if from == to {
				continue
			}
			// What holds a label there and has no value could not be read.
			_, err := a.API.UpdateSecretVersionStage(ctx, service.UpdateSecretVersionStageInput{
				SecretID: name, VersionStage: theirs([]string{l})[0], RemoveFromVersionID: from, MoveToVersionID: to,
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// labelsOf are all labels on either side.
func labelsOf(items ...*item) []string {
	var out []string
	for _, it := range items {
		for _, v := range labelled(it) {
			for _, l := range v.Labels {
				if !slices.Contains(out, l) {
					out = append(out, l)
				}
			}
		}
	}
	return out
}

// holder is the version with a value that has a label; "" = none.
func holder(it *item, label string) string {
	for _, v := range labelled(it) {
		if v.Has(label) {
			return v.ID
		}
	}
	return ""
}
