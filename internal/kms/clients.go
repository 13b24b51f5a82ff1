package kms

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	gcpkms "cloud.google.com/go/kms/apiv1"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	sigstore "github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/aws"
	"github.com/sigstore/sigstore/pkg/signature/kms/azure"
	"github.com/sigstore/sigstore/pkg/signature/kms/gcp"
	"github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"google.golang.org/api/option"
	"google.golang.org/api/option/internaloption"
	gtransport "google.golang.org/api/transport/grpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

const azureScheme = azure.ReferenceScheme

// keyClient is what sigstore's clients have in common.
type keyClient interface {
	PublicKey(opts ...sigstore.PublicKeyOption) (crypto.PublicKey, error)
	SignMessage(message io.Reader, opts ...sigstore.SignOption) ([]byte, error)
}

// client makes the service's client and lets use ask it.
func (r *Resolver) client(ctx context.Context, p parsed, use func(keyClient) error) error {
	switch p.service.scheme {
	case aws.ReferenceScheme:
		return useAWS(ctx, p, use)
	case azure.ReferenceScheme:
		return useAzure(ctx, p, use)
	case gcp.ReferenceScheme:
		return r.useGoogle(ctx, p, use)
	default:
		return r.useVault(p, use)
	}
}

func useAWS(ctx context.Context, p parsed, use func(keyClient) error) error {
	opts := []func(*config.LoadOptions) error{
		// A connection that is kept would outlive the client that is made for one call.
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.DisableKeepAlives = true })),
		config.WithAPIOptions([]func(*middleware.Stack) error{limitAnswers}),
	}
	if arn := strings.Split(p.path, ":"); p.host == "" && len(arn) > 3 {
		// arn:PARTITION:kms:REGION:…: no other region knows the key.
		opts = append(opts, config.WithRegion(arn[3]))
	}
	sv, err := aws.LoadSignerVerifier(ctx, p.ref, opts...)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotConfigured, err)
	}
	return use(sv)
}

// limitAnswers stands next to the network, so that whatever reads an answer reads
// no more than maxAnswer of it.
func limitAnswers(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("SignetLimit", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
		middleware.DeserializeOutput, middleware.Metadata, error) {
		out, md, err := next.HandleDeserialize(ctx, in)
		if resp, ok := out.RawResponse.(*smithyhttp.Response); ok && resp.Body != nil {
			resp.Body = &limited{ReadCloser: resp.Body, left: maxAnswer}
		}
		return out, md, err
	}), middleware.After)
}

// limited fails where io.LimitReader would end.
type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(b []byte) (int, error) {
	n, err := l.ReadCloser.Read(b)
	if l.left -= n; l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

func useAzure(ctx context.Context, p parsed, use func(keyClient) error) error {
	sv, err := azure.LoadSignerVerifier(ctx, p.ref)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotConfigured, err)
	}
	return use(sv)
}

// useGoogle makes the connection itself, as Google's client would: sigstore's
// never closes its own, and reads keys without the context. Closing ours ends both.
func (r *Resolver) useGoogle(ctx context.Context, p parsed, use func(keyClient) error) error {
	opts := []option.ClientOption{
		internaloption.WithDefaultEndpointTemplate("cloudkms.UNIVERSE_DOMAIN:443"),
		internaloption.WithDefaultUniverseDomain("googleapis.com"),
		internaloption.WithDefaultAudience("https://cloudkms.googleapis.com/"),
		internaloption.WithDefaultScopes(gcpkms.DefaultAuthScopes()...),
		internaloption.EnableJwtWithScope(),
		internaloption.EnableNewAuthLibrary(),
		option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer))),
	}
	if r.google.Endpoint != "" {
		opts = append(opts, option.WithEndpoint(r.google.Endpoint))
	}
	if r.google.RootCAs != nil {
		opts = append(opts, option.WithGRPCDialOption(grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(r.google.RootCAs, ""))))
	}
	conn, err := gtransport.Dial(ctx, opts...)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotConfigured, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if stop() {
			_ = conn.Close()
		}
	}()
	sv, err := gcp.LoadSignerVerifier(ctx, p.ref, option.WithGRPCConn(conn))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotConfigured, err)
	}
	return use(sv)
}

func (r *Resolver) useVault(p parsed, use func(keyClient) error) error {
	token, err := r.vaultToken()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotConfigured, err)
	}
	auth := options.RPCAuth{Address: r.vault.Address, Token: token, Path: r.vault.Path}
	sv, err := hashivault.LoadSignerVerifier(p.ref, crypto.SHA256, options.WithRPCAuthOpts(auth))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotConfigured, err)
	}
	return use(sv)
}

// vaultToken leaves sigstore's client no token to look for: it would run the token
// helper that ~/.vault names, and write to the standard log.
func (r *Resolver) vaultToken() (string, error) {
	if token := cmp.Or(r.vault.Token, os.Getenv("VAULT_TOKEN"), os.Getenv("BAO_TOKEN")); token != "" {
		return token, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	token, err := os.ReadFile(filepath.Join(home, ".vault-token")) //nolint:gosec // the user's own home
	if err == nil && len(bytes.TrimSpace(token)) == 0 {
		err = errors.New("~/.vault-token is empty")
	}
	return string(bytes.TrimSpace(token)), err
}
