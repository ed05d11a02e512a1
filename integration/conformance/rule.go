// Package conformance is a table of rules: what AWS Secrets Manager answers, one
// entry for each operation and rule, with the source that says so. Rules speak
// raw signed HTTP to whatever endpoint they are given, AWS itself included, and
// touch nothing but secrets that they made.
//
//	go test -v ./integration/conformance                                    # Pawl, in process
//	go test -v ./integration/conformance -args -endpoint URL -region REGION # any other endpoint
//
// The second form takes its credentials from the usual AWS environment.
// docs/compatibility.md is written from this table (-update).
package conformance

import (
	"fmt"
	"slices"
)

// Rule is one thing that an endpoint must do. Its Check fails by calling a
// method of the Probe that does not return, and has passed when it returns.
// Rules are independent of each other, run at the same time, and work in an
// account full of other secrets.
type Rule struct {
	Operation string // the operation, or one of the headings below
	Name      string // what must hold, as a sentence without its subject
	Source    string // who says so
	Check     func(*Probe)
}

// What rules are about that are about no operation in particular.
const (
	Wire           = "Requests and answers"
	Authentication = "Authentication"
	LookUp         = "Names and ARNs"
)

// rule is a Rule without its operation.
type rule struct {
	name, source string
	check        func(*Probe)
}

// on makes Rules of an operation.
func on(operation string, rules ...rule) []Rule {
	out := make([]Rule, len(rules))
	for i, r := range rules {
		out[i] = Rule{operation, r.name, r.source, r.check}
	}
	return out
}

// Operations are the operations of Secrets Manager in the order of the
// document, after the headings.
var Operations = []string{
	Wire, Authentication, LookUp,
	"CreateSecret", "GetSecretValue", "BatchGetSecretValue", "PutSecretValue", "UpdateSecret", "UpdateSecretVersionStage",
	"DescribeSecret", "ListSecrets", "ListSecretVersionIds", "DeleteSecret", "RestoreSecret",
	"RotateSecret", "CancelRotateSecret", "GetRandomPassword", "TagResource", "UntagResource",
	"PutResourcePolicy", "GetResourcePolicy", "DeleteResourcePolicy", "ValidateResourcePolicy",
	"ReplicateSecretToRegions", "RemoveRegionsFromReplication", "StopReplicationToReplica",
}

// Rules returns the whole table, by operation in the order of Operations.
func Rules() []Rule {
	all := slices.Concat(
		wireRules(), authRules, nameRules(),
		createRules, getRules, batchRules, putRules, updateRules, stageRules,
		describeRules, listRules, filterRules(), versionRules, deleteRules, restoreRules,
		rotateRules, scheduleRules(), rotatedRules, cancelRules, passwordRules(),
		tagRules, policyRules, validateRules(), decisionRules, replicationRules, managedRules,
		commonRules(), boundRules(),
	)
	slices.SortStableFunc(all, func(a, b Rule) int {
		return slices.Index(Operations, a.Operation) - slices.Index(Operations, b.Operation)
	})
	return all
}

// The sources that rules name.
const (
	inferred  = "inferred"
	model     = "AWS service model 2017-10-17 (botocore)"
	sibling   = "measured on a sibling AWS JSON 1.1 service"
	preflight = "measured on AWS: rules of cdk-preflight"
	quotas    = "AWS user guide, Secrets Manager quotas"
	policies  = "AWS user guide, Resource-based policies"
	secretOf  = "AWS user guide, What's in a Secrets Manager secret"
	schedules = "AWS user guide, Schedule expressions"
	signing   = "AWS general reference, Signature Version 4"
	others    = "AWS user guide, Access from another account"
	actions   = "AWS service authorization reference, AWS Secrets Manager"
	evaluated = "AWS IAM user guide, Policy evaluation logic"
	denials   = "AWS IAM user guide, Troubleshoot access denied error messages"
	cloudNuke = "answer of AWS in cloud-nuke issue 435"
	reused    = "moto tests checked against AWS: a ClientRequestToken used again"
	skewed    = "answer of AWS in botocore issue 3587"
)

// api is the API reference of an operation.
func api(operation string) string { return "AWS API reference, " + operation }

// recorded is an answer of AWS that LocalStack's tests keep.
func recorded(test string) string { return "recorded on AWS: LocalStack snapshot " + test }

// localstack and moto are tests of those projects that were run against AWS.
func localstack(test string) string { return "LocalStack test checked against AWS: " + test }
func moto(test string) string       { return "moto test checked against AWS: " + test }

// terraform is something that Terraform's AWS provider met or relies on.
func terraform(issue int) string { return fmt.Sprintf("terraform-provider-aws issue %d", issue) }

const terraformRelies = "terraform-provider-aws relies on it"
