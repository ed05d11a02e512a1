package server

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pawlhq/pawl/service"
)

// requestKey is a condition key that a member of a request gives.
type requestKey struct {
	name    string // one that ends with / is followed by the key of a tag
	actions string // that have it
	member  string // of the operation's input
	// read returns the key's values where the member was sent; nil = as it is.
	read func(k *asked, member reflect.Value, tag string) []string
}

// requestKeys are all. A key whose member was not sent is missing.
// Source: service authorization reference, "Condition keys for AWS Secrets
// Manager".
var requestKeys = []requestKey{
	{"secretsmanager:Name", "CreateSecret", "Name", nil},
	{"secretsmanager:Description", "CreateSecret UpdateSecret", "Description", nil},
	{"secretsmanager:KmsKeyId", "CreateSecret UpdateSecret", "KmsKeyID", nil},
	{"secretsmanager:KmsKeyArn", "CreateSecret UpdateSecret", "KmsKeyID", (*asked).keyARN},
	{"secretsmanager:Type", "CreateSecret UpdateSecret", "Type", nil},
	{"secretsmanager:AddReplicaRegions", "CreateSecret ReplicateSecretToRegions", "AddReplicaRegions", replicaRegions},
	{"secretsmanager:ForceOverwriteReplicaSecret", "CreateSecret ReplicateSecretToRegions", "ForceOverwriteReplicaSecret", nil},
	{"secretsmanager:VersionId", "GetSecretValue", "VersionID", nil},
	{"secretsmanager:VersionStage", "GetSecretValue UpdateSecretVersionStage", "VersionStage", nil},
	{"secretsmanager:RecoveryWindowInDays", "DeleteSecret", "RecoveryWindowInDays", nil},
	{"secretsmanager:ForceDeleteWithoutRecovery", "DeleteSecret", "ForceDeleteWithoutRecovery", nil},
	{"secretsmanager:BlockPublicPolicy", "PutResourcePolicy", "BlockPublicPolicy", nil},
	{"secretsmanager:RotationLambdaARN", "RotateSecret", "RotationLambdaARN", nil},
	{"secretsmanager:ModifyRotationRules", "RotateSecret", "RotationRules", yes},
	{"secretsmanager:RotateImmediately", "RotateSecret", "RotateImmediately", nil},
	{"secretsmanager:ExternalSecretRotationRoleArn", "RotateSecret", "ExternalSecretRotationRoleArn", nil},
	{requestTag, "CreateSecret TagResource", "Tags", tagValues},
	{"aws:TagKeys", "CreateSecret TagResource", "Tags", tagKeys},
	{"aws:TagKeys", "UntagResource", "TagKeys", nil},
}

const requestTag = "aws:requesttag/"

// memberKey is a requestKey of one operation.
type memberKey struct {
	actions []string
	index   []int
	path    string // as service.Check knows the member
	read    func(k *asked, member reflect.Value, tag string) []string
}

// memberKeys returns the keys that a request of a type has, by their names in
// lower case.
func memberKeys(in reflect.Type) map[string][]memberKey {
	m := map[string][]memberKey{}
	for _, k := range requestKeys {
		f, ok := in.FieldByName(k.member)
		if !ok {
			continue
		}
		json, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if json == "" {
			json = f.Name
		}
		key := memberKey{index: f.Index, path: strings.ToLower(json[:1]) + json[1:], read: k.read}
		for action := range strings.FieldsSeq(k.actions) {
			key.actions = append(key.actions, "secretsmanager:"+action)
		}
		name := strings.ToLower(k.name)
		m[name] = append(m[name], key)
	}
	return m
}

// asked is what policies can ask when a request is judged. It implements
// policy.Keys, and works out only what is asked.
type asked struct {
	*guard
	action string
	sec    *service.Secret // with nothing but an ARN for one that there is not; nil where none is meant
}

// Values returns the values of a condition key.
func (k *asked) Values(name string) []string {
	if strings.HasPrefix(name, "aws:") {
		if values, global := k.e.globalKey(name); global {
			return values
		}
	}
	switch {
	case name == "aws:resourceaccount" && k.sec != nil:
		return []string{k.sec.ARN.Account}
	case name == "iam:passedtoservice" && k.action == passRole:
		return []string{"secretsmanager.amazonaws.com"}
	}
	if k.sec != nil && k.action != createSecret {
		if values := k.sec.ConditionKey(name); values != nil {
			return values
		}
	}
	tag := ""
	if strings.HasPrefix(name, requestTag) {
		name, tag = requestTag, name[len(requestTag):]
	}
	for _, m := range k.op.keys[name] {
		if slices.Contains(m.actions, k.action) {
			return k.member(m, tag)
		}
	}
	return nil
}

// member returns the values of a key from the request.
func (k *asked) member(m memberKey, tag string) []string {
	v, there := k.in.FieldByIndex(m.index), k.sent[m.path]
	if v.Kind() == reflect.Pointer {
		there, v = !v.IsNil(), v.Elem()
	}
	switch {
	case !there && (!v.IsValid() || v.IsZero()):
		return nil
	case m.read != nil:
		return m.read(k, v, tag)
	}
	switch v.Kind() {
	case reflect.String:
		return []string{v.String()}
	case reflect.Bool:
		return []string{strconv.FormatBool(v.Bool())}
	case reflect.Int64:
		return []string{strconv.FormatInt(v.Int(), 10)}
	default:
		return v.Interface().([]string)
	}
}

// yes is the value of a key that says that a member was sent.
func yes(*asked, reflect.Value, string) []string { return []string{"true"} }

// keyARN makes an ARN of a KmsKeyId, as if the key were of the secret's account
// and region. Unlike AWS's it may be an alias's: what that stands for only the
// Sealer knows, and for a local key there is no other. The default key has none.
func (k *asked) keyARN(v reflect.Value, _ string) []string {
	id := v.String()
	switch {
	case id == "":
		return nil
	case strings.HasPrefix(id, "arn:"):
		return []string{id}
	case !strings.HasPrefix(id, "alias/"):
		id = "key/" + id
	}
	at := k.at
	if k.sec != nil {
		at.Account = k.sec.ARN.Account
	}
	return []string{"arn:" + at.Partition + ":kms:" + at.Region + ":" + at.Account + ":" + id}
}

func replicaRegions(_ *asked, v reflect.Value, _ string) []string {
	var all []string
	for _, r := range v.Interface().([]service.ReplicaRegionType) {
		all = append(all, r.Region)
	}
	return all
}

func tagKeys(_ *asked, v reflect.Value, _ string) []string {
	var all []string
	for _, t := range v.Interface().([]service.Tag) {
		all = append(all, t.Key)
	}
	return all
}

// tagValues are those of the tag of a key; keys that differ only in case are
// one.
func tagValues(_ *asked, v reflect.Value, tag string) []string {
	var all []string
	for _, t := range v.Interface().([]service.Tag) {
		if strings.EqualFold(t.Key, tag) {
			all = append(all, t.Value)
		}
	}
	return all
}

// maxUserAgent is how many bytes of a User-Agent policies see.
const maxUserAgent = 1024

// globalKey returns the values of a condition key that every service has, and
// whether it is one. There are none of the keys that say something of AWS's own
// services, networks and organisations: no request comes from there.
// Source: IAM user guide, "AWS global condition context keys".
func (e *exchange) globalKey(name string) (values []string, global bool) {
	one := func(v string) ([]string, bool) { return []string{v}, true }
	switch name {
	case "aws:sourceip":
		if a, err := netip.ParseAddrPort(e.r.RemoteAddr); err == nil {
			return one(a.Addr().Unmap().WithZone("").String())
		}
	case "aws:securetransport":
		return one(strconv.FormatBool(e.r.TLS != nil))
	case "aws:currenttime":
		return one(e.start.UTC().Format(time.RFC3339))
	case "aws:epochtime":
		return one(strconv.FormatInt(e.start.Unix(), 10))
	case "aws:requestedregion":
		return one(e.who.Region)
	case "aws:useragent":
		// Whatever its length: patterns take time, and this is the sender's to choose.
		if agent := e.r.UserAgent(); agent != "" {
			return one(agent[:min(len(agent), maxUserAgent)])
		}
	case "aws:viaawsservice", "aws:principalisawsservice":
		return one("false")
	case "aws:tokenissuetime":
		if !e.who.TokenIssued.IsZero() {
			return one(e.who.TokenIssued.UTC().Format(time.RFC3339))
		}
	case "aws:multifactorauthpresent": // AWS has it of temporary credentials only
		if !e.who.TokenIssued.IsZero() {
			return one("false")
		}
	default:
		return nil, false
	}
	return nil, true
}
