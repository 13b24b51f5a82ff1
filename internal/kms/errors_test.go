package kms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/smithy-go"
	vault "github.com/hashicorp/vault/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type noCredentials struct{ error }

func (noCredentials) NonRetriable() {}

func TestClassify(t *testing.T) {
	api := func(code string) error {
		return fmt.Errorf("getting public key: %w", &smithy.OperationError{Err: &smithy.GenericAPIError{Code: code, Message: "secret"}})
	}
	azure := func(code int) error {
		return fmt.Errorf("public key: %w", &azcore.ResponseError{StatusCode: code, ErrorCode: "secret"})
	}
	tests := []struct {
		name string
		err  error
		want error
		text string
	}{
		{"Azure 401", azure(401), ErrDenied, "it answered HTTP 401"},
		{"Azure 403", azure(403), ErrDenied, "it answered HTTP 403"},
		{"Azure 404", azure(404), ErrNotFound, "it answered HTTP 404"},
		{"Azure 429", azure(429), ErrUnavailable, "it answered HTTP 429"},
		{"Azure 503", azure(503), ErrUnavailable, "it answered HTTP 503"},
		{"Azure 400", azure(400), ErrUnsupportedKey, "it answered HTTP 400"},
		{"Azure has no credentials", fmt.Errorf("public key: %w", noCredentials{errors.New("secret")}), ErrNotConfigured, "no credentials that work"},
		{"Vault 500", &vault.ResponseError{StatusCode: 500, Errors: []string{"secret"}}, ErrUnavailable, "it answered HTTP 500"},
		{"AWS expired", api("ExpiredTokenException"), ErrDenied, "it answered ExpiredTokenException"},
		{"AWS pending deletion", api("KMSInvalidStateException"), ErrNotFound, "it answered KMSInvalidStateException"},
		{"AWS symmetric", api("UnsupportedOperationException"), ErrUnsupportedKey, "it answered UnsupportedOperationException"},
		{"AWS internal", api("KMSInternalException"), ErrUnavailable, "it answered KMSInternalException"},
		{"AWS code that is prose", api("secret=" + strings.Repeat("x", 10)), ErrUnavailable, "it answered with an error"},
		{"AWS code without end", api(strings.Repeat("x", 65)), ErrUnavailable, "it answered with an error"},
		{"AWS request that was not made", &smithy.OperationError{Err: errors.New("secret")}, ErrNotConfigured, "no region or no credentials"},
		{"AWS answer that is garbage", &smithy.OperationError{Err: &smithy.DeserializationError{Err: errors.New("secret")}}, ErrUnsupportedKey, "the service answered, but not with such a key"},
		{"gRPC unauthenticated", status.Error(codes.Unauthenticated, "secret"), ErrDenied, "it answered Unauthenticated"},
		{"gRPC deadline", status.Error(codes.DeadlineExceeded, "secret"), ErrUnavailable, "it answered DeadlineExceeded"},
		{"gRPC quota", status.Error(codes.ResourceExhausted, "secret"), ErrUnavailable, "it answered ResourceExhausted"},
		{"gRPC argument", status.Error(codes.InvalidArgument, "secret"), ErrUnsupportedKey, "it answered InvalidArgument"},
		{"host name", &url.Error{Op: "Get", URL: "https://secret@x", Err: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "secret", IsNotFound: true}}}, ErrUnavailable, "its host name is not known"},
		{"connection", &url.Error{Op: "Get", URL: "https://secret@x", Err: errors.New("tls: secret")}, ErrUnavailable, "the connection failed"},
		{"cut short", fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), ErrUnavailable, "the connection failed"},
		{"too large", fmt.Errorf("reading: %w", errTooLarge), ErrUnsupportedKey, "the answer has more than 1048576 bytes"},
		{"anything else", errors.New("secret"), ErrUnsupportedKey, "the service answered, but not with such a key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text, kind := classify(tt.err)
			if !errors.Is(kind, tt.want) || text != tt.text {
				t.Errorf("classify = %q, %v; want %q, %v", text, kind, tt.text, tt.want)
			}
		})
	}
}

// A client that fails because the call was ended says so in its own way.
func TestExplainEndedCall(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := parsed{service: &services[0], ref: "awskms:///alias/x"}
	if err := explain(ctx, p, errors.New("closed")); errors.Is(err, ErrUnavailable) {
		t.Errorf("before the end: %v", err)
	}
	cancel()
	if err := explain(ctx, p, errors.New("closed")); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v, want %v", err, ErrUnavailable)
	}
}

// A panic in a client is an error like others. No double makes one of them panic,
// so the call is made without a service.
func TestPanicInAClient(t *testing.T) {
	p := parsed{service: &service{name: "none"}, ref: "none://x"}
	err := guarded(p, func() error { panic("nil pointer: secret") })
	if !errors.Is(err, ErrUnsupportedKey) || strings.Contains(err.Error(), "secret") {
		t.Errorf("guarded = %v; want %v", err, ErrUnsupportedKey)
	}
}
