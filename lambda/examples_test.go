package lambda_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/pawlhq/pawl/lambda"
)

func example(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", "examples", "lambda", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var actions = regexp.MustCompile(`secretsmanager:[A-Z]\w+`)

// TestExampleTemplate: the SAM file is YAML, refers to nothing that is not there,
// gives the rights that policy.json gives, and sets variables that are read.
func TestExampleTemplate(t *testing.T) {
	text := example(t, "template.yaml")
	var file struct {
		Parameters map[string]any `yaml:"Parameters"`
		Conditions map[string]any `yaml:"Conditions"`
		Resources  map[string]any `yaml:"Resources"`
	}
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`!Ref (\w[\w:]*)|\$\{(\w[\w:]*)\}|!GetAtt (\w+)|(?:!If \[|Condition: )(Has\w+)|- (Has\w+)\n`).FindAllStringSubmatch(text, -1) {
		name := strings.Join(m[1:], "")
		_, parameter := file.Parameters[name]
		_, resource := file.Resources[name]
		_, condition := file.Conditions[name]
		if !parameter && !resource && !condition && !strings.HasPrefix(name, "AWS::") {
			t.Errorf("%s: there is no %s", m[0], name)
		}
	}
	set := func(s string) []string {
		found := actions.FindAllString(s, -1)
		slices.Sort(found)
		return slices.Compact(found)
	}
	if got, want := set(text), set(example(t, "policy.json")); !slices.Equal(got, want) {
		t.Errorf("the template allows %q, policy.json %q", got, want)
	}
	for _, name := range regexp.MustCompile(`PAWL_\w+`).FindAllString(text+example(t, "main.tf"), -1) {
		if _, err := lambda.ReadEnvironment([]string{name + "=[{"}); err == nil || strings.Contains(err.Error(), "no such variable") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExamplePairing: the pairing that the examples make is one.
func TestExamplePairing(t *testing.T) {
	text := strings.NewReplacer("${Superuser}", "root/db", "${Secrets}", "prod/app/*").Replace(`[{"secret": "${Superuser}", "for": ["${Secrets}"]}]`)
	if !strings.Contains(example(t, "template.yaml"), `'[{"secret": "${Superuser}", "for": ["${Secrets}"]}]'`) || !json.Valid([]byte(text)) {
		t.Fatal("the template has another one")
	}
	e, err := lambda.ReadEnvironment([]string{"PAWL_SUPERUSERS=" + text})
	if err != nil || len(e.Pairings) != 1 || !e.Pairings[0].Covers("prod/app/x") || e.Pairings[0].Covers("prod/other") {
		t.Errorf("%+v, %v", e.Pairings, err)
	}
}
