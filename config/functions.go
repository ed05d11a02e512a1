package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// Bounds and default of a function's timeout, of which the longest is Lambda's.
const (
	minFunctionTimeout     = time.Second
	maxFunctionTimeout     = 15 * time.Minute
	defaultFunctionTimeout = maxFunctionTimeout

	// ownFunctions begins the names of Pawl's own, which the API has for its
	// strategies.
	ownFunctions = "pawl-"
)

var (
	functionName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	// lambdaARN may end in a version or an alias.
	lambdaARN = regexp.MustCompile(`^arn:aws[a-z-]*:lambda:(?:[a-z]+-)+[0-9]+:[0-9]{12}:function:([a-zA-Z0-9_-]{1,64})(:(?:\$LATEST|[a-zA-Z0-9_-]{1,128}))?$`)
	// lambdaGlob is such an ARN in which * may stand for any part of what follows
	// the service.
	lambdaGlob = regexp.MustCompile(`^arn:aws[a-z-]*:lambda:[a-zA-Z0-9_:$*-]{1,256}$`)

	roleName = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
)

// Allows reports whether the Lambda function may be called; where there are no
// Functions none may.
func (f *Functions) Allows(arn string) bool {
	return f != nil && (f.Allow == nil || slices.ContainsFunc(f.Allow, func(p string) bool { return secrets.Glob(p, arn) }))
}

// FunctionARN is the ARN by which the API and the rules of a rotation know a named
// function.
func (c *Config) FunctionARN(name string) string {
	return fmt.Sprintf("arn:%s:lambda:%s:%s:function:%s", secrets.PartitionOf(c.Region), c.Region, c.Account, name)
}

// NamedFunction returns the named function that an ARN means; ok is false for that
// of a Lambda function.
func (c *Config) NamedFunction(arn string) (f Function, ok bool) {
	if c.Functions == nil {
		return Function{}, false
	}
	i := slices.IndexFunc(c.Functions.Named, func(f Function) bool { return c.FunctionARN(f.Name) == arn })
	if i < 0 {
		return Function{}, false
	}
	return c.Functions.Named[i], true
}

func (c *checker) functions(y *functionsYAML) *Functions {
	if y == nil {
		return nil
	}
	out := &Functions{Endpoint: value(y.Endpoint), Profile: value(y.Profile), Allow: y.Allow}
	c.endpoint("functions.endpoint", out.Endpoint, "lambda", "requests there carry what lets a function finish a rotation")
	for i, arn := range y.Allow {
		if !lambdaGlob.MatchString(arn) || !strings.Contains(arn, "*") && !lambdaARN.MatchString(arn) {
			c.add(fmt.Sprintf("functions.allow[%d]", i), "must be the ARN of a Lambda function, arn:aws:lambda:REGION:ACCOUNT:function:NAME, in which * stands for any characters")
		}
	}
	lines := map[string]int{}
	for i, n := range y.Named {
		key := fmt.Sprintf("functions.named[%d]", i)
		f := c.function(key, n)
		if first := lines[f.Name]; first != 0 {
			c.add(key+".name", "the name %q is there twice, first on line %d; keep one", f.Name, first)
		} else if functionName.MatchString(f.Name) {
			lines[f.Name] = c.lines[key+".name"]
		}
		out.Named = append(out.Named, f)
	}
	return out
}

// function checks one function that is a command or a URL.
func (c *checker) function(key string, n functionYAML) Function {
	f := Function{
		Name: value(n.Name), Role: value(n.Role),
		Timeout: time.Duration(either(n.Timeout, nil, span(defaultFunctionTimeout))),
	}
	switch {
	case n.Name == nil:
		c.add(key+".name", "is missing; every function has a name, by which an entry of secrets chooses it")
	case !functionName.MatchString(f.Name):
		c.add(key+".name", "must have 1 to 64 letters, digits or any of -_")
	case strings.HasPrefix(f.Name, ownFunctions):
		c.add(key+".name", "must not begin with %s: those functions are Pawl's own", ownFunctions)
	}
	if f.Timeout < minFunctionTimeout || f.Timeout > maxFunctionTimeout {
		c.add(key+".timeout", "must be from 1s to 15m")
	}
	command := n.Command != nil || c.unusable(key+".command")
	url := n.URL != nil || c.unusable(key+".url")
	switch {
	case command && url:
		c.add(key+".url", "and command are both there; a function is one of the two, keep one of them")
	case command:
		c.byCommand(key, n, &f)
	case url:
		c.byURL(key, n, &f)
	case !c.unusable(key):
		c.add(key, "has neither command nor url; add the one by which it is called")
	}
	return f
}

func (c *checker) byCommand(key string, n functionYAML, f *Function) {
	f.Command = c.command(key+".command", n.Command, "[/usr/local/libexec/rotate-crm, --prod]")
	if n.KeyFile != nil {
		c.add(key+".key_file", "means nothing with command, which is not called over the network; leave it out")
	}
	if n.Role != nil && !roleName.MatchString(f.Role) {
		c.add(key+".role", "must be the name of a role, as in pawl access create NAME --role")
	}
	f.Environment = c.environment(key+".environment", n.Environment, n.Role != nil)
}

func (c *checker) byURL(key string, n functionYAML, f *Function) {
	f.URL, f.KeyFile = value(n.URL), c.path(key+".key_file", n.KeyFile)
	u, ok := webAddress(f.URL)
	switch {
	case !ok:
		c.add(key+".url", "must be https://HOST/PATH, without a user name, a query or a fragment: the signature says who calls")
	case u.Scheme == "http" && !engines.Loopback(u.Hostname()):
		c.add(key+".url", "must be https:// unless it is a loopback address: requests there carry what lets a function finish a rotation")
	}
	if n.Role != nil {
		c.add(key+".role", "means nothing with url: what answers there has credentials of its own; leave it out")
	}
	if n.Environment != nil {
		c.add(key+".environment", "means nothing with url; leave it out")
	}
}

// credentials are the variables by which a command with a role gets the role's.
var credentials = []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"}

// environment checks the variables of a command.
func (c *checker) environment(key string, list []string, role bool) []string {
	first := map[string]int{}
	for i, v := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		if c.unusable(at) {
			continue
		}
		name, _, given := strings.Cut(v, "=")
		switch {
		case !variable.MatchString(name):
			c.add(at, "must be NAME=value, or NAME alone for the value in Pawl's own environment")
			continue
		case strings.ContainsRune(v, 0):
			c.add(at, "holds a NUL character, which no variable can")
		case first[name] != 0:
			c.add(at, "the variable is there twice, first as number %d; keep one", first[name])
		case !given && strings.HasPrefix(name, "PG"):
			c.add(at, "must have its value here, as NAME=value: Pawl unsets variables that begin with PG, lest PostgreSQL's settings in them be minded")
		case role && slices.Contains(credentials, name):
			c.add(at, "contradicts role, whose credentials the command gets; remove one of the two")
		}
		if first[name] == 0 {
			first[name] = i + 1
		}
	}
	return list
}

// byFunction checks an entry whose steps a function does, and returns its rules.
// Those are nothing but the function and when it is called: how a password is made
// and set is the function's own business.
func (c *checker) byFunction(key string, s secretYAML, rules secrets.RotationRules, out *Config) secrets.RotationRules {
	if out.Store.AWS != nil {
		c.add(key+".function", "is of no use with store.aws: %s", rotatedByAWS)
	} else {
		rules.Function = c.functionOf(key+".function", value(s.Function), out)
	}
	for _, name := range meaningless {
		if c.lines[child(key, name)] != 0 {
			c.add(child(key, name), "means nothing with function, which does the steps by itself; leave it out")
		}
	}
	c.when(key, s.rulesYAML)
	return secrets.RotationRules{
		Strategy: secrets.Function, Function: rules.Function,
		Schedule: rules.Schedule, Window: rules.Window,
	}
}

// meaningless are the keys that an entry with a function can't have: all but those
// that say which and when.
var meaningless = []string{
	"strategy", "superuser", "propagation_timeout", "tls", "plain_password", "password",
	"engine", "hosts", "admin_host", "check_query", "adopt_clone",
}

// functionOf returns the ARN of the function that an entry names: one of
// functions.named by its name, or any Lambda function that may be called.
func (c *checker) functionOf(key, text string, out *Config) string {
	name, qualifier := text, ""
	lambda := lambdaARN.FindStringSubmatch(text)
	if lambda != nil {
		name, qualifier = lambda[1], lambda[2]
	}
	strategy, own := strings.CutPrefix(name, ownFunctions)
	own = own && qualifier == "" && (strategy == secrets.SingleUser || strategy == secrets.AlternatingUsers)
	switch _, named := out.NamedFunction(text); {
	case named:
		return text
	case own:
		c.add(key, "is Pawl's own and no custom function; write strategy: %s instead", strategy)
	case lambda == nil && functionName.MatchString(text):
		return c.namedFunction(key, text, out)
	case lambda == nil:
		c.add(key, "must be a name of functions.named, or the ARN of a Lambda function, arn:aws:lambda:REGION:ACCOUNT:function:NAME")
	case out.Functions == nil && !c.unusable("functions"):
		c.add(key, "is a Lambda function, and the file does not say that Pawl may call any; add functions: {allow: [%q]}", text)
	case !out.Functions.Allows(text) && !c.unusable("functions.allow"):
		c.add(key, "is not among the Lambda functions that Pawl may call; add %q to functions.allow", text)
	default:
		return text
	}
	return ""
}

func (c *checker) namedFunction(key, name string, out *Config) string {
	arn := out.FunctionARN(name)
	if _, ok := out.NamedFunction(arn); ok || c.unusable("functions.named") {
		return arn
	}
	var names []string
	if out.Functions != nil {
		for _, f := range out.Functions.Named {
			if functionName.MatchString(f.Name) {
				names = append(names, f.Name)
			}
		}
	}
	if len(names) == 0 {
		c.add(key, "unknown function; describe it in functions.named, or give the ARN of a Lambda function")
	} else {
		c.add(key, "unknown function%s", hint(name, names))
	}
	return ""
}
