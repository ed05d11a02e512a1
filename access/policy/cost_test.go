package policy

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// longest makes the longest policy on a secret of as many statements as fit.
func longest(t testing.TB, statement func(i int) string) *Prepared {
	t.Helper()
	var all []string
	n := len(`{"Version":"2012-10-17","Statement":[]}`)
	for i := 0; ; i++ {
		s := statement(i)
		if n += len(s) + 1; n > 20480 {
			break
		}
		all = append(all, s)
	}
	d, err := ParseResource(`{"Version":"2012-10-17","Statement":[` + strings.Join(all, ",") + `]}`)
	if err != nil {
		t.Fatal(err)
	}
	return Prepare(d)
}

func denying(resource, condition string) string {
	return `{"Effect":"Deny","Principal":"*","Action":"*","Resource":"` + resource + `"` + condition + `}`
}

// TestNoPolicyIsCostly: the owner of a secret writes its policy, and chooses much
// of what it is compared with. The costliest he can think of takes milliseconds.
func TestNoPolicyIsCostly(t *testing.T) {
	arn := "arn:aws:secretsmanager:us-east-1:111122223333:secret:" + strings.Repeat("a", 512) + "-AbCdEf"
	c := Context{}
	c.Add("aws:UserAgent", strings.Repeat("a", 1024))
	c.Add("secretsmanager:Description", strings.Repeat("a", 2048))
	half := strings.Repeat("a?", 128)
	for name, p := range map[string]*Prepared{
		"stars":     longest(t, func(int) string { return denying("arn:aws:secretsmanager:*:*:*"+strings.Repeat("a*", 250)+"b", "") }),
		"one star":  longest(t, func(int) string { return denying("arn:aws:secretsmanager:*:*:*"+half+"b", "") }),
		"questions": longest(t, func(int) string { return denying("arn:aws:secretsmanager:*:*:*"+strings.Repeat("?a*", 150)+"b", "") }),
		"a condition": longest(t, func(int) string {
			return denying("*", `,"Condition":{"StringLike":{"secretsmanager:Description":"*`+strings.Repeat("a?", 500)+`b*"}}`)
		}),
		"variables": longest(t, func(int) string {
			return denying("*", `,"Condition":{"StringLike":{"secretsmanager:Description":"*`+strings.Repeat("${aws:UserAgent}", 50)+`b"}}`)
		}),
		"values": longest(t, func(i int) string {
			return denying("*", `,"Condition":{"StringNotEqualsIgnoreCase":{"aws:UserAgent":["`+strings.Repeat(`a","`, 200)+`b","`+strings.Repeat("a", 1024)+`"]}}`)
		}),
	} {
		var v Verdict
		took := time.Duration(math.MaxInt64)
		for n := 0; n < 3 && took > 2*time.Second; n++ { // the machine may be busy with something else
			began := time.Now()
			v = Evaluate(Policies{Resource: p, ResourceAccount: "111122223333"}, Request{
				Action: get, Resource: arn, Context: c, Principal: Principal{ARN: "arn:aws:iam::111122223333:root", Account: "111122223333", Type: RootUser},
			})
			took = min(took, time.Since(began))
		}
		if took > 2*time.Second || !v.Allowed {
			t.Errorf("%s: %v, %v", name, took, v)
		}
	}
}

// TestVariablesTakeNoMemory: a value that a policy names a thousand times is not
// put together a thousand times where it can't match.
func TestVariablesTakeNoMemory(t *testing.T) {
	c := Context{}
	c.Add("aws:UserAgent", strings.Repeat("x", 30<<10))
	c.Add("aws:Referer", strings.Repeat("x", 60<<10))
	two := compile("a${aws:Referer}${aws:UserAgent}*", syntaxOf{wildcards: true, variables: true})
	many := compile("a"+strings.Repeat("${aws:UserAgent}", 1000), syntaxOf{wildcards: true, variables: true})
	unknown := compile(strings.Repeat("${aws:UserAgent}", 1000)+"${aws:Nothing}", syntaxOf{variables: true})
	e := &evaluation{Request: Request{Context: c}}
	s := "a" + strings.Repeat("x", 90<<10)
	if m, known := two.match(e, s); !m || !known {
		t.Error("what fits does not match")
	}
	if m, known := two.match(e, s[:len(s)-1]); m || !known {
		t.Error("what is a character short matches")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if m, known := many.match(e, s); m || !known {
		t.Error("what is too long matches")
	}
	if m, known := unknown.match(e, s); m || known {
		t.Error("a variable without a value counts as known")
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20 {
		t.Errorf("it took %d bytes", took)
	}
}

// TestWeight: what documents weigh is about what they take.
func TestWeight(t *testing.T) {
	short := func(i int) string {
		var actions []string
		for j := range 100 {
			actions = append(actions, fmt.Sprintf("secretsmanager:%c*", 'a'+(i+j)%26))
		}
		return denying(`*`, `,"NotAction":["`+strings.Join(actions, `","`)+`"]`)
	}
	for name, statement := range map[string]func(int) string{
		"actions": func(i int) string { return strings.Replace(short(i), `"Action":"*",`, "", 1) },
		"resources": func(int) string {
			return strings.Replace(denying("@", ""), `"@"`, `["`+strings.Repeat(`*","`, 1000)+`*"]`, 1)
		},
		"values": func(int) string {
			return denying("*", `,"Condition":{"StringLike":{"a:b":["`+strings.Repeat(`*","`, 1000)+`*"]}}`)
		},
		"arns": func(int) string {
			return denying("*", `,"Condition":{"ArnLike":{"a:b":["`+strings.Repeat(`:::::*","`, 1000)+`*"]}}`)
		},
		"numbers": func(int) string {
			return denying("*", `,"Condition":{"NumericEquals":{"a:b":["`+strings.Repeat(`1","`, 1000)+`1"]}}`)
		},
		"conditions": func(int) string { return denying("*", `,"Condition":{"StringLike":{"a:b":"*","a:c":"?","a:d":"x"}}`) },
		"statements": func(int) string { return denying("*", "") },
		"texts":      func(int) string { return denying("arn:aws:secretsmanager:*:*:secret:"+strings.Repeat("x", 400), "") },
	} {
		const n = 8
		kept := make([]*Prepared, n)
		heap := func() uint64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		for i := range kept {
			kept[i] = longest(t, statement)
		}
		took := int(heap()-before) / n
		if w := kept[0].Weight(); took > 2*w || w > 4*took {
			t.Errorf("%s: weighs %d and takes %d", name, w, took)
		}
		runtime.KeepAlive(kept)
	}
}

// TestKeyNames: two names are one if and only if tags of these names are.
func TestKeyNames(t *testing.T) {
	letters := rapid.SampledFrom([]rune("aAsSſkKKµμΜßẞiIİıσςΣ."))
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringOfN(letters, 0, 3, -1).Draw(t, "a"), rapid.StringOfN(letters, 0, 3, -1).Draw(t, "b")
		if strings.EqualFold(a, b) != (KeyName(a) == KeyName(b)) {
			t.Fatalf("%q and %q become %q and %q", a, b, KeyName(a), KeyName(b))
		}
	})
	if got := KeyName("aws:SourceIp"); got != "aws:sourceip" {
		t.Error(got)
	}
}
