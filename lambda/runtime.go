package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	runtime "github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/pawlhq/pawl/secrets"
)

// RuntimeAPI is the variable by which Lambda says where its Runtime API is.
const RuntimeAPI = "AWS_LAMBDA_RUNTIME_API"

// BadEnvironment is the type of the error of a function that can't start as it is
// configured.
const BadEnvironment = "Pawl.BadEnvironment"

// Start handles invocations until the process ends: it does not return.
func Start(ctx context.Context, h *Handler) {
	library := &libraryLog{log: h.Log}
	log.SetFlags(0)
	log.SetOutput(library)
	runtime.StartWithOptions(func(ctx context.Context, event json.RawMessage) (any, error) {
		answer, err := h.Handle(ctx, event)
		if err != nil {
			library.said.Add(1)
		}
		var f messages.InvokeResponse_Error
		if errors.As(err, &f) && f.ShouldExit {
			h.Log.Warn("the process ends, so that nothing goes on in the background; Lambda starts it again at the next invocation")
			library.said.Add(1)
		}
		return answer, err
	}, runtime.WithContext(ctx))
}

// libraryLog is the log of aws-lambda-go. It has the error of each invocation and,
// for one that says ShouldExit, that there was a panic. What Pawl's own log has
// already, in the right words, is left out; the rest is why the loop ended.
type libraryLog struct {
	log  *slog.Logger
	said atomic.Int64 // how many lines are to be left out
}

func (l *libraryLog) Write(line []byte) (int, error) {
	if l.said.Add(-1) >= 0 {
		return len(line), nil
	}
	l.said.Add(1)
	l.log.Error(string(bytes.TrimSpace(line)))
	return len(line), nil
}

// FailInit tells Lambda at api that the function can't start, so that who invokes
// it is told why.
// Source: AWS Lambda developer guide, "Using the Lambda runtime API",
// Initialization error.
func FailInit(ctx context.Context, api string, cause error) error {
	body, err := json.Marshal(struct {
		messages.InvokeResponse_Error
		StackTrace []string `json:"stackTrace"`
	}{messages.InvokeResponse_Error{Type: BadEnvironment, Message: secrets.OneLine(cause, maxMessage)}, []string{}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+api+"/2018-06-01/runtime/init/error", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Lambda-Runtime-Function-Error-Type", BadEnvironment)
	// No proxy: the address is the machine's own.
	client := http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // what it says changes nothing
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the Runtime API answered %s", resp.Status)
	}
	return nil
}
