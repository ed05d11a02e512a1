package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Bounds and defaults of the scheduler's keys.
const (
	defaultWorkers   = 16
	defaultPerTarget = 4
	maxWorkers       = 1000

	maxPropagation = time.Hour

	maxRegion = 128 // characters, as in AWS's API
)

// checker validates a decoded file and builds the Config. It reports through
// its decoder, which knows the lines.
type checker struct {
	*decoder
	dir       string // where relative paths start
	dirName   string // what errors call it
	variable  bool   // what is checked is no file but a variable
	minimum   time.Duration
	schedules map[string]parsedSchedule
	caFiles   map[string]error
}

type parsedSchedule struct {
	schedule secrets.Schedule
	err      error
}

// validate checks everything a file says and returns the Config, which is good
// only if the decoder holds no problem afterwards.
func validate(f fileYAML, d *decoder, abs string) *Config {
	c := &checker{
		decoder: d, dir: filepath.Dir(abs), dirName: "this file's folder",
		schedules: map[string]parsedSchedule{}, caFiles: map[string]error{},
	}
	out := &Config{Path: abs, Store: c.store(f.Store), Scheduler: c.scheduler(f.Scheduler)}
	if out.Store.AWS != nil {
		c.withAWS(f, out)
	} else {
		out.Account, out.Region = c.place(f)
		out.Server = c.server(f.Server)
		out.KMS = c.kms(f.KMS)
		out.Functions = c.functions(f.Functions)
		out.Regions = c.regions(f.Regions, out.Region)
	}
	out.Events = c.events(f.Events, out)
	for i, p := range f.Superusers {
		out.Superusers = append(out.Superusers, c.pairing(fmt.Sprintf("superusers[%d]", i), p))
	}
	c.rules("defaults", f.Defaults)
	out.Defaults = secretYAML{}.rules(f.Defaults, c.dir)
	c.window("defaults", f.Defaults, out.Defaults)
	c.password("defaults.password", f.Defaults.Password, out.Defaults.Password)

	lines := make(map[string]int, len(f.Secrets))
	out.Secrets = make([]Secret, 0, len(f.Secrets))
	for i, s := range f.Secrets {
		key := fmt.Sprintf("secrets[%d]", i)
		line := c.lines[key]
		c.name(key+".name", s.Name)
		name := value(s.Name)
		if first := lines[name]; first != 0 {
			c.add(key+".name", "the name %q is there twice, first on line %d; keep one entry", name, first)
		} else if secrets.ValidateName(name) == nil {
			lines[name] = c.lines[key+".name"]
		}
		rules := s.rules(f.Defaults, c.dir)
		if s.Function != nil || c.unusable(key+".function") {
			rules = c.byFunction(key, s, rules, out)
			c.window(key, s.rulesYAML, rules)
		} else {
			c.entry(key, s.entryYAML)
			c.window(key, s.rulesYAML, rules)
			c.password(key+".password", s.Password, rules.Password)
			c.superuser(key, s, rules, out.Superusers)
		}
		out.Secrets = append(out.Secrets, Secret{Name: name, File: filepath.Base(abs), Line: line, Rules: rules})
	}
	return out
}

var (
	accountNumber = regexp.MustCompile(`^[0-9]{12}$`)
	regionName    = regexp.MustCompile(`^([a-z]+-)+[0-9]+$`)
)

// place checks the account and region. Both end up in every ARN.
func (c *checker) place(f fileYAML) (account, region string) {
	account, region = either(f.Account, nil, DefaultAccount), either(f.Region, nil, DefaultRegion)
	if !accountNumber.MatchString(account) {
		c.add("account", "must be the 12 digits of an account, such as %s", DefaultAccount)
	}
	c.regionName("region", region)
	return account, region
}

func (c *checker) regionName(key, region string) {
	if !regionName.MatchString(region) || len(region) > maxRegion {
		c.add(key, "must be the name of a region, such as %s", DefaultRegion)
	}
}

// path checks a required path and makes it absolute.
func (c *checker) path(key string, p *string) string {
	switch {
	case value(p) == "":
		c.add(key, "is missing; give it a path, which starts at this file's folder unless it is absolute")
		return ""
	case home(*p):
		c.add(key, "~ is not expanded; write the whole path")
	}
	return absolute(c.dir, *p)
}

func home(path string) bool { return path == "~" || strings.HasPrefix(path, "~/") }

func (c *checker) scheduler(s schedulerYAML) Scheduler {
	out := Scheduler{
		Workers:         c.count("scheduler.workers", s.Workers, defaultWorkers, maxWorkers),
		PerTarget:       c.count("scheduler.per_target", s.PerTarget, defaultPerTarget, maxWorkers),
		MinimumInterval: time.Duration(either(s.MinimumInterval, nil, span(secrets.AWSMinimumInterval))),
		CatchUp:         CatchUp(either(s.CatchUp, nil, string(CatchUpNextDay))),
	}
	c.oneOf("scheduler.catch_up", string(out.CatchUp), string(CatchUpNextDay), string(CatchUpNow))
	c.minimum = out.MinimumInterval
	if c.minimum < time.Second {
		c.add("scheduler.minimum_interval", "must be at least 1s")
	}
	if c.unusable("scheduler.minimum_interval") || c.minimum < time.Second {
		c.minimum = time.Second // nobody knows what was meant: complain of no schedule for it
	}
	return out
}

// count checks a number from 1 to most.
func (c *checker) count(key string, n *int, def, most int) int {
	if n != nil && (*n < 1 || *n > most) {
		c.add(key, "must be from 1 to %d", most)
	}
	return either(n, nil, def)
}

// oneOf checks a word.
func (c *checker) oneOf(key, word string, known ...string) {
	for _, k := range known {
		if word == k {
			return
		}
	}
	text := "must be " + strings.Join(known[:len(known)-1], ", ") + " or " + known[len(known)-1]
	if near := nearest(word, known); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	c.add(key, "%s", text)
}

var globChars = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!*-]+$`)

func (c *checker) pairing(key string, p pairingYAML) secrets.Pairing {
	if value(p.Secret) == "" {
		c.add(key+".secret", "is missing; name the superuser's secret")
	} else {
		c.id(key+".secret", p.Secret)
	}
	if len(p.For) == 0 {
		c.add(key+".for", "is missing; list the names of the secrets that may choose this superuser, such as [\"prod/*\"]")
	}
	for i, pattern := range p.For {
		if !globChars.MatchString(pattern) || len(pattern) > secrets.MaxNameLength {
			c.add(fmt.Sprintf("%s.for[%d]", key, i), "must be a secret's name, in which * stands for any characters")
		}
	}
	c.hosts(key+".hosts", p.Hosts)
	return secrets.Pairing{Secret: value(p.Secret), For: p.For, Hosts: p.Hosts}
}

// id checks the name or ARN of a superuser's secret; absent and empty are fine.
func (c *checker) id(key string, id *string) {
	if value(id) == "" {
		return
	}
	if _, err := secrets.ParseID(*id); err != nil {
		c.add(key, "must be the name or ARN of a secret")
	}
}

func (c *checker) hosts(key string, hosts []string) {
	for i, h := range hosts {
		c.host(fmt.Sprintf("%s[%d]", key, i), h)
	}
}

func (c *checker) host(key, host string) {
	if _, _, err := secrets.SplitHost(host); err != nil {
		c.add(key, "%v", err)
	}
}

// name checks the name of an entry's secret.
func (c *checker) name(key string, name *string) {
	if name == nil {
		c.add(key, "is missing; every entry names its secret")
	} else if secrets.ValidateName(*name) != nil {
		c.add(key, "must have 1 to %d letters, digits or any of -/_+=.@!", secrets.MaxNameLength)
	}
}

// entry checks, each by itself, the rules that an entry gives.
func (c *checker) entry(key string, e entryYAML) {
	c.rules(key, e.rulesYAML)
	c.hosts(child(key, "hosts"), e.Hosts)
	if e.AdminHost != nil {
		c.host(child(key, "admin_host"), *e.AdminHost)
	}
}

// rules checks, each by itself, the keys that entries and defaults share.
func (c *checker) rules(key string, r rulesYAML) {
	if r.Strategy != nil {
		c.oneOf(child(key, "strategy"), *r.Strategy, secrets.SingleUser, secrets.AlternatingUsers)
	}
	c.id(child(key, "superuser"), r.Superuser)
	c.when(key, r)
	if t := time.Duration(either(r.PropagationTimeout, nil, span(time.Second))); t <= 0 || t > maxPropagation {
		c.add(child(key, "propagation_timeout"), "must be more than 0s and at most 1h")
	}
	c.tls(child(key, "tls"), r.TLS)
}

// when checks, each by itself, the keys that say when a secret rotates.
func (c *checker) when(key string, r rulesYAML) {
	if _, err := c.schedule(value(r.Schedule)); err != nil {
		c.add(child(key, "schedule"), "%s", c.explain(err))
	}
	if _, err := secrets.ParseWindow(value(r.Window), c.minimum); err != nil {
		c.add(child(key, "window"), "%s", c.explain(err))
	}
}

// onlySchedule matches what may be a schedule and is no password.
var onlySchedule = regexp.MustCompile(`^(rate|cron)\([A-Za-z0-9 */,?#-]*\)$`)

func (c *checker) schedule(expression string) (secrets.Schedule, error) {
	expression = strings.TrimSpace(expression)
	if expression == "" {
		return secrets.Schedule{}, nil
	}
	p, ok := c.schedules[expression]
	if !ok {
		if onlySchedule.MatchString(expression) {
			p.schedule, p.err = secrets.ParseSchedule(expression, c.minimum)
		} else {
			p.err = errors.New("must be rate(…) or cron(…); write rate(30 days) or cron(0 2 ? * SUN *)")
		}
		c.schedules[expression] = p
	}
	return p.schedule, p.err
}

// explain returns an error of schedules or windows without its beginning, which
// quotes the whole value, and where there is no file without what it says of one.
func (c *checker) explain(err error) string {
	text := err.Error()
	if c.variable {
		text = strings.TrimSuffix(text, ", or lower scheduler.minimum_interval in the configuration file")
	}
	if strings.HasPrefix(text, `schedule "`) || strings.HasPrefix(text, `window "`) {
		_, text, _ = strings.Cut(text, `": `)
	}
	return text
}

// window checks that the windows of the effective rules fit their schedule, if
// the part of the file at key gave either of the two.
func (c *checker) window(key string, own rulesYAML, effective secrets.RotationRules) {
	at := child(key, "window")
	switch {
	case own.Window != nil:
	case own.Schedule != nil:
		at = child(key, "schedule")
	default:
		return
	}
	schedule, err := c.schedule(effective.Schedule)
	length, err2 := secrets.ParseWindow(effective.Window, c.minimum)
	if err != nil || err2 != nil {
		return // reported where it stands
	}
	switch {
	case schedule.IsZero() && value(own.Window) != "" && key != "defaults" && !c.variable && !c.unusable(key+".schedule"):
		c.add(at, "means nothing without a schedule; add one, or leave the window out")
	default:
		if err := schedule.CheckWindow(length); err != nil {
			c.add(at, "%s", c.explain(err))
		}
	}
}

func (c *checker) tls(key string, t tlsYAML) {
	mode := value(t.Mode)
	if mode != "" {
		c.oneOf(key+".mode", mode, secrets.TLSDisable, secrets.TLSRequire, secrets.TLSVerifyCA, secrets.TLSVerifyFull)
	}
	path := value(t.CAFile)
	if path == "" {
		return
	}
	if mode == secrets.TLSDisable || mode == secrets.TLSRequire {
		c.add(key+".ca_file", "is of no use with mode %s, which verifies nothing; use verify-ca or verify-full, or leave it out", mode)
	}
	if home(path) {
		c.add(key+".ca_file", "~ is not expanded; write the whole path")
		return
	}
	c.authorities(key+".ca_file", absolute(c.dir, path))
}

// authorities checks a file of certificate authorities.
func (c *checker) authorities(key, path string) {
	if path == "" || c.unusable(key) {
		return
	}
	err, ok := c.caFiles[path]
	if !ok {
		err = readable(path)
		c.caFiles[path] = err
	}
	if err != nil {
		c.add(key, "can't be used: %v; a relative path starts at %s", err, c.dirName)
	}
}

// readable reports why a file can't serve as a set of CA certificates, without
// its path.
func readable(path string) error {
	pem, err := os.ReadFile(path)
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		err = errors.New("it holds no PEM certificate")
	}
	return err
}

// password checks the effective rules for new passwords, if the part of the
// file at key gave any.
func (c *checker) password(key string, own passwordYAML, effective secrets.PasswordRules) {
	if own == (passwordYAML{}) {
		return
	}
	if own.Length != nil && *own.Length < 1 {
		c.add(key+".length", "must be from 1 to %d", secrets.MaxPasswordLength)
		return
	}
	err := effective.Validate()
	switch {
	case err == nil:
	case errors.Is(err, secrets.ErrPasswordLength):
		c.add(key+".length", "must be from 1 to %d", secrets.MaxPasswordLength)
	case errors.Is(err, secrets.ErrPasswordTooShort):
		c.add(key, "length is too short for one character of each type; make it longer, or set require_each_included_type: false")
	case errors.Is(err, secrets.ErrPasswordTypeExcluded):
		c.add(key, "exclude_characters takes away every character of a type; exclude the type, or set require_each_included_type: false")
	default:
		c.add(key, "no character is left to make a password of; exclude less")
	}
}

// superuser checks that an entry has the superuser that its strategy needs. One
// that the secret itself names ("masterarn") needs a pairing for its name.
func (c *checker) superuser(key string, s secretYAML, rules secrets.RotationRules, pairings []secrets.Pairing) {
	name := value(s.Name)
	if s.Superuser != nil && isOf(*s.Superuser, name) {
		c.add(key+".superuser", "a secret can't be its own superuser; leave it out, and the user changes his password himself")
		return
	}
	if rules.Strategy != secrets.AlternatingUsers || rules.Superuser != "" ||
		c.unusable(key+".superuser") || c.unusable("defaults.superuser") || c.unusable("superusers") {
		return
	}
	for _, p := range pairings {
		if p.Covers(name) {
			return
		}
	}
	at := key
	if s.Strategy != nil {
		at = key + ".strategy"
	}
	c.add(at, "alternating-users needs a superuser; add superuser: NAME, or a pairing in superusers: whose for: covers this secret")
}
