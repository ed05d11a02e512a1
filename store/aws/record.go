package aws

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Intent is the name that the label secrets.Intent has at AWS. It is another one
// because a Pawl that serves the API keeps that name for itself, and one Pawl may
// have its secrets at another.
const Intent = "pawl:intent"

// record is what Secrets Manager says of a secret, be it in DescribeSecret or in
// a listing.
type record struct {
	// Secret has the ARN, tags, dates, labels (with secrets.Intent for Intent),
	// type, owning service and, of a replica, primary region. Of a version no more
	// is known than its labels; Created is zero until somebody learns when that
	// was. Its Rotation is nil: that is worked out from these, see Store.rotation.
	service.Secret
	// What AWS's own rotation is.
	enabled, configured bool
	function            string    // its Lambda function
	rotated             time.Time // LastRotatedDate
}

// described makes a record of the answer to DescribeSecret. Errors: Invalid where
// the ARN is none, which nobody but a broken endpoint sends.
func described(out *secretsmanager.DescribeSecretOutput) (*record, error) {
	r := &record{rotated: date(out.LastRotatedDate), function: aws.ToString(out.RotationLambdaARN)}
	if err := r.ARN.UnmarshalText([]byte(aws.ToString(out.ARN))); err != nil {
		return nil, err
	}
	r.Description, r.KMSKeyID, r.Type, r.OwningService = aws.ToString(out.Description), aws.ToString(out.KmsKeyId), aws.ToString(out.Type), aws.ToString(out.OwningService)
	r.Created, r.Changed, r.Deleted = date(out.CreatedDate), date(out.LastChangedDate), date(out.DeletedDate)
	r.Tags, r.Versions = tagsOf(out.Tags), versionsOf(out.VersionIdsToStages)
	r.originate(aws.ToString(out.PrimaryRegion))
	if out.RotationEnabled != nil {
		r.enabled, r.configured = *out.RotationEnabled, true
	}
	return r, nil
}

// listed makes a record of an entry of a listing. Of its tags it has Pawl's own,
// and no description: there may be ten thousand of them. Errors: as described.
func listed(e types.SecretListEntry) (*record, error) {
	r := &record{rotated: date(e.LastRotatedDate), function: aws.ToString(e.RotationLambdaARN)}
	if err := r.ARN.UnmarshalText([]byte(aws.ToString(e.ARN))); err != nil {
		return nil, err
	}
	r.OwningService = aws.ToString(e.OwningService)
	r.Created, r.Changed, r.Deleted = date(e.CreatedDate), date(e.LastChangedDate), date(e.DeletedDate)
	r.Tags, r.Versions = ownTags(tagsOf(e.Tags)), versionsOf(e.SecretVersionsToStages)
	r.originate(aws.ToString(e.PrimaryRegion))
	if e.RotationEnabled != nil {
		r.enabled, r.configured = *e.RotationEnabled, true
	}
	return r, nil
}

// originate notes where the primary of a replica is. AWS names the primary's
// region on the primary too.
func (r *record) originate(region string) {
	if region != r.ARN.Region {
		r.PrimaryRegion = region
	}
}

// versionsOf maps labels to the versions that have them. AWS tells them in no
// order; they come as they are most likely to have been made, newest last: those
// with labels of users only, AWSPREVIOUS, Intent alone, AWSCURRENT, AWSPENDING.
func versionsOf(stages map[string][]string) secrets.Versions {
	vs := make(secrets.Versions, 0, len(stages))
	for id, labels := range stages {
		v := secrets.Version{ID: id, Labels: ourLabels(labels)}
		slices.Sort(v.Labels)
		vs = append(vs, v)
	}
	age := func(v secrets.Version) int {
		for i, l := range []string{secrets.Pending, secrets.Current, secrets.Previous} {
			if v.Has(l) {
				return -2 * i
			}
		}
		if v.Has(secrets.Intent) {
			return -3
		}
		return -5
	}
	slices.SortFunc(vs, func(a, b secrets.Version) int {
		return cmp.Or(cmp.Compare(age(a), age(b)), cmp.Compare(a.ID, b.ID))
	})
	return vs
}

func tagsOf(tags []types.Tag) []service.Tag {
	out := make([]service.Tag, 0, len(tags))
	for _, t := range tags {
		out = append(out, service.Tag{Key: aws.ToString(t.Key), Value: aws.ToString(t.Value)})
	}
	return out
}

// ownTags are those of a secret's tags that Pawl reads.
func ownTags(tags []service.Tag) []service.Tag {
	return slices.DeleteFunc(tags, func(t service.Tag) bool { return !strings.HasPrefix(t.Key, "pawl:") })
}

// tag returns the value of one of the secret's tags; "" for none.
func (r *record) tag(key string) string {
	value, _ := tagged(r.Tags, key)
	return value
}

func date(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// leftAlone says why a secret is not Pawl's to rotate: AWS rotates it, it is
// marked for deletion, managed by a service, or a replica of one elsewhere. It is
// nil for one that is. Errors: Invalid, with what to type.
func (s *Store) leftAlone(r *record) error {
	var err *secrets.Error
	switch {
	case !r.Deleted.IsZero():
		err = secrets.Errorf(secrets.Invalid, "it is marked for deletion").
			WithHint("bring it back: aws secretsmanager restore-secret --secret-id %s --region %s", r.ARN.Name, r.ARN.Region)
	case r.OwningService != "":
		err = secrets.Errorf(secrets.Invalid, "it is managed by the AWS service %q, which rotates it", r.OwningService).
			WithHint("leave its rotation to that service")
	case r.PrimaryRegion != "":
		err = secrets.Errorf(secrets.Invalid, "it is a replica of the secret in %s", r.PrimaryRegion).
			WithHint("have it rotated there: store.aws.region: %s", r.PrimaryRegion)
	case r.enabled:
		by := "by itself"
		if r.function != "" {
			by = "by " + r.function
		}
		err = secrets.Errorf(secrets.Invalid, "AWS rotates it already, %s", by).
			WithHint("to have Pawl rotate it: aws secretsmanager cancel-rotate-secret --secret-id %s --region %s", r.ARN.Name, r.ARN.Region)
	default:
		return nil
	}
	return secrets.At(err, r.ARN.Name, "", "")
}
