package awskms_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/seal/awskms"
)

// kmsServer speaks the wire protocol of AWS KMS, as far as data keys need it.
type kmsServer struct {
	*httptest.Server
	mu      sync.Mutex
	keys    map[string]string // by id or alias: "Enabled", "Disabled", "PendingDeletion", "Forbidden"
	data    []dataKey
	calls   []call
	failing func(w http.ResponseWriter, n int) bool // n-th call; reports whether it answered
}

type dataKey struct {
	key     string
	plain   []byte
	context map[string]string
}

type call struct {
	operation, region, keySpec string
	context                    map[string]string
}

func newServer(t *testing.T) *kmsServer {
	s := &kmsServer{keys: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDPAWL")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-of-pawl")
	t.Setenv("AWS_REGION", "us-east-1")
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1") // Pawl itself, as its own commands know it
	t.Setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
	return s
}

func (s *kmsServer) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	refuse := func(code, message string) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
	}
	// AWS4-HMAC-SHA256 Credential=AKIDPAWL/20260301/eu-west-1/kms/aws4_request, …
	_, scope, signed := strings.Cut(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDPAWL/")
	parts := strings.Split(scope, "/")
	if !signed || len(parts) < 4 || parts[2] != "kms" || !strings.Contains(scope, "Signature=") {
		refuse("IncompleteSignature", "not signed")
		return
	}
	var in struct {
		KeyID             string `json:"KeyId"`
		KeySpec           string
		CiphertextBlob    []byte
		EncryptionContext map[string]string
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse("SerializationException", err.Error())
		return
	}
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	s.calls = append(s.calls, call{operation, parts[1], in.KeySpec, in.EncryptionContext})
	if s.failing != nil && s.failing(w, len(s.calls)) {
		return
	}
	key, i := in.KeyID, 0
	if operation == "Decrypt" {
		if _, err := fmt.Sscanf(string(in.CiphertextBlob), "wrapped %d", &i); err != nil || i >= len(s.data) || !maps.Equal(s.data[i].context, in.EncryptionContext) {
			refuse("InvalidCiphertextException", "")
			return
		}
		key = s.data[i].key
	}
	switch state := s.keys[key]; state {
	case "Enabled":
	case "Disabled":
		refuse("DisabledException", key+" is disabled.")
		return
	case "PendingDeletion":
		refuse("KMSInvalidStateException", key+" is pending deletion.")
		return
	case "Forbidden":
		refuse("AccessDeniedException", "User: arn:aws:iam::123456789012:user/pawl is not authorized to perform: kms:"+operation)
		return
	case "":
		refuse("NotFoundException", "Key '"+key+"' does not exist")
		return
	default:
		refuse(state, "as the test says")
		return
	}
	out := map[string]any{"KeyId": key}
	switch operation {
	case "GenerateDataKey":
		plain := make([]byte, 32)
		rand.Read(plain)
		s.data = append(s.data, dataKey{key, plain, in.EncryptionContext})
		out["Plaintext"], out["CiphertextBlob"] = plain, fmt.Appendf(nil, "wrapped %d", len(s.data)-1)
	case "Decrypt":
		out["Plaintext"] = s.data[i].plain
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	json.NewEncoder(w).Encode(out)
}

func (s *kmsServer) set(key, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[key] = state
}

func keyring(t *testing.T, c awskms.Config) *seal.Keyring {
	t.Helper()
	client, err := awskms.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pawl.key")
	if err := seal.GenerateKeyFile(path, rand.Reader); err != nil {
		t.Fatal(err)
	}
	m, err := seal.Source{File: path}.Load(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return seal.New(seal.Config{Master: m, KMS: client})
}

const (
	arn     = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf"
	version = "a3b1c2d4-0000-4000-8000-000000000001"
)

func TestDataKeys(t *testing.T) {
	s := newServer(t)
	s.set("alias/prod", "Enabled")
	ctx, k := t.Context(), keyring(t, awskms.Config{Endpoint: s.URL})
	if err := k.Check(ctx, "alias/prod", arn); err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal(ctx, "alias/prod", arn, version, secrets.Text("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, s.data[1].plain) || bytes.Contains(sealed, []byte("correct")) {
		t.Error("the value or its data key can be read")
	}
	for range 3 {
		if v, err := k.Open(ctx, arn, version, sealed); err != nil || !v.Equal(secrets.Text("correct horse")) {
			t.Fatal(err)
		}
	}
	tried := map[string]string{"SecretARN": arn, "SecretVersionId": "RequestToValidateKeyAccess"}
	used := map[string]string{"SecretARN": arn, "SecretVersionId": version}
	want := []call{
		{"GenerateDataKey", "eu-west-1", "AES_256", tried}, {"Decrypt", "eu-west-1", "", tried},
		{"GenerateDataKey", "eu-west-1", "AES_256", used}, {"Decrypt", "eu-west-1", "", used},
	}
	if got := fmt.Sprint(s.calls); got != fmt.Sprint(want) {
		t.Errorf("calls\n%v, want\n%v", got, want)
	}
	s.calls = nil
	if err := keyring(t, awskms.Config{Endpoint: s.URL, Region: "eu-central-1"}).Check(ctx, "alias/prod", arn); err != nil || s.calls[0].region != "eu-central-1" {
		t.Errorf("%v, calls %v", err, s.calls)
	}
	if _, err := k.Open(ctx, arn, version+"x", sealed); secrets.CodeOf(err) != "DecryptionFailure" {
		t.Errorf("for another version: %v", err)
	}
}

func TestKeysThatCantBeUsed(t *testing.T) {
	s := newServer(t)
	s.set("good", "Enabled")
	ctx := t.Context()
	sealed := func(k *seal.Keyring) []byte {
		s.set("good", "Enabled")
		b, err := k.Seal(ctx, "good", arn, version, secrets.Text("x"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const denied, notAllowed = "AccessDeniedException", "Access to KMS is not allowed"
	for _, c := range []struct{ state, sealing, opening, text string }{
		{"", "InvalidParameterException", "DecryptionFailure", "does not exist"},
		{"Disabled", "EncryptionFailure", "DecryptionFailure", "good is disabled."},
		{"PendingDeletion", "EncryptionFailure", "DecryptionFailure", "pending deletion"},
		{"Forbidden", denied, denied, notAllowed},
		{"InvalidKeyUsageException", "InvalidParameterException", "DecryptionFailure", "as the test says"},
		{"UnrecognizedClientException", denied, denied, "Pawl's own AWS credentials"},
		{"ExpiredTokenException", denied, denied, "Pawl's own AWS credentials"},
	} {
		t.Run(c.state, func(t *testing.T) {
			k := keyring(t, awskms.Config{Endpoint: s.URL})
			b := sealed(k)
			s.set("good", c.state)
			_, err := k.Seal(ctx, "good", arn, version, secrets.Text("x"))
			want(t, "seal", err, secrets.Invalid, c.sealing, c.text)
			want(t, "check", k.Check(ctx, "good", arn), secrets.Invalid, c.sealing, c.text)
			_, err = k.Open(ctx, arn, version, b)
			want(t, "open", err, secrets.Invalid, c.opening, c.text)
		})
	}
}

func want(t *testing.T, what string, err error, kind secrets.Kind, code, text string) {
	t.Helper()
	if secrets.KindOf(err) != kind || secrets.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("%s: %v (%v %s), want %v %s: %s", what, err, secrets.KindOf(err), secrets.CodeOf(err), kind, code, text)
	}
}

func TestWhatPasses(t *testing.T) {
	s := newServer(t)
	s.set("good", "Enabled")
	ctx, k := t.Context(), keyring(t, awskms.Config{Endpoint: s.URL})
	throttled := func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"ThrottlingException","message":"You have exceeded the rate at which you may call KMS."}`)
	}
	s.failing = func(w http.ResponseWriter, n int) bool {
		if n == 1 {
			throttled(w)
		}
		return n == 1
	}
	if _, err := k.Seal(ctx, "good", arn, version, secrets.Text("x")); err != nil {
		t.Errorf("throttled once: %v", err)
	}
	s.failing = func(w http.ResponseWriter, n int) bool { throttled(w); return true }
	slow := keyring(t, awskms.Config{Endpoint: s.URL, Timeout: 100 * time.Millisecond})
	_, err := slow.Seal(ctx, "good", arn, version, secrets.Text("x"))
	want(t, "throttled", err, secrets.Transient, "", "AWS KMS can't be used")

	release := make(chan struct{})
	s.failing = func(http.ResponseWriter, int) bool { <-release; return true }
	_, err = slow.Seal(ctx, "good", arn, version, secrets.Text("x"))
	close(release)
	want(t, "frozen", err, secrets.Transient, "", "did not answer in time")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = k.Seal(cancelled, "good", arn, version, secrets.Text("x"))
	want(t, "cancelled", err, secrets.Transient, "", "AWS KMS can't be used")

	gone := keyring(t, awskms.Config{Endpoint: "http://127.0.0.1:1", Timeout: 200 * time.Millisecond})
	err = gone.Check(ctx, "good", arn)
	want(t, "unreachable", err, secrets.Transient, "", "aws_kms")
	if strings.Contains(err.Error(), "secret-of-pawl") {
		t.Error("the error shows Pawl's credentials")
	}
}
