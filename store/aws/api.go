package aws

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// The operations that Pawl calls.
const (
	opDescribe = "DescribeSecret"
	opValue    = "GetSecretValue"
	opList     = "ListSecrets"
	opVersions = "ListSecretVersionIds"
	opPut      = "PutSecretValue"
	opStage    = "UpdateSecretVersionStage"
	opTag      = "TagResource"
	opUntag    = "UntagResource"
)

// api is Secrets Manager, one method per operation. Every request is within its
// quota, and tried again by the SDK while that may help. Errors are
// *secrets.Error: Code is AWS's exception, the text AWS's own, Server the
// endpoint, Secret and Hint are added here. Unknown says of a write that it may
// have taken effect; of Transient that it has not.
type api struct {
	client  *secretsmanager.Client
	limits  *limits
	server  string // host of the endpoint
	region  string
	profile string // that the credentials are from; "" = none
}

// call calls one operation about a secret, "" for none.
func call[In, Out any](ctx context.Context, a *api, operation, secretID string, in *In, f func(context.Context, *In, ...func(*secretsmanager.Options)) (*Out, error)) (*Out, error) {
	var t tries
	out, err := f(context.WithValue(ctx, triesKey{}, &t), in)
	switch {
	case err == nil:
		return out, nil
	case t.last != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		err = &cutShort{cause: t.last, by: ctx.Err()}
	}
	return nil, a.explain(ctx, operation, secretID, err, t.doubted && quotaOf[operation] == writing)
}

func (a *api) describe(ctx context.Context, id string) (*secretsmanager.DescribeSecretOutput, error) {
	return call(ctx, a, opDescribe, id, &secretsmanager.DescribeSecretInput{SecretId: aws.String(id)}, a.client.DescribeSecret)
}

func (a *api) list(ctx context.Context, in *secretsmanager.ListSecretsInput) (*secretsmanager.ListSecretsOutput, error) {
	return call(ctx, a, opList, "", in, a.client.ListSecrets)
}

func (a *api) versions(ctx context.Context, in *secretsmanager.ListSecretVersionIdsInput) (*secretsmanager.ListSecretVersionIdsOutput, error) {
	return call(ctx, a, opVersions, aws.ToString(in.SecretId), in, a.client.ListSecretVersionIds)
}

// version is one version with its value.
type version struct {
	secrets.Version // ID, Created and Labels, with secrets.Intent for Intent
	arn             string
	value           secrets.Value
}

// value reads the value of a version, or with an empty versionID of the one that
// is AWSCURRENT. Errors: Code ResourceNotFoundException also for a version that
// is still empty.
func (a *api) value(ctx context.Context, id, versionID string) (*version, error) {
	in := &secretsmanager.GetSecretValueInput{SecretId: aws.String(id)}
	if versionID != "" {
		in.VersionId = aws.String(versionID)
	}
	out, err := call(ctx, a, opValue, id, in, a.client.GetSecretValue)
	if err != nil {
		return nil, err
	}
	v := &version{
		arn: aws.ToString(out.ARN),
		Version: secrets.Version{
			ID: aws.ToString(out.VersionId), Created: aws.ToTime(out.CreatedDate), Labels: ourLabels(out.VersionStages),
		},
	}
	switch {
	case out.SecretString != nil:
		v.value = secrets.Text(*out.SecretString)
	case out.SecretBinary != nil:
		v.value = secrets.Owned(out.SecretBinary, true)
	}
	return v, nil
}

// put stores a value in a new or an empty version, with labels, and returns those
// that the version has. The version's id makes it idempotent: of a version that has
// that value already AWS says that all is well, and leaves its labels as they are.
func (a *api) put(ctx context.Context, id, versionID string, v secrets.Value, labels []string, rotationToken string) (has []string, err error) {
	in := &secretsmanager.PutSecretValueInput{
		SecretId: aws.String(id), ClientRequestToken: aws.String(versionID), VersionStages: theirLabels(labels),
	}
	if v.IsBinary() {
		in.SecretBinary = v.Reveal()
		defer clear(in.SecretBinary)
	} else {
		in.SecretString = aws.String(string(v.Reveal()))
	}
	if rotationToken != "" {
		in.RotationToken = aws.String(rotationToken)
	}
	out, err := call(ctx, a, opPut, id, in, a.client.PutSecretValue)
	if err != nil {
		return nil, err
	}
	return ourLabels(out.VersionStages), nil
}

// stage moves a label from one version to another; either may be "". Errors:
// Code InvalidParameterException where the label is not on the version from.
func (a *api) stage(ctx context.Context, id, label, from, to string) error {
	in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: aws.String(id), VersionStage: aws.String(theirLabel(label))}
	if from != "" {
		in.RemoveFromVersionId = aws.String(from)
	}
	if to != "" {
		in.MoveToVersionId = aws.String(to)
	}
	_, err := call(ctx, a, opStage, id, in, a.client.UpdateSecretVersionStage)
	return err
}

// tag adds tags, over those of the same keys.
func (a *api) tag(ctx context.Context, id string, tags []service.Tag) error {
	in := &secretsmanager.TagResourceInput{SecretId: aws.String(id)}
	for _, t := range tags {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	_, err := call(ctx, a, opTag, id, in, a.client.TagResource)
	return err
}

// untag takes tags off; those that are not there do not matter.
func (a *api) untag(ctx context.Context, id string, keys []string) error {
	_, err := call(ctx, a, opUntag, id, &secretsmanager.UntagResourceInput{SecretId: aws.String(id), TagKeys: keys}, a.client.UntagResource)
	return err
}

// nap waits for d, or until ctx ends.
func nap(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
