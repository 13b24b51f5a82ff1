// Package client speaks to a Signet server from Go.
package client
