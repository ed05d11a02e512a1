package conformance

import (
	"net/http"
	"regexp"
	"strings"
	"time"
)

// password is the request that rules about who asks send: it asks for nothing
// of anybody's.
func password(change Request) Request {
	change.Operation, change.Body = "GetRandomPassword", []byte("{}")
	return change
}

func authorization(change func(string) string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", change(r.Header.Get("Authorization"))) }
}

const differs = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."

// stamp is how dates are written where requests are signed.
const stamp = `\d{8}T\d{6}Z`

var authRules = on(Authentication,
	rule{"refuses a request without credentials", signing, func(p *Probe) {
		p.Send(password(Request{After: func(r *http.Request) { r.Header.Del("Authorization") }})).
			Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
	}},
	rule{"refuses credentials without a signature", signing, func(p *Probe) {
		cut := authorization(func(a string) string { return regexp.MustCompile(`, ?Signature=\w+`).ReplaceAllString(a, "") })
		a := p.Send(password(Request{After: cut})).Refused("IncompleteSignatureException", "")
		if !strings.HasPrefix(a.Text(), "Authorization header requires 'Signature' parameter.") {
			p.Fail("%s", a)
		}
	}},
	rule{"refuses credentials without a list of signed headers", signing, func(p *Probe) {
		cut := authorization(func(a string) string { return regexp.MustCompile(`SignedHeaders=[^,]+, ?`).ReplaceAllString(a, "") })
		a := p.Send(password(Request{After: cut})).Refused("IncompleteSignatureException", "")
		if !strings.HasPrefix(a.Text(), "Authorization header requires 'SignedHeaders' parameter.") {
			p.Fail("%s", a)
		}
	}},
	rule{"refuses a request without a date", signing, func(p *Probe) {
		cut := func(r *http.Request) { r.Header.Del("X-Amz-Date"); r.Header.Del("Date") }
		a := p.Send(password(Request{After: cut})).Refused("IncompleteSignatureException", "")
		if !strings.HasPrefix(a.Text(), "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.") {
			p.Fail("%s", a)
		}
	}},
	rule{"accepts the parts of the header with and without spaces between them", signing, func(p *Probe) {
		for _, comma := range []string{",", ", ", ",  "} {
			a := p.Send(password(Request{After: authorization(func(a string) string { return strings.ReplaceAll(a, ", ", comma) })}))
			if a.Status != http.StatusOK {
				p.Fail("with %q: %s", comma, a)
			}
		}
	}},
	rule{"refuses credentials for another service", signing, func(p *Probe) {
		a := p.Send(password(Request{Service: "s3"})).Refused("InvalidSignatureException", "")
		if !strings.Contains(a.Text(), "Credential should be scoped to correct service: 'secretsmanager'.") {
			p.Fail("%s", a)
		}
	}},
	rule{"refuses a scope that does not end in aws4_request", signing, func(p *Probe) {
		a := p.Send(password(Request{After: authorization(func(a string) string { return strings.Replace(a, "/aws4_request", "/aws5_request", 1) })})).
			Refused("InvalidSignatureException", "")
		if !strings.Contains(a.Text(), "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.") {
			p.Fail("%s", a)
		}
	}},
	rule{"refuses a scope of another day than the request's", signing, func(p *Probe) {
		p.Verified()
		a := p.Send(password(Request{After: authorization(func(a string) string {
			return regexp.MustCompile(`/\d{8}/`).ReplaceAllString(a, "/20200102/")
		})})).Refused("InvalidSignatureException", "")
		if !strings.Contains(a.Text(), "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20200102' != '") {
			p.Fail("%s", a)
		}
	}},
	rule{"refuses an access key that nobody has", signing, func(p *Probe) {
		p.Verified()
		c := p.cred
		c.AccessKeyID, c.SessionToken = "AKIAPAWLCONFORMANCE0", ""
		p.As(c).Send(password(Request{})).Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
	}},
	rule{"refuses a signature made with another secret key", signing, func(p *Probe) {
		p.Verified()
		c := p.cred
		c.SecretAccessKey += "x"
		a := p.As(c).Send(password(Request{})).Refused("InvalidSignatureException", "")
		if !strings.HasPrefix(a.Text(), differs) {
			p.Fail("%s", a)
		}
	}},
	rule{"refuses a body that was changed after it was signed", signing, func(p *Probe) {
		p.Verified()
		a := p.Send(Request{Operation: "GetRandomPassword", Body: []byte("{}"), After: func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "secretsmanager.ListSecrets")
		}}).Refused("InvalidSignatureException", "")
		if !strings.HasPrefix(a.Text(), differs) {
			p.Fail("%s", a)
		}
	}},
	rule{"refuses a header of AWS's that was added after signing", inferred, func(p *Probe) {
		p.Verified()
		p.Send(password(Request{After: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "token") }})).Refused("", "")
	}},
	rule{"accepts a request signed four minutes ago", skewed, func(p *Probe) {
		if a := p.Send(password(Request{At: time.Now().Add(-4 * time.Minute)})); a.Status != http.StatusOK {
			p.Fail("%s", a)
		}
	}},
	rule{"accepts a request signed four minutes from now", skewed, func(p *Probe) {
		if a := p.Send(password(Request{At: time.Now().Add(4 * time.Minute)})); a.Status != http.StatusOK {
			p.Fail("%s", a)
		}
	}},
	rule{"refuses a request signed more than five minutes ago", skewed, func(p *Probe) {
		p.Verified()
		a := p.Send(password(Request{At: time.Now().Add(-6 * time.Minute)})).Refused("InvalidSignatureException", "")
		want := regexp.MustCompile(`^Signature expired: ` + stamp + ` is now earlier than ` + stamp + ` \(` + stamp + ` - 5 min\.\)`)
		if !want.MatchString(a.Text()) {
			p.Fail("%s", a)
		}
	}},
	rule{"refuses a request signed more than five minutes from now", skewed, func(p *Probe) {
		p.Verified()
		a := p.Send(password(Request{At: time.Now().Add(6 * time.Minute)})).Refused("InvalidSignatureException", "")
		want := regexp.MustCompile(`^Signature not yet current: ` + stamp + ` is still later than ` + stamp + ` \(` + stamp + ` \+ 5 min\.\)`)
		if !want.MatchString(a.Text()) {
			p.Fail("%s", a)
		}
	}},
	rule{"accepts session credentials with their token", signing, func(p *Probe) {
		s := p.Secret()
		p.session().Get(s).Is("SecretString", "first")
	}},
	rule{"refuses session credentials without their token", signing, func(p *Probe) {
		q := p.session()
		q.cred.SessionToken = ""
		q.Send(password(Request{})).Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
	}},
	rule{"refuses session credentials with a token that is not theirs", signing, func(p *Probe) {
		q := p.session()
		middle := len(q.cred.SessionToken) / 2
		other := "A"
		if q.cred.SessionToken[middle] == 'A' {
			other = "B"
		}
		q.cred.SessionToken = q.cred.SessionToken[:middle] + other + q.cred.SessionToken[middle+1:]
		q.Send(password(Request{})).Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
	}},
	rule{"refuses a session's token that the signature does not cover", signing, func(p *Probe) {
		q := p.session()
		token := q.cred.SessionToken
		q.cred.SessionToken = ""
		q.Send(password(Request{After: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", token) }})).Refused("", "")
	}},
	rule{"denies who may not, and names the action, whether or not the secret exists", "AWS user guide, Troubleshoot AWS Secrets Manager", func(p *Probe) {
		s, q, missing := p.Secret(), p.denied(), p.Name()
		for _, id := range []string{s.Name, s.ARN, missing} {
			a := q.Refused("GetSecretValue", M{"SecretId": id}, "AccessDeniedException", "")
			before, after, ok := strings.Cut(a.Text(), " is not authorized to perform: secretsmanager:GetSecretValue on resource: ")
			resource, why, ok2 := strings.Cut(after, " because ")
			// AWS names a secret that exists by its ARN, Pawl as it was asked for.
			named := resource == id || resource == s.ARN && id != missing
			if !ok || !ok2 || !strings.HasPrefix(before, "User: arn:") || !named || why != "no identity-based policy allows the secretsmanager:GetSecretValue action" {
				p.Fail("%s", a)
			}
		}
	}},
	rule{"denies a listing without naming a resource", actions, func(p *Probe) {
		a := p.denied().Refused("ListSecrets", M{}, "AccessDeniedException", "")
		if !strings.Contains(a.Text(), " is not authorized to perform: secretsmanager:ListSecrets because ") {
			p.Fail("%s", a)
		}
	}},
)

// session returns the Probe with session credentials.
func (p *Probe) session() *Probe {
	p.Verified()
	if p.Session == nil {
		p.Skip("needs session credentials")
	}
	return p.As(*p.Session)
}

// denied returns the Probe as somebody who may do nothing.
func (p *Probe) denied() *Probe {
	if p.Denied == nil {
		p.Skip("needs credentials that may do nothing")
	}
	return p.As(*p.Denied)
}
