package secrets

import "time"

// The names of the rotation strategies.
const (
	SingleUser       = "single-user"
	AlternatingUsers = "alternating-users"
	// Partner is the strategy of a partner's secret whose rotation the API
	// configured: its settings are kept, but there is no engine for partners.
	Partner = "partner"
	// Function is the strategy of a secret whose steps somebody else's code does:
	// RotationRules.Function.
	Function = "function"
)

// RotationRules say how and when one secret rotates, as its operator declared
// them. They travel unchanged from the configuration file through the store to
// the strategy and hold no secret value.
type RotationRules struct {
	Strategy  string `json:"strategy"`            // SingleUser, AlternatingUsers, Partner or Function
	Engine    string `json:"engine,omitempty"`    // kind of server; "" = the secret's own "engine" key
	Superuser string `json:"superuser,omitempty"` // name or ARN of the superuser's secret

	Schedule string `json:"schedule,omitempty"` // rate(…) or cron(…); "" = only on demand
	Window   string `json:"window,omitempty"`   // how long a window stays open ("3h"); "" = AWS's default
	// AfterDays is AWS's AutomaticallyAfterDays, 1 to 1000, for a rotation whose
	// schedule was given so; Schedule is empty then.
	AfterDays int `json:"afterDays,omitempty"`
	// Function is the ARN of the rotation function. It says the strategy: the
	// ones of Pawl's own are named (arn:aws:lambda:REGION:ACCOUNT:function:)
	// pawl-single-user and pawl-alternating-users; every other is a custom one,
	// with Strategy Function.
	Function string `json:"function,omitempty"`

	Hosts              []string      `json:"hosts,omitempty"`              // further host[:port] that must accept the new credential before promotion
	AdminHost          string        `json:"adminHost,omitempty"`          // host[:port] where changes are made; "" = the secret's host
	PropagationTimeout time.Duration `json:"propagationTimeout,omitempty"` // how long the further hosts may take; 0 = 30 s

	TLS           TLSRules      `json:"tls,omitzero"`
	CheckQuery    string        `json:"checkQuery,omitempty"`    // must succeed with the current and the new credential
	PlainPassword bool          `json:"plainPassword,omitempty"` // the server may be sent the plain password where it refuses hashes
	AdoptClone    bool          `json:"adoptClone,omitempty"`    // an existing <user>_clone that Pawl did not make may be taken over
	Password      PasswordRules `json:"password,omitzero"`
}

// TLS modes, with PostgreSQL's meanings (PostgreSQL documentation, "SSL
// Support", table of sslmode): require encrypts without verifying the server,
// verify-ca verifies the chain, verify-full the host name too. None ever falls
// back to a weaker one.
const (
	TLSDisable    = "disable"
	TLSRequire    = "require"
	TLSVerifyCA   = "verify-ca"
	TLSVerifyFull = "verify-full"
)

// TLSRules say how connections to a server are protected. An empty Mode leaves
// it to the secret's "ssl" key, and without one: verify-full, but plain to a
// loopback address.
type TLSRules struct {
	Mode   string `json:"mode,omitempty"`
	CAFile string `json:"caFile,omitempty"` // PEM file; "" = the system's roots
}

// Scheduled reports whether the rules say when to rotate.
func (r RotationRules) Scheduled() bool { return r.Schedule != "" || r.AfterDays != 0 }

// Expression is when to rotate, for people: Schedule, or AfterDays as the
// expression that means the same; "" for only on demand.
func (r RotationRules) Expression() string {
	if s, err := EveryDays(r.AfterDays); err == nil {
		return s.String()
	}
	return r.Schedule
}

// ReadSchedule returns when windows open: by AfterDays or else by Schedule; the
// zero Schedule where neither is set. The error is that of ParseSchedule or
// EveryDays.
func (r RotationRules) ReadSchedule(minimum time.Duration) (Schedule, error) {
	switch {
	case r.AfterDays != 0:
		return EveryDays(r.AfterDays)
	case r.Schedule != "":
		return ParseSchedule(r.Schedule, minimum)
	default:
		return Schedule{}, nil
	}
}

// Rotation is a secret's rotation as the store keeps it: the rules, who
// declared them, and the facts its history left. What a running rotation has
// done so far is not here: that is read from the staging labels.
type Rotation struct {
	Rules   RotationRules `json:"rules"`
	Enabled bool          `json:"enabled"`
	Source  string        `json:"source,omitempty"` // who declared the rules: "file pawl.yaml:12", "api"
	Paused  bool          `json:"paused,omitempty"`
	// Asked is the id of a version that somebody asked for by name: its rotation
	// goes on although the schedule is paused.
	Asked string    `json:"asked,omitempty"`
	Since time.Time `json:"since"` // since when the schedule counts: no window from before it was missed

	// LastRotated is when a rotation last completed; zero if never.
	LastRotated time.Time `json:"lastRotated,omitzero"`
	// Attempt is the record of the present failure, for backoff and for
	// people; losing it loses nothing but politeness. Zero when all is well.
	Attempt Attempt `json:"attempt,omitzero"`
}

// Attempt records a rotation that has not succeeded yet.
type Attempt struct {
	Tries        int       `json:"tries"`
	NextTry      time.Time `json:"nextTry"` // not before
	LastError    string    `json:"lastError"`
	Kind         Kind      `json:"kind"`
	FailingSince time.Time `json:"failingSince"`
}

// Unfinished reports whether the labels show a rotation, or the undo of one,
// that has begun and not ended: whatever a schedule or a window says, finishing
// it is what brings safety. It is the first column of the table in
// docs/architecture.md, "The labels are the state".
func (vs Versions) Unfinished() bool {
	if _, ok := vs.With(Pending); ok {
		return true
	}
	intent, ok := vs.With(Intent)
	return ok && !intent.Has(Current) && !intent.Has(Previous)
}
