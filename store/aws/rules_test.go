package aws

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// bare is a Store that only reckons: it can ask nobody.
func bare(clock clockwork.Clock, c Config) *Store {
	if c.MinimumInterval == 0 {
		c.MinimumInterval = secrets.AWSMinimumInterval
	}
	if c.Refresh == 0 {
		c.Refresh = DefaultRefresh
	}
	s := &Store{clock: clock, log: slog.New(slog.DiscardHandler), config: c}
	s.reconfigured()
	s.listing.outdated = false
	return s
}

func arnOf(name string) secrets.ARN {
	return secrets.ARN{Partition: "aws", Region: "eu-central-1", Account: "111122223333", Name: name, Suffix: "AbCdEf"}
}

// recordOf is a secret with a value and these tags: key, value, key, value …
func recordOf(name string, tags ...string) *record {
	r := &record{}
	r.ARN = arnOf(name)
	r.Created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.Changed = r.Created
	r.Versions = secrets.Versions{{ID: "v1", Labels: []string{secrets.Current}}}
	for i := 0; i < len(tags); i += 2 {
		r.Tags = append(r.Tags, service.Tag{Key: tags[i], Value: tags[i+1]})
	}
	return r
}

func TestRotation(t *testing.T) {
	now := time.Date(2026, 3, 4, 10, 20, 30, 0, time.UTC)
	declared := service.Declaration{
		Name: "prod/declared", Source: "file pawl.yaml:12",
		Rules: secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: "rate(7 days)"},
	}
	defaults := secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: "rate(30 days)", Window: "24h", CheckQuery: "SELECT 1"}
	with := func(change func(*secrets.RotationRules)) secrets.RotationRules {
		r := defaults
		change(&r)
		return r
	}
	pairings := []secrets.Pairing{
		{Secret: "prod/root", For: []string{"prod/*"}},
		{Secret: arnOf("prod/other").String(), For: []string{"prod/app"}},
		{Secret: "arn:aws:secretsmanager:eu-central-1:999999999999:secret:prod/stranger-AbCdEf", For: []string{"*"}},
	}
	for _, tt := range []struct {
		name   string
		record *record
		config Config
		want   secrets.Rotation
		err    []string // parts of the error's text
	}{
		{name: "the file's, whatever the tags say", record: recordOf("prod/declared", TagStrategy, "nonsense", TagPaused, ""), config: Config{Discover: true},
			want: secrets.Rotation{Rules: declared.Rules, Enabled: true, Source: declared.Source, Paused: true}},
		{name: "nobody's", record: recordOf("prod/app"), config: Config{Discover: true},
			want: secrets.Rotation{Rules: defaults, Source: service.OnDemand}},
		{name: "tags that nobody looks for", record: recordOf("prod/app", TagStrategy, "nonsense"),
			want: secrets.Rotation{Rules: defaults, Source: service.OnDemand}},
		{name: "by tags", record: recordOf("prod/app", TagStrategy, "alternating-users", TagSchedule, "cron(0 2 ? * SUN *)", TagWindow, "3h", TagSuperuser, "prod/root"), config: Config{Discover: true},
			want: secrets.Rotation{Enabled: true, Source: "tags", Rules: with(func(r *secrets.RotationRules) {
				r.Strategy, r.Schedule, r.Window, r.Superuser = secrets.AlternatingUsers, "cron(0 2 ? * SUN *)", "3h", "prod/root"
			})}},
		{name: "a strategy alone", record: recordOf("prod/app", TagStrategy, "single-user"), config: Config{Discover: true},
			want: secrets.Rotation{Enabled: true, Source: "tags", Rules: defaults}},
		{name: "a schedule alone has its own window", record: recordOf("prod/app", TagSchedule, "rate(12 hours)"), config: Config{Discover: true},
			want: secrets.Rotation{Enabled: true, Source: "tags", Rules: with(func(r *secrets.RotationRules) { r.Schedule, r.Window = "rate(12 hours)", "" })}},
		{name: "an empty schedule: on demand, but shown", record: recordOf("prod/app", TagSchedule, ""), config: Config{Discover: true},
			want: secrets.Rotation{Enabled: true, Source: "tags", Rules: with(func(r *secrets.RotationRules) { r.Schedule, r.Window = "", "" })}},
		{name: "a superuser by his ARN", record: recordOf("prod/app", TagSchedule, "rate(30 days)", TagSuperuser, arnOf("prod/root").String()), config: Config{Discover: true},
			want: secrets.Rotation{Enabled: true, Source: "tags", Rules: with(func(r *secrets.RotationRules) { r.Superuser = "prod/root" })}},
		{name: "a superuser paired by his ARN", record: recordOf("prod/app", TagSchedule, "rate(30 days)", TagSuperuser, "prod/other"), config: Config{Discover: true},
			want: secrets.Rotation{Enabled: true, Source: "tags", Rules: with(func(r *secrets.RotationRules) { r.Superuser = arnOf("prod/other").String() })}},
		{name: "a failure", record: recordOf("prod/declared", TagAttempt, "2 transient since 2026-03-04T09:00:00Z next 2026-03-04T11:00:00Z", TagError, "db is away"),
			want: secrets.Rotation{Rules: declared.Rules, Enabled: true, Source: declared.Source, Attempt: secrets.Attempt{
				Tries: 2, Kind: secrets.Transient, LastError: "db is away", FailingSince: now.Add(-80*time.Minute - 30*time.Second), NextTry: now.Add(39*time.Minute + 30*time.Second),
			}}},
		{name: "a next try nobody will see", record: recordOf("prod/declared", TagAttempt, "2 transient since 2026-03-04T09:00:00Z next 2126-03-04T11:00:00Z"),
			want: secrets.Rotation{Rules: declared.Rules, Enabled: true, Source: declared.Source}},

		{name: "no such strategy", record: recordOf("prod/app", TagStrategy, "multi-user"), config: Config{Discover: true},
			err: []string{`secret "prod/app"`, `tag pawl:strategy`, `"multi-user": must be single-user or alternating-users`, "aws secretsmanager tag-resource --secret-id prod/app"}},
		{name: "a strategy that is not for tags", record: recordOf("prod/app", TagStrategy, "function"), config: Config{Discover: true},
			err: []string{"pawl:strategy"}},
		{name: "no schedule", record: recordOf("prod/app", TagSchedule, "weekly"), config: Config{Discover: true},
			err: []string{`tag pawl:schedule: schedule "weekly"`, "must be rate(…) or cron(…)", "write rate(30 days)"}},
		{name: "too often", record: recordOf("prod/app", TagSchedule, "rate(5 minutes)"), config: Config{Discover: true},
			err: []string{"tag pawl:schedule", "scheduler.minimum_interval"}},
		{name: "no window", record: recordOf("prod/app", TagSchedule, "rate(30 days)", TagWindow, "3 hours"), config: Config{Discover: true},
			err: []string{`tag pawl:window: window "3 hours"`, "write for example 3h"}},
		{name: "a window that does not fit", record: recordOf("prod/app", TagSchedule, "cron(0 22 * * ? *)", TagWindow, "3h"), config: Config{Discover: true},
			err: []string{"tag pawl:window", "reaches into the next UTC day"}},
		{name: "a superuser nobody paired", record: recordOf("prod/app", TagSchedule, "rate(30 days)", TagSuperuser, "staging/root"), config: Config{Discover: true},
			err: []string{`"staging/root" is not paired`, `superusers: [{secret: staging/root, for: ["prod/app"]}]`}},
		{name: "a superuser paired with others", record: recordOf("staging/app", TagSchedule, "rate(30 days)", TagSuperuser, "prod/root"), config: Config{Discover: true},
			err: []string{"not paired"}},
		{name: "a superuser's name in another account", record: recordOf("prod/app", TagSchedule, "rate(30 days)", TagSuperuser, "prod/stranger"), config: Config{Discover: true},
			err: []string{"not paired"}},
		{name: "a superuser's ARN in another account", record: recordOf("prod/app", TagSchedule, "rate(30 days)", TagSuperuser, "arn:aws:secretsmanager:eu-central-1:999999999999:secret:prod/root-AbCdEf"), config: Config{Discover: true},
			err: []string{"not paired"}},
		{name: "a superuser of his own", record: recordOf("prod/root", TagSchedule, "rate(30 days)", TagSuperuser, "prod/root"), config: Config{Discover: true},
			err: []string{"can't be its own superuser", "untag-resource"}},
		{name: "no superuser", record: recordOf("prod/app", TagSchedule, "rate(30 days)", TagSuperuser, "the root"), config: Config{Discover: true},
			err: []string{"must be the name or ARN of a secret"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Declared, tt.config.Defaults, tt.config.Pairings = []service.Declaration{declared}, defaults, pairings
			s := bare(clockwork.NewFakeClockAt(now), tt.config)
			got, err := s.rotation(tt.record)
			if tt.err != nil {
				wantKind(t, err, secrets.Invalid, tt.err...)
				if !got.Enabled || got.Source != "tags" {
					t.Errorf("what can be read is %+v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("rotation (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLastRotated(t *testing.T) {
	at := func(d int) time.Time { return time.Date(2026, 3, d, 0, 0, 0, 0, time.UTC) }
	intent := func(labels ...string) secrets.Versions {
		return secrets.Versions{
			{ID: "old", Created: at(1), Labels: []string{secrets.Previous}},
			{ID: "new", Created: at(9), Labels: append([]string{secrets.Intent}, labels...)},
		}
	}
	for _, tt := range []struct {
		name     string
		versions secrets.Versions
		byAWS    time.Time
		want     time.Time
	}{
		{"never", secrets.Versions{{ID: "v", Created: at(5), Labels: []string{secrets.Current}}}, time.Time{}, time.Time{}},
		{"by Pawl", intent(secrets.Current), time.Time{}, at(9)},
		{"by Pawl, and then a value put by hand", intent(secrets.Previous), time.Time{}, at(9)},
		{"begun and not ended", intent(secrets.Pending), time.Time{}, time.Time{}},
		{"begun, and a value put by hand", intent(), time.Time{}, time.Time{}},
		{"by AWS, earlier", intent(secrets.Current), at(8), at(9)},
		{"by AWS, later", intent(secrets.Current), at(10), at(10)},
		{"by AWS alone", nil, at(10), at(10)},
	} {
		r := &record{rotated: tt.byAWS}
		r.Versions = tt.versions
		if got := r.lastRotated(); !got.Equal(tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestLeftAlone(t *testing.T) {
	s := bare(clockwork.NewFakeClock(), Config{})
	if err := s.leftAlone(recordOf("prod/app")); err != nil {
		t.Errorf("a plain secret is left alone: %v", err)
	}
	for _, tt := range []struct {
		name   string
		change func(*record)
		want   []string
	}{
		{"AWS rotates it", func(r *record) {
			r.enabled, r.configured, r.function = true, true, "arn:aws:lambda:eu-central-1:111122223333:function:rotate"
		}, []string{`secret "prod/app"`, "AWS rotates it already, by arn:aws:lambda:eu-central-1:111122223333:function:rotate", "aws secretsmanager cancel-rotate-secret --secret-id prod/app --region eu-central-1"}},
		{"AWS rotates it without a function", func(r *record) { r.enabled, r.configured = true, true }, []string{"by itself"}},
		{"marked for deletion", func(r *record) { r.Deleted = r.Created }, []string{"marked for deletion", "aws secretsmanager restore-secret"}},
		{"managed", func(r *record) { r.OwningService = "rds" }, []string{`the AWS service "rds"`}},
		{"a replica", func(r *record) { r.originate("us-west-2") }, []string{"a replica of the secret in us-west-2", "store.aws.region: us-west-2"}},
	} {
		r := recordOf("prod/app")
		tt.change(r)
		t.Run(tt.name, func(t *testing.T) { wantKind(t, s.leftAlone(r), secrets.Invalid, tt.want...) })
	}
	for name, change := range map[string]func(*record){
		"its rotation is turned off":   func(r *record) { r.configured = true },
		"a primary that is replicated": func(r *record) { r.originate("eu-central-1") },
	} {
		r := recordOf("prod/app")
		change(r)
		if err := s.leftAlone(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRecords: DescribeSecret and a listing tell the same of a secret, but that a
// listing is kept without what nobody there asks for.
func TestRecords(t *testing.T) {
	at := func(d int) *time.Time {
		return aws.Time(time.Date(2026, 3, d, 1, 2, 3, 4e6, time.FixedZone("", 3600)))
	}
	arn := arnOf("prod/app").String()
	stages := map[string][]string{
		"v3": {secrets.Pending, Intent}, "v1": {secrets.Previous, "mine"}, "v2": {secrets.Current}, "v0": {"kept"}, "vx": {secrets.Intent},
	}
	tags := []types.Tag{{Key: aws.String("team"), Value: aws.String("payments")}, {Key: aws.String(TagPaused)}}
	described, err := described(&secretsmanager.DescribeSecretOutput{
		ARN: &arn, Name: aws.String("prod/app"), Description: aws.String("d"), KmsKeyId: aws.String("k"), Type: aws.String("t"), OwningService: aws.String("o"),
		CreatedDate: at(1), LastChangedDate: at(2), LastRotatedDate: at(3), DeletedDate: at(4), PrimaryRegion: aws.String("us-west-2"),
		RotationEnabled: aws.Bool(false), RotationLambdaARN: aws.String("f"), Tags: tags, VersionIdsToStages: stages,
	})
	if err != nil {
		t.Fatal(err)
	}
	listed, err := listed(types.SecretListEntry{
		ARN: &arn, Name: aws.String("prod/app"), Description: aws.String("d"), KmsKeyId: aws.String("k"), Type: aws.String("t"), OwningService: aws.String("o"),
		CreatedDate: at(1), LastChangedDate: at(2), LastRotatedDate: at(3), DeletedDate: at(4), PrimaryRegion: aws.String("us-west-2"),
		RotationEnabled: aws.Bool(false), RotationLambdaARN: aws.String("f"), Tags: tags, SecretVersionsToStages: stages,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &record{configured: true, function: "f", rotated: at(3).UTC()}
	want.ARN, want.PrimaryRegion, want.OwningService = arnOf("prod/app"), "us-west-2", "o"
	want.Created, want.Changed, want.Deleted = at(1).UTC(), at(2).UTC(), at(4).UTC()
	want.Tags = []service.Tag{{Key: TagPaused}}
	want.Versions = secrets.Versions{
		{ID: "v0", Labels: []string{"kept"}}, {ID: "vx"},
		{ID: "v1", Labels: []string{secrets.Previous, "mine"}},
		{ID: "v2", Labels: []string{secrets.Current}},
		{ID: "v3", Labels: []string{secrets.Pending, secrets.Intent}},
	}
	opt := cmp.AllowUnexported(record{})
	if diff := cmp.Diff(want, listed, opt); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, described.trim(), opt); diff != "" {
		t.Errorf("described, trimmed (-want +got):\n%s", diff)
	}
	if described.Description != "d" || described.KMSKeyID != "k" || described.Type != "t" || described.tag("team") != "payments" {
		t.Errorf("described: %+v", described)
	}
}

func TestRecordsOfNothing(t *testing.T) {
	if _, err := described(&secretsmanager.DescribeSecretOutput{}); secrets.KindOf(err) != secrets.Invalid {
		t.Errorf("described nothing: %v", err)
	}
	if _, err := listed(types.SecretListEntry{ARN: aws.String("arn:aws:s3:::bucket")}); secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), "bucket") {
		t.Errorf("listed a bucket: %v", err)
	}
	arn := arnOf("new").String()
	r, err := listed(types.SecretListEntry{ARN: &arn})
	if err != nil || r.configured || len(r.Versions) != 0 {
		t.Errorf("a secret without anything: %+v, %v", r, err)
	}
}
