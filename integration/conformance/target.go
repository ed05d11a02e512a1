package conformance

import (
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Target is an endpoint, and what the rules may assume and use there. Rules
// that need what a Target does not have are skipped, and counted as such.
type Target struct {
	URL         string
	Region      string
	Credentials aws.Credentials
	Client      *http.Client // nil = http.DefaultClient

	// Other are credentials of another account that may do everything there.
	Other *aws.Credentials
	// Denied are credentials of the same account that may do nothing.
	Denied *aws.Credentials
	// Session are session credentials, with their token, of the same account that
	// may do what Credentials may.
	Session *aws.Credentials
	// ReplicaRegion is a second region of the endpoint; "" = none.
	ReplicaRegion string
	// Function is the ARN of a rotation function that the endpoint may invoke.
	// It must fail in createSecret for a value that is not a JSON object, as
	// AWS's single-user templates do; "" = none. {region} and {account} in it
	// stand for the caller's.
	Function string
	// Rotatable returns a value that Function really rotates, another one each
	// time, and false when there are no more; nil = none.
	Rotatable func() (value string, ok bool)
	// PartnerRole is the ARN of a role for partners' secrets; "" = none. {account}
	// in it stands for the caller's.
	PartnerRole string
	// Key is a KMS key, by id, ARN or alias, that secrets of Region may be encrypted
	// under and that Other's account may use too; "" = none.
	Key string
	// Unverified: the endpoint accepts any well-formed credentials.
	Unverified bool
	// Patience is how long a rule waits for what AWS promises to happen in the
	// end; 0 = 10 s. AWS lists new secrets within 5 minutes.
	Patience time.Duration
	// Parallel is how many rules run at a time; 0 = 16.
	Parallel int

	partition, account string // learnt from a secret's ARN
}

func (t *Target) defaults() {
	if t.Client == nil {
		t.Client = http.DefaultClient
	}
	if t.Patience == 0 {
		t.Patience = 10 * time.Second
	}
	if t.Parallel == 0 {
		t.Parallel = 16
	}
}
