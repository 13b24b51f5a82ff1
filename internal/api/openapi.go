package api

import (
	"context"
	_ "embed"
	"net/http"
)

// openAPI is the document that clients are generated from, kept by hand.
// Tests hold it against the routes, the Go types and every answer they get.
//
//go:embed openapi.json
var openAPI []byte

func getOpenAPI(context.Context, *call) (reply, error) {
	return reply{status: http.StatusOK, contentType: mediaJSON, body: openAPI}, nil
}
