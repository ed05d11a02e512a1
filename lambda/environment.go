package lambda

import (
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/secrets"
)

// Environment is how the function's environment variables configure it: Pawl's
// own, and those of AWS's published rotation functions, so that this one can
// take their place as it is.
type Environment struct {
	Rules    secrets.RotationRules
	Pairings []secrets.Pairing
	Endpoint string // of Secrets Manager; "" = the region's
	LogLevel slog.Level
}

// The variables of Pawl's own.
const (
	envStrategy   = "PAWL_STRATEGY"
	envRules      = "PAWL_RULES"
	envSuperusers = "PAWL_SUPERUSERS"
	envLogLevel   = "PAWL_LOG_LEVEL"
)

// The variables of AWS's published functions.
const (
	envEndpoint    = "SECRETS_MANAGER_ENDPOINT"
	envLength      = "PASSWORD_LENGTH"
	envExclude     = "EXCLUDE_CHARACTERS"
	envNumbers     = "EXCLUDE_NUMBERS"
	envPunctuation = "EXCLUDE_PUNCTUATION"
	envUppercase   = "EXCLUDE_UPPERCASE"
	envLowercase   = "EXCLUDE_LOWERCASE"
	envRequire     = "REQUIRE_EACH_INCLUDED_TYPE"
)

// strategiesHere are those that the function can do.
var strategiesHere = []string{secrets.SingleUser, secrets.AlternatingUsers}

// ReadEnvironment reads the variables, as os.Environ returns them; empty ones are
// as good as absent. The error is Invalid and says all that is wrong on one line;
// it repeats no value.
func ReadEnvironment(environ []string) (Environment, error) {
	r := reader{vars: map[string]string{}}
	for _, kv := range environ {
		name, v, _ := strings.Cut(kv, "=")
		if v != "" {
			r.vars[name] = v
		}
	}
	r.unknown()
	e := Environment{Endpoint: r.endpoint(), LogLevel: r.logLevel(), Rules: r.rules()}
	if text := r.vars[envSuperusers]; text != "" {
		var err error
		e.Pairings, err = config.ParsePairings(envSuperusers, text)
		r.add(err)
	}
	if len(r.problems) > 0 {
		return Environment{}, secrets.Errorf(secrets.Invalid, "the function's environment: %s", strings.Join(r.problems, "; "))
	}
	return e, nil
}

type reader struct {
	vars     map[string]string
	problems []string
}

func (r *reader) wrong(name, text string) { r.problems = append(r.problems, name+": "+text) }

func (r *reader) add(err error) {
	if err != nil {
		r.problems = append(r.problems, secrets.OneLine(err, maxMessage))
	}
}

// unknown refuses variables of Pawl's that there aren't: a slip in a name would
// have the function do something else than was meant.
func (r *reader) unknown() {
	known := []string{envStrategy, envRules, envSuperusers, envLogLevel}
	var names []string
	for name := range r.vars {
		if strings.HasPrefix(name, "PAWL_") && !slices.Contains(known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		r.wrong(name, "there is no such variable for the function; known: "+strings.Join(known, ", "))
	}
}

func (r *reader) endpoint() string {
	text := r.vars[envEndpoint]
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		r.wrong(envEndpoint, "must be an address such as https://secretsmanager.eu-central-1.amazonaws.com, and nothing else")
	}
	return text
}

func (r *reader) logLevel() (l slog.Level) {
	if text := r.vars[envLogLevel]; text != "" && l.UnmarshalText([]byte(text)) != nil {
		r.wrong(envLogLevel, "must be debug, info, warn or error")
	}
	return l
}

func (r *reader) rules() secrets.RotationRules {
	var rules secrets.RotationRules
	if text := r.vars[envRules]; text != "" {
		var err error
		rules, err = config.ParseRules(envRules, text)
		r.add(err)
	}
	from := envRules
	if s := r.vars[envStrategy]; s != "" {
		if rules.Strategy != "" && rules.Strategy != s {
			r.wrong(envStrategy, "says another strategy than "+envRules+"; leave one of them out")
		}
		rules.Strategy, from = s, envStrategy
	}
	if rules.Strategy != "" && !slices.Contains(strategiesHere, rules.Strategy) {
		r.wrong(from, "the strategy must be one of "+strings.Join(strategiesHere, ", ")+", or left out where the secrets' tags say it")
	}
	r.password(&rules.Password)
	return rules
}

// password reads the variables of AWS's functions. Their meaning is AWS's, but
// for a truth value that is none, which counts as false there.
func (r *reader) password(p *secrets.PasswordRules) {
	var given []string
	before := *p
	set := func(name string, into func(string)) {
		if v := r.vars[name]; v != "" {
			given = append(given, name)
			into(v)
		}
	}
	set(envLength, func(v string) {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			r.wrong(envLength, "must be a number of characters")
			return
		}
		p.Length = n
	})
	set(envExclude, func(v string) { p.ExcludeCharacters = v })
	set(envNumbers, func(v string) { p.ExcludeNumbers = r.truth(envNumbers, v) })
	set(envPunctuation, func(v string) { p.ExcludePunctuation = r.truth(envPunctuation, v) })
	set(envUppercase, func(v string) { p.ExcludeUppercase = r.truth(envUppercase, v) })
	set(envLowercase, func(v string) { p.ExcludeLowercase = r.truth(envLowercase, v) })
	set(envRequire, func(v string) { p.AllowMissingTypes = !r.truth(envRequire, v) })
	if len(given) == 0 {
		return
	}
	slices.Sort(given)
	if before != (secrets.PasswordRules{}) {
		r.wrong(strings.Join(given, ", "), envRules+" has a password: too; leave one of them out")
	}
	if err := p.Validate(); err != nil {
		r.wrong(strings.Join(given, ", "), secrets.OneLine(err, maxText))
	}
}

// truth reads a truth value, in the spellings of AWS's functions.
func (r *reader) truth(name, v string) bool {
	switch strings.ToLower(v) {
	case "true", "1", "y", "yes":
		return true
	case "false", "0", "n", "no":
		return false
	}
	r.wrong(name, "must be true or false")
	return false
}
