package kms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/smithy-go"
	vault "github.com/hashicorp/vault/api"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What may go wrong. Errors say in their text which key, which service and what
// would be right. Of what a service answered they repeat the code alone: its prose
// may hold tokens and names that are not for whoever may register a signer.
var (
	// ErrReference: the reference has not the form of any service.
	ErrReference = errors.New("not a reference to a key")
	// ErrNotAllowed: the reference names a host that the configuration does not list.
	ErrNotAllowed = errors.New("host not allowed")
	// ErrNotConfigured: this process lacks an address, a region or credentials.
	ErrNotConfigured = errors.New("access is not configured")
	// ErrDenied: the service knows the caller and refuses, or refuses the credentials.
	ErrDenied = errors.New("access denied")
	// ErrNotFound: there is no such key, or it is disabled or destroyed.
	ErrNotFound = errors.New("no such key")
	// ErrUnavailable: no answer, too late an answer, or one that asks to come later.
	ErrUnavailable = errors.New("not available")
	// ErrUnsupportedKey: the answer is no public key that signatures are verified with.
	ErrUnsupportedKey = errors.New("not a key to verify signatures with")
)

// errTooLarge ends the reading of an answer.
var errTooLarge = errors.New("answer too large")

// explain turns an error of a client into one of ours. ctx is the call's own.
func explain(ctx context.Context, p parsed, err error) error {
	detail, kind := classify(err)
	switch {
	case ctx.Err() != nil && !errors.Is(kind, ErrDenied) && !errors.Is(kind, ErrNotFound):
		// Closing what a call waits for makes clients fail in many ways.
		return late(ctx, p)
	case errors.Is(kind, ErrDenied):
		detail += "; " + p.grant()
	case errors.Is(kind, ErrNotConfigured):
		detail += "; " + p.service.environment
	}
	return p.fail(kind, detail)
}

// late is the error of a call that the context ended.
func late(ctx context.Context, p parsed) error {
	return fmt.Errorf("%w: %w", p.fail(ErrUnavailable, "no answer in time"), context.Cause(ctx))
}

// classify finds what may be told of a client's error, and its kind.
func classify(err error) (detail string, kind error) {
	var (
		azureErr *azcore.ResponseError
		vaultErr *vault.ResponseError
		awsErr   smithy.APIError
		grpcErr  interface{ GRPCStatus() *status.Status }
		noRetry  interface{ NonRetriable() } // azidentity has no credentials, or they do not work
		netErr   net.Error
		awsOp    *smithy.OperationError
		awsRead  *smithy.DeserializationError
	)
	switch {
	case errors.Is(err, errTooLarge):
		return fmt.Sprintf("the answer has more than %d bytes", maxAnswer), ErrUnsupportedKey
	case errors.As(err, &azureErr):
		return answered(fmt.Sprintf("HTTP %d", azureErr.StatusCode)), ofStatus(azureErr.StatusCode)
	case errors.As(err, &vaultErr):
		detail = answered(fmt.Sprintf("HTTP %d", vaultErr.StatusCode))
		if vaultErr.StatusCode == http.StatusServiceUnavailable { // developer.hashicorp.com/vault/api-docs#http-status-codes
			detail += ", so it is sealed or down for maintenance"
		}
		return detail, ofStatus(vaultErr.StatusCode)
	case errors.As(err, &awsErr):
		return answered(awsErr.ErrorCode()), ofAWS(awsErr.ErrorCode())
	case errors.As(err, &grpcErr):
		code := grpcErr.GRPCStatus().Code()
		return answered(code.String()), ofGRPC(code)
	case errors.As(err, &noRetry):
		return "no credentials that work", ErrNotConfigured
	case errors.Is(err, iterator.Done):
		return "the key has no version that is enabled", ErrNotFound
	case errors.As(err, &netErr), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return reach(err), ErrUnavailable
	case errors.As(err, &awsOp) && !errors.As(err, &awsRead):
		// Neither an answer nor the network: the client could not make the request.
		return "no region or no credentials", ErrNotConfigured
	case strings.HasPrefix(err.Error(), "could not read data from transit key path"):
		// Vault's 404, which its client makes a nil and sigstore's a text.
		return answered("HTTP 404"), ErrNotFound
	default:
		return "the service answered, but not with such a key", ErrUnsupportedKey
	}
}

// reach says why a service was not reached, from our side of the network only: the
// whole text would repeat the URL, which may hold a password.
func reach(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &dns):
		return "its host name is not known"
	case errors.As(err, &op) && op.Err != nil:
		return op.Op + ": " + op.Err.Error()
	default:
		return "the connection failed"
	}
}

func ofStatus(code int) error {
	switch {
	case code == 401 || code == 403:
		return ErrDenied
	case code == 404:
		return ErrNotFound
	case code == 429 || code >= 500:
		return ErrUnavailable
	default:
		return ErrUnsupportedKey
	}
}

// ofAWS knows the errors of DescribeKey and GetPublicKey, and those that all of
// AWS's services have (docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html).
func ofAWS(code string) error {
	switch code {
	case "AccessDeniedException", "AccessDenied", "NotAuthorized", "UnrecognizedClientException", "InvalidClientTokenId",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "IncompleteSignature", "InvalidSignatureException", "ExpiredTokenException",
		"ExpiredToken", "OptInRequired", "InvalidGrantTokenException":
		return ErrDenied
	case "NotFoundException", "DisabledException", "KMSInvalidStateException", "InvalidArnException":
		return ErrNotFound
	case "UnsupportedOperationException", "InvalidKeyUsageException", "ValidationException", "ValidationError":
		return ErrUnsupportedKey
	default: // throttling, internal and dependency errors, and what is new
		return ErrUnavailable
	}
}

func ofGRPC(code codes.Code) error {
	switch code {
	case codes.PermissionDenied, codes.Unauthenticated:
		return ErrDenied
	case codes.NotFound, codes.FailedPrecondition: // the latter: disabled or destroyed
		return ErrNotFound
	case codes.InvalidArgument, codes.Unimplemented, codes.OutOfRange:
		return ErrUnsupportedKey
	default:
		return ErrUnavailable
	}
}

// answered repeats a code as far as it looks like one.
func answered(code string) string {
	if code == "" || len(code) > 64 || !only(code, alphanumeric+" _.-") {
		return "it answered with an error"
	}
	return "it answered " + code
}
