package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const topSecret = "hunter2-Ω-topsecret"

// roads are the ways by which things get printed.
func roads(x any) map[string]string {
	out := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10.3s", "%c", "%U", "%p"} {
		out[verb] = fmt.Sprintf(verb, x)
	}
	out["Sprint"] = fmt.Sprint(x)
	out["Sprintln"] = fmt.Sprintln("x", x)
	out["error"] = fmt.Errorf("failed with %v", x).Error()
	b, err := json.Marshal(x)
	out["json"] = string(b) + fmt.Sprint(err)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", x)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", x, slog.Group("g", "v", x))
	out["slog"] = log.String()
	func() {
		defer func() { out["panic"] = fmt.Sprint(recover()) }()
		panic(x)
	}()
	return out
}

// leaks are the forms in which the secret would be seen.
func leaks() []string {
	quoted, _ := json.Marshal(topSecret)
	return []string{"hunter2", "topsecret", fmt.Sprintf("%x", topSecret), fmt.Sprintf("%X", topSecret), string(quoted[1:10]), fmt.Sprint([]byte(topSecret))[1:20], "aHVudGVyM"}
}

func TestNothingPrintsASecret(t *testing.T) {
	cred := NewCredentials("engine", "postgres", "username", "app", "password", topSecret)
	type hidden struct {
		v    Value
		p    Password
		c    Credentials
		list []Value
		m    map[string]Password
		ptr  *Value
	}
	text, pw := Text(topSecret), NewPassword(topSecret)
	nested := hidden{text, pw, cred, []Value{text}, map[string]Password{"p": pw}, &text}
	for name, x := range map[string]any{
		"text":        text,
		"binary":      Binary([]byte(topSecret)),
		"pointer":     &text,
		"password":    pw,
		"credentials": cred,
		"slice":       []any{text, pw, cred},
		"map":         map[string]any{"v": text, "p": pw, "c": cred},
		"exported": struct {
			V Value
			P Password
			C Credentials
		}{text, pw, cred},
		"unexported":   nested,
		"unexported *": &nested,
		"deep":         struct{ inner any }{struct{ h *hidden }{&nested}},
		"error":        Errorf(Invalid, "bad %v %s %q", text, pw, cred),
		"joined":       errors.Join(Errorf(Denied, "%v", text)),
	} {
		for road, got := range roads(x) {
			for _, leak := range leaks() {
				if strings.Contains(got, leak) {
					t.Errorf("%s by %s: %s", name, road, got)
				}
			}
		}
	}
	for _, x := range []any{text, pw, cred} {
		for road, got := range roads(x) {
			if road != "%p" && !strings.Contains(got, "[redacted]") {
				t.Errorf("%T by %s does not say that it is redacted: %s", x, road, got)
			}
		}
	}
}

// A panic that nobody recovers is printed by the runtime, not by fmt.
func TestACrashPrintsNoSecret(t *testing.T) {
	const variable = "PAWL_TEST_CRASH"
	switch os.Getenv(variable) {
	case "value":
		panic(Text(topSecret))
	case "password":
		panic(NewPassword(topSecret))
	case "credentials":
		panic(NewCredentials("password", topSecret))
	case "struct":
		panic(struct{ v Value }{Text(topSecret)})
	}
	for _, what := range []string{"value", "password", "credentials", "struct"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestACrashPrintsNoSecret$")
		cmd.Env = append(os.Environ(), variable+"="+what)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "panic:") {
			t.Fatalf("%s: no crash: %v %s", what, err, out)
		}
		for _, leak := range leaks() {
			if strings.Contains(string(out), leak) {
				t.Errorf("%s: the crash shows the secret", what)
			}
		}
	}
}

func TestValue(t *testing.T) {
	raw := []byte{1, 2, 3}
	v := Binary(raw)
	raw[0] = 9
	got := v.Reveal()
	got[1] = 9
	if !bytes.Equal(v.Reveal(), []byte{1, 2, 3}) {
		t.Error("a Value shares its bytes")
	}
	if !v.IsBinary() || v.IsZero() || v.Len() != 3 || Text("x").IsBinary() {
		t.Error("a Value forgot what it is")
	}
	var zero Value
	if !zero.IsZero() || zero.Len() != 0 || zero.Reveal() != nil || zero.IsBinary() {
		t.Error("the zero Value is not none")
	}
	for _, c := range []struct {
		a, b Value
		want bool
	}{
		{Text("x"), Text("x"), true}, {Text("x"), Text("y"), false}, {Text("x"), Binary([]byte("x")), false},
		{zero, zero, true}, {zero, Text(""), false}, {Text(""), zero, false}, {Text("x"), Text("xx"), false},
	} {
		if got := c.a.Equal(c.b); got != c.want {
			t.Errorf("%d and %d bytes: equal %v", c.a.Len(), c.b.Len(), got)
		}
	}
}

func TestValidateValue(t *testing.T) {
	big := strings.Repeat("x", MaxValueBytes)
	for _, v := range []Value{Text("x"), Text(big), Binary([]byte(big)), Binary([]byte{0xff}), Text("Ω")} {
		if err := v.Validate(); err != nil {
			t.Errorf("%d bytes: %v", v.Len(), err)
		}
	}
	for _, v := range []Value{{}, Text(""), Binary(nil), Text(big + "x"), Binary([]byte(big + "x")), Text("\xff")} {
		if err := v.Validate(); KindOf(err) != Invalid {
			t.Errorf("%d bytes: %v", v.Len(), err)
		}
	}
}

func TestPassword(t *testing.T) {
	var none Password
	if !none.IsEmpty() || !NewPassword("").IsEmpty() || NewPassword("x").IsEmpty() {
		t.Error("IsEmpty is wrong")
	}
	if NewPassword("x").Reveal() != "x" || none.Reveal() != "" || !NewPassword("x").Equal(NewPassword("x")) || NewPassword("x").Equal(NewPassword("y")) {
		t.Error("Reveal or Equal is wrong")
	}
}
