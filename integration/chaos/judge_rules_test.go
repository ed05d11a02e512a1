//go:build linux

package chaos_test

import (
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

var origin = time.Unix(1_800_000_000, 0)

func ms(n int) time.Time { return origin.Add(time.Duration(n) * time.Millisecond) }

// wrote is a state; labels is AWSCURRENT, AWSPREVIOUS, AWSPENDING, PAWLINTENT.
func wrote(at, writer int, labels ...string) state {
	s := state{secret: "x", at: ms(at), writer: writer, labels: map[string]string{}}
	for i, l := range []string{secrets.Current, secrets.Previous, secrets.Pending, secrets.Intent} {
		if labels[i] != "" {
			s.labels[l] = labels[i]
		}
	}
	return s
}

// clean is a rotation from a to b by replica 1, and one from b to c by replica 2.
var clean = []state{
	wrote(0, nobody, "a", "", "", ""),
	wrote(1000, 1, "a", "", "b", "b"),
	wrote(1100, 1, "b", "a", "", "b"),
	wrote(6200, 2, "b", "a", "c", "c"),
	wrote(6300, 2, "c", "b", "", "c"),
}

func TestJudgeRead(t *testing.T) {
	for name, c := range map[string]struct {
		version    string
		start, end int
		ok         bool
	}{
		"current":                   {"b", 2000, 2001, true},
		"the one before":            {"a", 2000, 2001, true},
		"at the limit":              {"a", 2100, 2101, true},
		"beyond it":                 {"a", 2102, 2103, false},
		"asked before the limit":    {"a", 2050, 9000, true},
		"promoted while it waited":  {"b", 500, 1101, true},
		"not promoted yet":          {"b", 500, 1099, false},
		"never promoted":            {"z", 2000, 2001, false},
		"one that was again passed": {"b", 7500, 7501, false},
	} {
		if v := judgeRead(clean, read{"x", c.version, 1, ms(c.start), ms(c.end)}); (v == nil) != c.ok {
			t.Errorf("%s: %v", name, v)
		}
	}
}

func TestJudgeChange(t *testing.T) {
	undone := []state{wrote(0, 1, "a", "", "b", "b"), wrote(100, 1, "a", "", "", "b"), wrote(200, 1, "a", "", "", "a")}
	given := []state{wrote(0, 1, "a", "", "b", "b"), wrote(100, 1, "a", "", "b", "")}
	for name, c := range map[string]struct {
		states  []state
		at      int
		version string
		ok      bool
	}{
		"in its time":                 {clean, 1050, "b", true},
		"before it is durable":        {clean, 990, "b", false},
		"again, after it is promoted": {clean, 1200, "b", false},
		"after the next is begun":     {clean, 6250, "b", false},
		"after the next is promoted":  {clean, 7000, "b", false},
		"of nobody":                   {clean, 1050, "", false},
		"another's time":              {clean, 6250, "a", false},
		"taken back":                  {undone, 150, "a", true},
		"the abandoned one":           {undone, 150, "b", false},
		"taken back, and again":       {undone, 300, "a", false},
		"the intent is not there":     {given, 150, "b", false},
	} {
		if v := judgeChange("x", c.states, change{at: ms(c.at), role: "x"}, c.version); (v == nil) != c.ok {
			t.Errorf("%s: %v", name, v)
		}
	}
}

func TestJudgeSchedule(t *testing.T) {
	by := schedule{every: 5 * time.Second, asked: func(v string) bool { return v == "asked" }}
	twice := func(version string, replica int) []state {
		return append(clean[:3:3], wrote(1200, replica, "b", "a", version, version))
	}
	for name, c := range map[string]struct {
		states []state
		n      int
	}{
		"in time":             {clean, 0},
		"twice":               {twice("c", 2), 1},
		"asked for":           {twice("asked", 2), 0},
		"by a third":          {twice("c", 3), 1},
		"by the tests":        {twice("c", nobody), 0},
		"it is still pending": {append(clean[:2:2], wrote(1050, 2, "a", "", "b", "b")), 0},
	} {
		if vs := judgeSchedule("x", c.states, by); len(vs) != c.n {
			t.Errorf("%s: %v", name, vs)
		}
	}
}

func TestJudgeLogin(t *testing.T) {
	for name, c := range map[string]struct {
		version      string
		end, until   int
		refused      bool
		single, pair bool // what is right
	}{
		"accepted":                {"b", 2000, 2010, false, true, true},
		"refused at rest":         {"b", 2000, 2010, true, false, false},
		"while changing":          {"a", 1050, 1060, true, true, false},
		"promoted meanwhile":      {"a", 1050, 1110, true, true, true},
		"of what it was long ago": {"a", 3000, 3010, true, true, true},
	} {
		l := login{read{"x", c.version, 1, ms(c.end - 5), ms(c.end)}, ms(c.until), c.refused}
		if v := judgeLogin(clean, l, true); (v == nil) != c.single {
			t.Errorf("%s, single user: %v", name, v)
		}
		if v := judgeLogin(clean, l, false); (v == nil) != c.pair {
			t.Errorf("%s, two users: %v", name, v)
		}
	}
}

func TestSpellsAndTakeovers(t *testing.T) {
	at := func(end int, refused bool) login {
		return login{read{secret: "x", end: ms(end)}, ms(end + 10), refused}
	}
	s := longestSpell([]login{at(0, false), at(100, true), at(200, true), at(300, false), at(400, true), at(450, false)})
	if s.lasted != 210*time.Millisecond || !s.from.Equal(ms(100)) {
		t.Errorf("%+v", s)
	}
	claims := []claim{
		{epoch: 1, secret: "x", replica: 1, at: ms(1000)}, {epoch: 2, secret: "y", replica: 2, at: ms(1000)},
		{epoch: 3, secret: "x", replica: 2, at: ms(17_000), taken: 1, ended: ms(16_500)},
	}
	blows := []blow{{replica: 1, at: ms(200)}, {replica: 1, at: ms(1500)}, {replica: 2, at: ms(1600)}, {replica: 1, at: ms(16_900)}, {replica: 1, at: ms(18_000)}}
	if got := takeovers(claims, blows); len(got) != 1 || got[0].took != 15500*time.Millisecond || got[0].late != 500*time.Millisecond || got[0].epoch != 3 {
		t.Errorf("%+v", got)
	}
	if n := rotations(clean); n != 2 {
		t.Errorf("%d rotations", n)
	}
}

func TestIsFor(t *testing.T) {
	// RFC 7677, section 3, gives user, password, salt and rounds; the key is what
	// PostgreSQL makes of them.
	const verifier = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if !isFor(verifier, "pencil") {
		t.Error("refused")
	}
	for _, c := range [][2]string{{verifier, "pencils"}, {"md5abc", "pencil"}, {"SCRAM-SHA-256$4096:x$y:z", "pencil"}} {
		if isFor(c[0], c[1]) {
			t.Errorf("%s is not for %s", c[0], c[1])
		}
	}
	line := "1800000000.123 127.0.0.1(40012) LOG:  duration: 0.512 ms  statement: SET ROLE NONE; ALTER ROLE \"db_00\" PASSWORD '" + verifier + "'"
	if m := passwordSet.FindStringSubmatch(line); m == nil || m[3] != "40012" || m[4] != "db_00" || m[5] != verifier {
		t.Errorf("%q", m)
	}
}
