package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/jonboulle/clockwork"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/lambda"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/aws"
	"github.com/pawlhq/pawl/strategies"
)

func newLambda(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "lambda",
		Short: "Be an AWS Lambda function that rotates secrets of AWS Secrets Manager",
		Long: `Handles the invocations of an AWS Lambda function: the steps of a rotation that AWS
Secrets Manager drives, as a rotation function; {"secret": NAME}, for one whole
rotation; and an EventBridge schedule or {"due": true}, for all that is due.

AWS Lambda starts it, as the program "bootstrap" in the archive that make lambda
makes; nobody else can. The function's environment variables configure it, and no
file does: docs/lambda.md has them.

  make lambda
  aws lambda create-function --function-name pawl --runtime provided.al2023 --handler bootstrap \
    --architectures arm64 --zip-file fileb://dist/pawl-lambda-arm64.zip --timeout 60 --role ROLE-ARN
  aws lambda invoke --function-name pawl --cli-binary-format raw-in-base64-out \
    --payload '{"secret":"prod/app"}' /dev/stdout`,
		Example: "  AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001 pawl lambda",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.hereOnly(cmd); err != nil {
				return err
			}
			if g.config != "" {
				return usage(errors.New("pawl lambda takes no --config: the function's environment variables configure it (docs/lambda.md)"))
			}
			api := os.Getenv(lambda.RuntimeAPI)
			if api == "" {
				return usage(errors.New("pawl lambda is started by AWS Lambda, which sets " + lambda.RuntimeAPI + "; here nobody did. " +
					"Make a function of it: make lambda, then docs/lambda.md. To rotate secrets of AWS from here: store.aws in the configuration, and pawl rotate"))
			}
			return runLambda(cmd.Context(), api, os.Environ(), cmd.ErrOrStderr())
		},
	}
}

// runLambda is the function until the process ends. It returns where the function
// can't start, after Lambda has been told why.
func runLambda(ctx context.Context, api string, environ []string, errOut io.Writer) error {
	h, log, err := newLambdaHandler(ctx, environ, errOut)
	if err == nil {
		lambda.Start(ctx, h)
		return nil
	}
	log.Error(err.Error(), "errorType", lambda.BadEnvironment)
	if err := lambda.FailInit(ctx, api, err); err != nil {
		log.Error("Lambda could not be told", "error", err.Error())
	}
	return &exitError{code: exitPerson}
}

func newLambdaHandler(ctx context.Context, environ []string, errOut io.Writer) (*lambda.Handler, *slog.Logger, error) {
	env, err := lambda.ReadEnvironment(environ)
	log := slog.New(newJSONHandler(errOut, env.LogLevel))
	if err != nil {
		return nil, log, err
	}
	store, err := aws.Open(ctx, aws.Config{
		Endpoint: env.Endpoint,
		Discover: true, Defaults: env.Rules, Pairings: env.Pairings,
		DefaultPort: defaultPort, Log: log,
	})
	if err != nil {
		return nil, log, err
	}
	engines, clock := registry(), clockwork.NewRealClock()
	return lambda.New(lambda.Config{
		Store: store, Rules: env.Rules, DefaultPort: defaultPort, Log: log,
		Rotator: &rotator.Rotator{Clock: clock, Steps: func(rules secrets.RotationRules) rotator.Steps {
			return strategies.NewUsers(strategies.Config{
				Engines: engines, Random: rand.Reader, Clock: clock,
				Superusers: strategies.Superusers{Pairings: env.Pairings, Credentials: store.CredentialsNear},
			}, rules)
		}},
	}), log, nil
}

// lambdaArgs are the arguments of a program that AWS Lambda starts: it gives none.
func lambdaArgs(args []string, getenv func(string) string) []string {
	if len(args) == 0 && getenv(lambda.RuntimeAPI) != "" {
		return []string{"lambda"}
	}
	return args
}
