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
	{"Quotas", "Requests are limited by AWS's quotas, or a multiple of them (`server.rate_limits`, 0 = none), with ThrottlingException. AWS counts for each account and region; Pawl counts for each user and each role, over all regions, so that one client that runs wild does not stop the others. A development server has no quotas. Limits on sizes and counts (values, versions, labels, tags, policies, names) are AWS's; the number of secrets is not limited. A secret has at most 64 replicas and a partner's secret 50 pairs of metadata, where AWS names no number."},
	{"Quotas", "A body over 96 KiB, which no legal value needs but one with most characters escaped, waits for one of 32 places; after 5 seconds it gets ThrottlingException."},
	{"Quotas", "After 20 failures to authenticate within a minute, further answers to the same address that refuse a signature are delayed, by up to 2 seconds. Nothing else is."},
	{"Audit", "There is no CloudTrail. Every call is a line of Pawl's log: who, what, which secret, from where, and what became of it, without values; so is every rotation. Of failures to authenticate beyond 20 a minute from one address there is but a count."},
	{"KMS keys", "`KmsKeyId` names a key of Pawl's own, by alias or id (`pawl key create alias/app`), or one of AWS KMS if the configuration has `aws_kms:`; the account in an ARN does not matter. A key that is neither gets InvalidParameterException, `Invalid keyId`. On a development server every key that a secret names comes into being."},
	{"KMS keys", "Pawl's own keys have no key policies and no grants: who may read a secret may use its key, and no caller needs a `kms:` permission. So another account that the secret's policy lets in needs nothing else, as long as the key is not the default one. They can't be disabled or scheduled for deletion."},
	{"KMS keys", "AWS KMS is asked with Pawl's own credentials, not the caller's, by the encryption context that AWS uses; there is no `kms:ViaService`. Pawl keeps a data key that it has unwrapped for 5 minutes: so long values stay readable after their key was disabled. The default key, `alias/aws/secretsmanager`, is always Pawl's master key."},
	{"KMS keys", "The condition key `secretsmanager:KmsKeyArn` is the alias's ARN where a request names a key by alias; AWS looks up the key's."},
	{"Partner secrets", "`Type`, `ExternalSecretRotationMetadata` and `ExternalSecretRotationRoleArn` are kept and returned. Nothing is rotated at a partner: `RotateSecret` with `RotateImmediately` true gets InvalidRequestException. Who names a role needs `iam:PassRole` for it, as on AWS; otherwise the role is not looked at, and need not exist."},
	{"Managed secrets", "No AWS service makes secrets here, so no secret has an `OwningService` but those that were brought along; these are read-only as on AWS, and `RotateSecret` refuses them, where AWS lets some services rotate theirs."},
	{"Resource policies", "Principals are checked for their form only. AWS also refuses one that does not exist, and keeps the unique id behind an ARN, so that nobody else gets in who takes the name later; Pawl keeps the text."},
	{"Resource policies", "`ValidateResourcePolicy` answers with check names of Pawl's own, `BroadAccess` and `Lockout`; AWS does not document its names. It does not run AWS's automated reasoning, only the rules listed under PutResourcePolicy, and whether the policy shuts its own account out."},
	{"Access", "A denial names the secret as the request did, and gives the reason that a secret without policy and tags would have, unless that one would be allowed: so who has no right to a secret gets the same answer whether or not it exists. AWS names the ARN of a secret that exists."},
	{"Access", "An answer to a signature that does not match never quotes the canonical request, as AWS's does: it would repeat a session token."},
	{"Access", "There is no IAM API: users, roles, their keys, policies, permissions boundaries and tags are made by `pawl access`. There are no groups, paths, managed policies, organisations (SCPs, RCPs) or VPC endpoint policies; no account has a root user, and naming one in a policy leaves it to the account's own policies."},
	{"Access", "Policies are IAM's language in full, but no request has the condition keys that say something of AWS's own networks, services and organisations (`aws:SourceVpc`, `aws:SourceArn`, `aws:PrincipalOrgID` and so on). `aws:MultiFactorAuthPresent` is false for sessions, since there is no MFA."},
	{"Access", "Who rotates a secret by a superuser needs `secretsmanager:GetSecretValue` on the superuser's secret, too. Pawl's functions need no `lambda:InvokeFunction`."},
	{"Access", "`pawl serve --dev` accepts any well-formed credentials and checks neither signatures nor the request's age; everybody is the root user of his own account: he may do all but what a secret's policy denies, and gets into another account where a policy there lets him in. It listens on the loopback interface only."},
	{"STS", "The same endpoint answers `GetCallerIdentity` and `AssumeRole`, in STS's own protocol (`AWS_ENDPOINT_URL_STS`); there is no other operation of STS. AssumeRole refuses `PolicyArns`, `TransitiveTagKeys`, `ProvidedContexts`, `SourceIdentity`, `SerialNumber` and `TokenCode` with ValidationError. On a development server nobody can assume a role."},
	{"STS", "Session credentials end at once when their user or role is disabled or deleted, or by `pawl access end-sessions`; they are good at this server in all regions."},
	{"Replication", "All regions are in one store. A region is any that AWS's naming allows in the partition; whether one is enabled for an account does not matter."},
	{"Endpoints", "A body over 1 MiB is answered 413 RequestEntityTooLargeException, another path than `/` 404 and another method than POST 405. A request nested deeper than 64 levels is malformed."},
	{"Endpoints", "There is no FIPS or dual-stack endpoint, no query-string (presigned) authentication, no CBOR, no HTTP/2 and no other protocol than AWS JSON 1.1, but for STS. TLS is 1.2 or newer."},
	{"Endpoints", "Operations of Pawl's own, `X-Amz-Target: pawl.ListRotations` and so on, are for `pawl --endpoint`. Policies allow them as `pawl:ListRotations`."},
}
