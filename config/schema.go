package config

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// The structs below are the file as it is written: their yaml tags are all the
// keys there are. A nil pointer is a key that is not in the file.

type fileYAML struct {
	Account    *string               `yaml:"account"`
	Region     *string               `yaml:"region"`
	Store      *storeYAML            `yaml:"store"`
	Defaults   rulesYAML             `yaml:"defaults"`
	Scheduler  schedulerYAML         `yaml:"scheduler"`
	Server     serverYAML            `yaml:"server"`
	KMS        *kmsYAML              `yaml:"aws_kms"`
	Regions    map[string]regionYAML `yaml:"regions"` // by the regions' names
	Superusers []pairingYAML         `yaml:"superusers"`
	Functions  *functionsYAML        `yaml:"functions"`
	Events     eventsYAML            `yaml:"events"`
	Secrets    []secretYAML          `yaml:"secrets"`
}

type storeYAML struct {
	SQLite   *sqliteYAML   `yaml:"sqlite"`
	Postgres *postgresYAML `yaml:"postgres"`
	AWS      *awsYAML      `yaml:"aws"`
}

type sqliteYAML struct {
	Path *string `yaml:"path"`
	masterKeyYAML
}

type postgresYAML struct {
	DSN            *string `yaml:"dsn"`
	PasswordFile   *string `yaml:"password_file"`
	PasswordEnv    *string `yaml:"password_env"`
	MaxConnections *int    `yaml:"max_connections"`
	masterKeyYAML
}

type masterKeyYAML struct {
	KeyFile       *string  `yaml:"key_file"`
	KeyEnv        *string  `yaml:"key_env"`
	KeyCredential *string  `yaml:"key_credential"`
	KeyCommand    []string `yaml:"key_command"`
}

type awsYAML struct {
	Region     *string  `yaml:"region"`
	Profile    *string  `yaml:"profile"`
	Endpoint   *string  `yaml:"endpoint"`
	Discover   *bool    `yaml:"discover"`
	Refresh    *span    `yaml:"refresh"`
	RateLimits *float64 `yaml:"rate_limits"`
}

type schedulerYAML struct {
	Workers         *int    `yaml:"workers"`
	PerTarget       *int    `yaml:"per_target"`
	MinimumInterval *span   `yaml:"minimum_interval"`
	CatchUp         *string `yaml:"catch_up"`
}

type serverYAML struct {
	Listen     *string       `yaml:"listen"`
	TLS        *listenerYAML `yaml:"tls"`
	Insecure   *bool         `yaml:"insecure"`
	RateLimits *float64      `yaml:"rate_limits"`
}

type listenerYAML struct {
	CertFile           *string `yaml:"cert_file"`
	KeyFile            *string `yaml:"key_file"`
	ClientCAFile       *string `yaml:"client_ca_file"`
	ClientCertificates *string `yaml:"client_certificates"`
}

type kmsYAML struct {
	Region   *string `yaml:"region"`
	Endpoint *string `yaml:"endpoint"`
}

type regionYAML struct {
	Endpoint        *string `yaml:"endpoint"`
	CAFile          *string `yaml:"ca_file"`
	CredentialsFile *string `yaml:"credentials_file"`
}

type pairingYAML struct {
	Secret *string  `yaml:"secret"`
	For    []string `yaml:"for"`
	Hosts  []string `yaml:"hosts"`
}

type functionsYAML struct {
	Endpoint *string        `yaml:"endpoint"`
	Profile  *string        `yaml:"profile"`
	Allow    []string       `yaml:"allow"`
	Named    []functionYAML `yaml:"named"`
}

type functionYAML struct {
	Name        *string  `yaml:"name"`
	Command     []string `yaml:"command"`
	URL         *string  `yaml:"url"`
	KeyFile     *string  `yaml:"key_file"`
	Timeout     *span    `yaml:"timeout"`
	Environment []string `yaml:"environment"`
	Role        *string  `yaml:"role"`
}

type eventsYAML struct {
	File *string `yaml:"file"`
}

// rulesYAML are the rules that defaults may give for every secret.
type rulesYAML struct {
	Strategy           *string      `yaml:"strategy"`
	Superuser          *string      `yaml:"superuser"`
	Schedule           *string      `yaml:"schedule"`
	Window             *string      `yaml:"window"`
	PropagationTimeout *span        `yaml:"propagation_timeout"`
	TLS                tlsYAML      `yaml:"tls"`
	PlainPassword      *permission  `yaml:"plain_password"`
	Password           passwordYAML `yaml:"password"`
}

type tlsYAML struct {
	Mode   *string `yaml:"mode"`
	CAFile *string `yaml:"ca_file"`
}

type passwordYAML struct {
	Length                  *int    `yaml:"length"`
	ExcludeCharacters       *string `yaml:"exclude_characters"`
	ExcludeNumbers          *bool   `yaml:"exclude_numbers"`
	ExcludePunctuation      *bool   `yaml:"exclude_punctuation"`
	ExcludeUppercase        *bool   `yaml:"exclude_uppercase"`
	ExcludeLowercase        *bool   `yaml:"exclude_lowercase"`
	IncludeSpace            *bool   `yaml:"include_space"`
	RequireEachIncludedType *bool   `yaml:"require_each_included_type"`
}

type secretYAML struct {
	Name     *string `yaml:"name"`
	Function *string `yaml:"function"`
	entryYAML
}

// entryYAML are the rules of one entry.
type entryYAML struct {
	rulesYAML
	Engine     *string  `yaml:"engine"`
	Hosts      []string `yaml:"hosts"`
	AdminHost  *string  `yaml:"admin_host"`
	CheckQuery *string  `yaml:"check_query"`
	AdoptClone *bool    `yaml:"adopt_clone"`
}

// A scalar reads itself from a YAML scalar's text. The error says what it must
// be, and does not repeat the text.
type scalar interface {
	parse(text string) error
}

// permission is a yes or no about something risky: allow or deny.
type permission bool

func (p *permission) parse(text string) error {
	switch text {
	case "allow", "true":
		*p = true
	case "deny", "false":
		*p = false
	default:
		return errors.New("must be allow or deny")
	}
	return nil
}

// span is a length of time, spelled as Go spells it.
type span time.Duration

func (s *span) parse(text string) error {
	d, err := time.ParseDuration(text)
	switch number := strings.TrimRight(text, "dw"); {
	case err == nil:
		*s = span(d)
		return nil
	case number != text && isNumber(number):
		return errors.New("must be a duration in h, m or s; there is no unit for days, write 168h for a week")
	case isNumber(text):
		return errors.New("must be a duration with its unit, such as 30s or 4h")
	}
	return errors.New("must be a duration such as 30s, 5m or 4h")
}

func isNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}
