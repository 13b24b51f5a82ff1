package freeport

import (
	"net"
	"strconv"
	"testing"
)

func TestAddress(t *testing.T) {
	address, err := Address(1000)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_, text, _ := net.SplitHostPort(address)
	if port, err := strconv.Atoi(text); err != nil || port < least || port >= most {
		t.Errorf("port %q", text)
	}
	if port, _ := strconv.Atoi(text); free(port) || free(port-1000, 1000) {
		t.Error("a port on which somebody listens is free")
	}
}
