package conformance

import (
	"fmt"
	"strings"
	"time"
)

const (
	invalidLambda = "test_rotate_secret_invalid_lambda_arn"
	noFunction    = "No Lambda rotation function ARN is associated with this secret."
	cannotInvoke  = "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com."
	notComplete   = "A previous rotation isn't complete. That rotation will be reattempted."
	malformedARN  = "Invalid rotation Lambda ARN. Ensure the ARN matches format arn:aws:lambda:<region>:<account>:function:<functionName>."
	rotation      = "AWS user guide, Rotation by Lambda function"
	nextDate      = "answer of AWS: AutomaticallyAfterDays 30, changed by hand 2026-02-03, next 2026-03-05T23:59:59Z"
)

// Stuck makes a secret whose rotation has begun and can't go on: its value is
// not a JSON object, which every rotation function refuses before it makes a new
// one. pending is the id of the version that the rotation waits for.
func (p *Probe) Stuck() (s *Secret, pending string) {
	function := p.RotationFunction()
	s, pending = p.Secret(), p.Token()
	p.OK("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": pending, "RotationLambdaARN": function,
		"RotationRules": M{"AutomaticallyAfterDays": 30}})
	return s, pending
}

// rotated is RotateSecret with a token, not immediately.
func (p *Probe) rotated(s *Secret, more M) *Answer {
	return p.Call("RotateSecret", with(M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "RotateImmediately": false}, more))
}

// scheduled makes a secret with rotation turned on and nothing begun.
func (p *Probe) scheduled(rules M) *Secret {
	function := p.RotationFunction()
	s := p.Secret()
	if a := p.rotated(s, M{"RotationLambdaARN": function, "RotationRules": rules}); a.Status != 200 {
		p.Fail("%s", a)
	}
	return s
}

// missingFunction is the ARN of a function that does not exist.
func (p *Probe) missingFunction() string {
	return fmt.Sprintf("arn:%s:lambda:%s:%s:function:pawl-conformance-%s", p.partition, p.region, p.account, p.Word())
}

var rotateRules = on("RotateSecret",
	rule{"refuses a missing ClientRequestToken, with another exception than other operations", recorded("test_no_client_request_token[RotateSecret]"), func(p *Probe) {
		p.Refused("RotateSecret", M{"SecretId": p.Name()}, "InvalidParameterException", noToken)
	}},
	rule{"refuses a secret without a function, given or stored", recorded("test_first_rotate_secret_with_missing_lambda_arn"), func(p *Probe) {
		s := p.Secret()
		p.Refused("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "RotationRules": M{"AutomaticallyAfterDays": 1}},
			"InvalidRequestException", noFunction)
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT"})
		p.Describe(s).Absent("RotationEnabled", "RotationRules")
	}},
	rule{"refuses a function that does not exist", recorded(invalidLambda), func(p *Probe) {
		s := p.Secret()
		p.Refused("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "RotationLambdaARN": p.missingFunction(),
			"RotationRules": M{"AutomaticallyAfterDays": 1}}, "AccessDeniedException", cannotInvoke)
	}},
	rule{"stores nothing when the function does not exist", recorded(invalidLambda), func(p *Probe) {
		s := p.Secret()
		before := p.Describe(s)
		p.Refused("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "RotationLambdaARN": p.missingFunction(),
			"RotationRules": M{"AutomaticallyAfterDays": 1}}, "AccessDeniedException", "")
		if after := p.Describe(s); !equal(after.Members, before.Members) {
			p.Fail("%s, then %s", before, after)
		}
	}},
	rule{"refuses an ARN that is not a function's", preflight, func(p *Probe) {
		s := p.Secret()
		for _, bad := range []string{"rotator", "arn:aws:lambda:us-east-1:123456789012", "arn:aws:s3:::bucket", "arn:aws:lambda:us-east-1:12:function:f"} {
			p.Refused("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "RotationLambdaARN": bad,
				"RotationRules": M{"AutomaticallyAfterDays": 1}}, "InvalidParameterException", malformedARN)
		}
	}},
	rule{"answers ARN, name and the token as VersionId before the rotation has ended", api("RotateSecret"), func(p *Probe) {
		function, s, token := p.RotationFunction(), p.Secret(), p.Token()
		p.OK("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": token, "RotationLambdaARN": function}).
			Exactly("ARN", "Name", "VersionId").Is("ARN", s.ARN).Is("Name", s.Name).Is("VersionId", token)
	}},
	rule{"puts AWSPENDING on an empty version of the token's id", rotation, func(p *Probe) {
		s, pending := p.Stuck()
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT", pending: "AWSPENDING"})
		p.Get(s).Is("SecretString", "first")
	}},
	rule{"refuses another rotation while one is not complete", "answer of AWS quoted in several issues", func(p *Probe) {
		s, _ := p.Stuck()
		p.Refused("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token()}, "InvalidRequestException", notComplete)
	}},
	rule{"joins the rotation that has the same token", inferred, func(p *Probe) {
		s, pending := p.Stuck()
		p.OK("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": pending}).Is("VersionId", pending)
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT", pending: "AWSPENDING"})
	}},
	rule{"takes a rotation for complete whose version was made current by hand", api("RotateSecret"), func(p *Probe) {
		s, pending := p.Stuck()
		p.OK("PutSecretValue", M{"SecretId": s.Name, "ClientRequestToken": pending, "SecretString": "second", "VersionStages": L{"AWSPENDING"}})
		p.moved(s, "AWSCURRENT", s.Version, pending)
		p.OK("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token()})
	}},
	rule{"starts again after another value was put by hand", terraformRelies, func(p *Probe) {
		s, pending := p.Stuck()
		v := p.Put(s, "by hand")
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", v: "AWSCURRENT"})
		token := p.Token()
		p.OK("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": token})
		if token == pending {
			p.Fail("twice %s", token)
		}
	}},
	rule{"starts again after AWSPENDING was taken off", "AWS user guide, Troubleshoot rotation", func(p *Probe) {
		s, pending := p.Stuck()
		p.moved(s, "AWSPENDING", pending, "")
		p.OK("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token()})
	}},
	rule{"turns rotation on and shows function and rules", api("DescribeSecret"), func(p *Probe) {
		d := p.Describe(p.scheduled(M{"AutomaticallyAfterDays": 30}))
		d.Is("RotationEnabled", true).Is("RotationLambdaARN", p.RotationFunction()).Is("RotationRules", M{"AutomaticallyAfterDays": 30}).Absent("LastRotatedDate")
	}},
	rule{"shows function, rules and date in listings", api("ListSecrets"), func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		p.Eventually(func() string {
			e := p.entry(s, M{})
			if _, ok := e.Members["RotationEnabled"]; !ok {
				return e.String()
			}
			e.Is("RotationEnabled", true).Is("RotationLambdaARN", p.RotationFunction()).Is("RotationRules", M{"AutomaticallyAfterDays": 30})
			e.Time("NextRotationDate")
			return ""
		})
	}},
	rule{"keeps the function when only rules are given", api("RotateSecret"), func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		if a := p.rotated(s, M{"RotationRules": M{"AutomaticallyAfterDays": 7}}); a.Status != 200 {
			p.Fail("%s", a)
		}
		p.Describe(s).Is("RotationLambdaARN", p.RotationFunction()).Is("RotationRules", M{"AutomaticallyAfterDays": 7})
	}},
	rule{"keeps function and rules when neither is given", api("RotateSecret"), func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		if a := p.rotated(s, M{}); a.Status != 200 {
			p.Fail("%s", a)
		}
		p.Describe(s).Is("RotationLambdaARN", p.RotationFunction()).Is("RotationRules", M{"AutomaticallyAfterDays": 30})
	}},
	rule{"replaces a number of days by an expression", api("RotateSecret"), func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		if a := p.rotated(s, M{"RotationRules": M{"ScheduleExpression": "rate(10 days)"}}); a.Status != 200 {
			p.Fail("%s", a)
		}
		rules := p.Describe(s).Members["RotationRules"].(map[string]any)
		if rules["ScheduleExpression"] != "rate(10 days)" {
			p.Fail("%v", rules)
		}
	}},
	rule{"accepts a function without rules", api("RotateSecret"), func(p *Probe) {
		function, s := p.RotationFunction(), p.Secret()
		if a := p.rotated(s, M{"RotationLambdaARN": function}); a.Status != 200 {
			p.Fail("%s", a)
		}
		p.Describe(s).Is("RotationEnabled", true).Is("RotationLambdaARN", function)
	}},
	rule{"plans AutomaticallyAfterDays to the end of the UTC day, counted from the last change", nextDate, func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		changed := p.Describe(s).Time("CreatedDate")
		p.Describe(s).Within("NextRotationDate", endOfDay(changed.AddDate(0, 0, 30)), time.Second)
	}},
	rule{"plans rate() in days to the end of the UTC day", schedules, func(p *Probe) {
		s := p.scheduled(M{"ScheduleExpression": "rate(10 days)"})
		p.Describe(s).Within("NextRotationDate", endOfDay(p.Describe(s).Time("CreatedDate").AddDate(0, 0, 10)), time.Second)
	}},
	rule{"counts the interval from a value that was put by hand", nextDate, func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		v := p.Put(s, "by hand")
		p.Describe(s).Absent("LastRotatedDate").Within("NextRotationDate", endOfDay(p.versions(s, false)[v].Time("CreatedDate").AddDate(0, 0, 30)), time.Second)
	}},
	rule{"plans cron() without a Duration to the end of the window's UTC day", schedules, func(p *Probe) {
		next := p.Describe(p.scheduled(M{"ScheduleExpression": "cron(0 10 * * ? *)"})).Time("NextRotationDate")
		start := time.Now().UTC().Truncate(24 * time.Hour).Add(10 * time.Hour)
		if !start.After(time.Now()) {
			start = start.AddDate(0, 0, 1)
		}
		today := endOfDay(time.Now().UTC())
		if next.Sub(endOfDay(start)).Abs() > time.Second && next.Sub(today).Abs() > time.Second {
			p.Fail("NextRotationDate %s", next)
		}
	}},
	rule{"computes AutomaticallyAfterDays beside an expression", terraform(31915), func(p *Probe) {
		for expression, days := range map[string]int{"rate(10 hours)": 1, "rate(10 days)": 10} {
			p.Describe(p.scheduled(M{"ScheduleExpression": expression})).
				Is("RotationRules", M{"ScheduleExpression": expression, "AutomaticallyAfterDays": days})
		}
	}},
	rule{"keeps a Duration", api("RotateSecret"), func(p *Probe) {
		rules := p.Describe(p.scheduled(M{"ScheduleExpression": "cron(0 10 * * ? *)", "Duration": "3h"})).Members["RotationRules"].(map[string]any)
		if rules["Duration"] != "3h" || rules["ScheduleExpression"] != "cron(0 10 * * ? *)" {
			p.Fail("%v", rules)
		}
	}},
	rule{"not immediately makes no version that stays", moto("test_rotate_secret_using_lambda_dont_rotate_immediately"), func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		p.Eventually(func() string {
			if n := len(p.versions(s, false)); n != 1 {
				return fmt.Sprintf("%d versions", n)
			}
			return ""
		})
		p.Describe(s).Absent("LastRotatedDate")
		p.Get(s).Is("SecretString", "first")
	}},
	rule{"not immediately does not stand in the way of a rotation that follows", moto("test_rotate_secret_using_lambda_dont_rotate_immediately"), func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		p.Eventually(func() string {
			a := p.Call("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token()})
			if a.Status != 200 {
				return a.String()
			}
			return ""
		})
	}},
	rule{"does not rotate a secret while it is marked for deletion", api("DeleteSecret"), func(p *Probe) {
		s, _ := p.Stuck()
		p.OK("DeleteSecret", id(p, s))
		p.Refused("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token()}, "InvalidRequestException", markedForDelete)
	}},
)

func endOfDay(t time.Time) time.Time {
	return t.UTC().Truncate(24 * time.Hour).Add(24*time.Hour - time.Second)
}

var cancelRules = on("CancelRotateSecret",
	rule{"turns rotation off and keeps function and rules", api("CancelRotateSecret"), func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		p.OK("CancelRotateSecret", id(p, s)).Is("ARN", s.ARN).Is("Name", s.Name)
		p.Describe(s).Is("RotationEnabled", false).Is("RotationLambdaARN", p.RotationFunction()).Is("RotationRules", M{"AutomaticallyAfterDays": 30})
	}},
	rule{"takes NextRotationDate away", api("DescribeSecret"), func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		p.OK("CancelRotateSecret", id(p, s))
		p.Describe(s).Absent("NextRotationDate")
	}},
	rule{"leaves AWSPENDING where it is, and names its version", api("CancelRotateSecret"), func(p *Probe) {
		s, pending := p.Stuck()
		p.OK("CancelRotateSecret", id(p, s)).Is("VersionId", pending)
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT", pending: "AWSPENDING"})
	}},
	rule{"answers no VersionId where no rotation has begun", api("CancelRotateSecret"), func(p *Probe) {
		p.OK("CancelRotateSecret", id(p, p.scheduled(M{"AutomaticallyAfterDays": 30}))).Exactly("ARN", "Name")
	}},
	rule{"is undone by RotateSecret without function and rules", api("CancelRotateSecret"), func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		p.OK("CancelRotateSecret", id(p, s))
		if a := p.rotated(s, M{}); a.Status != 200 {
			p.Fail("%s", a)
		}
		p.Describe(s).Is("RotationEnabled", true).Is("RotationRules", M{"AutomaticallyAfterDays": 30}).Time("NextRotationDate")
	}},
	rule{"succeeds again", inferred, func(p *Probe) {
		s := p.scheduled(M{"AutomaticallyAfterDays": 30})
		p.OK("CancelRotateSecret", id(p, s))
		p.OK("CancelRotateSecret", id(p, s))
	}},
)

const rotationSuccess = "test_rotate_secret_with_lambda_success"

// rotating makes a secret that really rotates, by value's server.
func (p *Probe) rotating() *Secret {
	function := p.RotationFunction()
	if p.Rotatable == nil {
		p.Skip("needs a server whose password the function can rotate")
	}
	value, ok := p.Rotatable()
	if !ok {
		p.Skip("there are no more values to rotate")
	}
	s := p.Secret(M{"SecretString": value})
	if a := p.rotated(s, M{"RotationLambdaARN": function, "RotationRules": M{"AutomaticallyAfterDays": 30}}); a.Status != 200 {
		p.Fail("%s", a)
	}
	return s
}

// rotate rotates a secret to the end and returns the new version.
func (p *Probe) rotate(s *Secret) string {
	token := p.Token()
	p.OK("RotateSecret", M{"SecretId": s.Name, "ClientRequestToken": token})
	p.Eventually(func() string {
		d := p.Describe(s)
		stages, _ := d.Members["VersionIdsToStages"].(map[string]any)
		if l := strings.Join(p.labels(stages[token]), " "); l != "AWSCURRENT" {
			return d.String()
		}
		return ""
	})
	return token
}

var rotatedRules = on("RotateSecret",
	rule{"ends with AWSCURRENT alone on the new version and AWSPREVIOUS on the old one", recorded(rotationSuccess), func(p *Probe) {
		s := p.rotating()
		v := p.rotate(s)
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", v: "AWSCURRENT"})
	}},
	rule{"gives the new version another value and keeps the old one", recorded(rotationSuccess), func(p *Probe) {
		s := p.rotating()
		first := p.Get(s).Str("SecretString")
		p.rotate(s)
		if second := p.Get(s).Str("SecretString"); second == first {
			p.Fail("the value is the same")
		}
		p.OK("GetSecretValue", M{"SecretId": s.Name, "VersionStage": "AWSPREVIOUS"}).Is("SecretString", first)
	}},
	rule{"sets LastRotatedDate when a rotation has ended", recorded(rotationSuccess), func(p *Probe) {
		s := p.rotating()
		p.Describe(s).Absent("LastRotatedDate")
		p.rotate(s)
		p.Eventually(func() string {
			d := p.Describe(s)
			if _, ok := d.Members["LastRotatedDate"]; !ok {
				return d.String()
			}
			d.Within("LastRotatedDate", time.Now(), time.Minute)
			return ""
		})
	}},
	rule{"leaves LastRotatedDate when a value is put by hand", nextDate, func(p *Probe) {
		s := p.rotating()
		p.rotate(s)
		var rotated time.Time
		p.Eventually(func() string {
			d := p.Describe(s)
			if _, ok := d.Members["LastRotatedDate"]; !ok {
				return d.String()
			}
			rotated = d.Time("LastRotatedDate")
			return ""
		})
		p.pause(20 * time.Millisecond)
		p.Put(s, p.OK("GetSecretValue", id(p, s)).Str("SecretString"))
		p.Describe(s).Within("LastRotatedDate", rotated, 0)
	}},
	rule{"rotates again with another token", recorded(rotationSuccess), func(p *Probe) {
		s := p.rotating()
		v2 := p.rotate(s)
		v3 := p.rotate(s)
		p.Stages(s, map[string]string{v2: "AWSPREVIOUS", v3: "AWSCURRENT"})
	}},
	rule{"plans the next rotation from the one that has ended", api("DescribeSecret"), func(p *Probe) {
		s := p.rotating()
		p.rotate(s)
		p.Eventually(func() string {
			d := p.Describe(s)
			if _, ok := d.Members["LastRotatedDate"]; !ok {
				return d.String()
			}
			d.Within("NextRotationDate", endOfDay(d.Time("LastRotatedDate").AddDate(0, 0, 30)), time.Second)
			return ""
		})
	}},
)
