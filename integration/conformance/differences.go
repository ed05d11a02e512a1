package conformance

// Difference is something that Pawl does not do, or does otherwise than AWS.
type Difference struct {
	About string // an operation or a matter
	Text  string // what AWS does, what Pawl does, and why it is so
}

// Differences are all that are known. A rule that Pawl can't keep belongs here,
// and nowhere else.
var Differences = []Difference{
	{"Rotation", "Functions are Pawl's own, by name: `arn:aws:lambda:REGION:ACCOUNT:function:pawl-single-user` and `…:pawl-alternating-users` of the secret's own region and account. Any other function gets the answer AWS gives for one that it can't invoke. `RotationToken` is accepted and not used, because a built-in function needs no proof of who it is."},
	{"Rotation", "With `RotateImmediately` false AWS puts a temporary `AWSPENDING` version beside the others while `testSecret` runs. Pawl runs the checks of a rotation in the background, makes no version at all, and reports to its log."},
	{"Rotation", "After `CancelRotateSecret` a rotation that has already told the server a new password is finished all the same: otherwise the secret would hold a password that the server no longer accepts."},
	{"Rotation", "The rotation of a secret that Pawl's configuration file declares can be started through the API but not changed there; the answer, an InvalidRequestException, names file and line."},
	{"Rotation", "A `ClientRequestToken` that made a version before is answered as the rotation that it was, if that version is current or previous; else it gets an InvalidParameterException. AWS documents neither."},
	{"Rotation", "`RotateSecret` for a secret without a value gets ResourceNotFoundException for `AWSCURRENT`, since there is nothing to rotate."},
	{"Staging labels", "`PAWLINTENT` is Pawl's own label, for the version whose value a server may have heard. Nobody can set, move or remove it, and no answer shows it; only `pawl` on the store itself does."},
	{"Deletion", "`ForceDeleteWithoutRecovery` has ended the secret when the answer comes. AWS takes up to about 30 seconds, in which the name can't be used; clients that wait for that work here unchanged."},
	{"Listings", "Listings, replicas' dates and `LastAccessedDate` are up to date at once, where AWS allows minutes. Labels are listed in the order they were attached, versions oldest first; AWS promises no order."},
	{"Quotas", "There is no throttling: nobody gets ThrottlingException. Limits on sizes and counts (values, versions, labels, tags, policies, names) are AWS's; the number of secrets is not limited."},
	{"Audit", "There is no CloudTrail. Calls and rotations go to Pawl's log, without values."},
	{"KMS keys", "`KmsKeyId` is checked for its form and its region, kept, copied and returned, but names no key: all values are encrypted by the key that Pawl's store has. So there is no answer that only a real key can give (a key that does not exist, is disabled or denies its use), and a value stays readable whatever happens to the key in AWS."},
	{"Partner secrets", "`Type`, `ExternalSecretRotationMetadata` and `ExternalSecretRotationRoleArn` are kept and returned. Nothing is rotated at a partner: `RotateSecret` with `RotateImmediately` true gets InvalidRequestException. The role is not looked at."},
	{"Managed secrets", "No AWS service makes secrets here, so no secret has an `OwningService` but those that were brought along; these are read-only as on AWS, and `RotateSecret` refuses them, where AWS lets some services rotate theirs."},
	{"Resource policies", "Principals are checked for their form. AWS also refuses a principal that does not exist; Pawl can't know."},
	{"Resource policies", "`ValidateResourcePolicy` answers with check names of Pawl's own; AWS does not document its names. It does not run AWS's automated reasoning, only the rules listed under PutResourcePolicy."},
	{"Access", "Nobody gets into another account: resource policies are checked, kept and returned, but do not decide yet who may do what."},
	{"Access", "`pawl serve --dev` accepts any well-formed credentials and checks neither signatures nor the request's age; everybody may do everything in his own account. It listens on the loopback interface only."},
	{"Replication", "All regions are in one store. A region is any that AWS's naming allows in the partition; whether one is enabled for an account does not matter."},
	{"Endpoints", "A body over 1 MiB is answered 413 RequestEntityTooLargeException, another path than `/` 404 and another method than POST 405. A request nested deeper than 64 levels is malformed."},
	{"Endpoints", "There is no FIPS or dual-stack endpoint, no query-string (presigned) authentication, no CBOR and no other protocol than AWS JSON 1.1."},
}
