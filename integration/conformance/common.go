package conformance

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Texts that many operations share.
const (
	notFound        = "Secrets Manager can't find the specified secret."
	markedForDelete = "You can't perform this operation on the secret because it was marked for deletion."
	onReplica       = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
	invalidName     = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
	noToken         = "You must provide a ClientRequestToken value. We recommend a UUID-type value."
	bothValues      = "You can't specify both a binary secret value and a string secret value in the same secret."
)

// nameRecorded are the operations whose answer to a bad name is recorded.
var nameRecorded = []string{"CreateSecret", "DeleteSecret", "DescribeSecret", "GetSecretValue", "ListSecretVersionIds",
	"PutSecretValue", "TagResource", "UntagResource", "UpdateSecret", "ValidateResourcePolicy"}

// markRecorded and replicaRecorded are where those refusals were seen.
var markRecorded = map[string]string{
	"TagResource":   recorded("test_tag_untag_resource_on_deleted_secret"),
	"UntagResource": recorded("test_tag_untag_resource_on_deleted_secret"),
}

var uuidShape = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// commonRules are the rules that hold for each operation, or for each that
// takes a SecretId.
func commonRules() []Rule {
	var all []Rule
	for _, o := range operations {
		all = append(all, on(o.name, o.everywhere()...)...)
		if !o.noID {
			all = append(all, on(o.name, o.lookingUp()...)...)
			all = append(all, on(o.name, o.refusing()...)...)
		}
	}
	return all
}

func (o operation) everywhere() []rule {
	answers := "answers with exactly these members: "
	for i, m := range o.answer {
		if i > 0 {
			answers += ", "
		}
		answers += m
	}
	answerSource := api(o.name)
	if o.answer == nil {
		answers, answerSource = "answers with an empty body and Content-Length 0", terraform(43073)
	}
	return []rule{
		{answers, answerSource, func(p *Probe) {
			at, s := o.prepared(p)
			a := at.OK(o.name, o.request(p, s))
			if o.answer == nil {
				if len(a.Body) != 0 || a.Length != 0 {
					p.Fail("want an empty body, got %s", a)
				}
				return
			}
			a.Exactly(o.answer...)
		}},
		{"sends the type, length, date and id of its answer in headers", "AWS JSON 1.1 protocol", func(p *Probe) {
			at, s := o.prepared(p)
			at.OK(o.name, o.request(p, s)).headers()
		}},
		{"ignores members that it does not know, and takes null as absent", inferred, func(p *Probe) {
			at, s := o.prepared(p)
			in := o.request(p, s)
			in["NoSuchMember"] = M{"Deep": L{1, nil}}
			in["NothingHere"] = nil
			if !o.noID {
				in["VersionId"] = nil
			}
			at.OK(o.name, in)
		}},
	}
}

// headers expects what every answer has.
func (a *Answer) headers() {
	if ct := a.Header.Get("Content-Type"); ct != "application/x-amz-json-1.1" && len(a.Body) > 0 {
		a.p.Fail("Content-Type is %q", ct)
	}
	if id := a.Header.Get("X-Amzn-Requestid"); !uuidShape.MatchString(id) {
		a.p.Fail("x-amzn-RequestId is %q", id)
	}
	if date, err := http.ParseTime(a.Header.Get("Date")); err != nil || time.Since(date).Abs() > time.Minute {
		a.p.Fail("Date is %q", a.Header.Get("Date"))
	}
	if l := a.Header.Get("Content-Length"); l != strconv.Itoa(len(a.Body)) {
		a.p.Fail("Content-Length is %q for %d bytes", l, len(a.Body))
	}
}

func (o operation) lookingUp() []rule {
	source := inferred
	if slices.Contains(nameRecorded, o.name) {
		source = recorded("test_invalid_secret_name")
	}
	rules := []rule{
		{"finds the secret by its ARN", api(o.name), func(p *Probe) {
			at, s := o.prepared(p)
			at.OK(o.name, with(o.request(p, s), M{"SecretId": s.ARN}))
		}},
		{"finds the secret by its ARN without the random suffix", api(o.name), func(p *Probe) {
			at, s := o.prepared(p)
			at.OK(o.name, with(o.request(p, s), M{"SecretId": arnIn(s.PartialARN(), at.region)}))
		}},
		{"refuses a SecretId that can't be a name", source, func(p *Probe) {
			in := o.request(p, &Secret{Version: p.Token()})
			for _, bad := range []string{"Inv Name", " Inv Name", " Inv*Name? ", ` Inv *?!]Name\\-`} {
				p.Refused(o.name, with(in, M{"SecretId": bad}), "ValidationException", invalidName)
			}
		}},
		{"takes a SecretId for text: a number is no name, whatever else is wrong", sibling, func(p *Probe) {
			in := o.request(p, &Secret{Version: p.Token()})
			p.Refused(o.name, with(in, M{"SecretId": 17}), "SerializationException", "NUMBER_VALUE can not be converted to a String")
		}},
	}
	switch o.name {
	case "StopReplicationToReplica": // an ARN names the replica's region, as for all
		rules[0].check = func(p *Probe) {
			at, s := o.prepared(p)
			at.OK(o.name, M{"SecretId": arnIn(s.ARN, at.region)})
		}
	case "ValidateResourcePolicy":
	}
	return rules
}

// arnIn returns the ARN of a secret's replica in another region.
func arnIn(arn, region string) string {
	s := Secret{ARN: arn}
	return "arn:" + s.arn(1) + ":secretsmanager:" + region + ":" + s.arn(4) + ":secret:" + s.arn(6)
}

func (o operation) refusing() []rule {
	rules := []rule{
		{"does not find a secret that does not exist", recorded("test_secret_not_found"), func(p *Probe) {
			in := o.request(p, &Secret{Name: p.Name(), Version: p.Token()})
			a := p.Refused(o.name, in, "ResourceNotFoundException", notFound)
			a.Exactly("__type", "Message")
		}},
	}
	switch {
	case o.name == "ValidateResourcePolicy":
	case o.marked:
		rules = append(rules, rule{"answers for a secret that is marked for deletion", api(o.name), func(p *Probe) {
			p.OK(o.name, id(p, p.Marked()))
		}})
	default:
		source := inferred
		if s, ok := markRecorded[o.name]; ok {
			source = s
		} else if o.name != "DeleteSecret" {
			source = api("DeleteSecret")
		}
		rules = append(rules, rule{"refuses a secret that is marked for deletion", source, func(p *Probe) {
			s := p.Secret()
			in := o.request(p, s)
			p.OK("DeleteSecret", id(p, s))
			p.Refused(o.name, in, "InvalidRequestException", markedForDelete)
		}})
	}
	switch {
	case o.name == "StopReplicationToReplica":
	case o.reads:
		rules = append(rules, rule{"answers for a replica", "AWS user guide, Replicate secrets across Regions", func(p *Probe) {
			s, q := p.Replicated()
			q.OK(o.name, o.request(p, s))
		}})
	default:
		rules = append(rules, rule{"refuses a replica", cloudNuke, func(p *Probe) {
			s, q := p.Replicated()
			in := o.request(p, s)
			if o.name == "RotateSecret" {
				in["RotationLambdaARN"] = q.RotationFunction()
			}
			q.Refused(o.name, in, "InvalidParameterException", onReplica)
		}})
	}
	return rules
}
