package aws

import (
	"time"

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
	// Secret has the ARN, tags, dates, labels (with secrets.Intent for Intent; of
	// a version no more is known than its labels), type, owning service and
	// primary region. Its Rotation is nil: that is worked out from these, see
	// Store.rotation.
	service.Secret
	// What AWS's own rotation is.
	enabled, configured bool
	function            string    // its Lambda function
	rotated             time.Time // LastRotatedDate
}

// leftAlone says why a secret is not Pawl's to rotate: AWS rotates it, it is
// marked for deletion, managed by a service, or a replica of one elsewhere. It is
// nil for one that is. Errors: Invalid, with what to type.
func (s *Store) leftAlone(r *record) error { panic("not there yet") }

// rotation works out a secret's rotation: by the file's declaration, or else by
// its tags, or else on demand by the defaults; paused or not; last rotated when;
// failing since when. The error is Invalid: a tag can't be read, or chooses a
// superuser that is not paired with it.
func (s *Store) rotation(r *record) (secrets.Rotation, error) { panic("not there yet") }

// attemptTags renders the record of a failure as the tags TagAttempt and
// TagError; attemptOf reads it back, the zero Attempt where there is none or it
// can't be read.
func attemptTags(a secrets.Attempt) []service.Tag  { panic("not there yet") }
func attemptOf(tags []service.Tag) secrets.Attempt { panic("not there yet") }

// learn tells the listing what a claim has read or done itself: it counts more
// than what AWS lists, which may be minutes old.
func (s *Store) learn(r *record) { panic("not there yet") }
