// Package freeport finds ports for servers that must know theirs before they listen.
// They are below those that Linux hands out to who asks for any (32768 and above, see
// ip_local_port_range in ip(7)), so nobody else is given one meanwhile.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

const least, most = 10000, 30000

// Port is one on which nothing listens at 127.0.0.1, and neither on those that are so
// much above it.
func Port(above ...int) (int, error) {
	for range 200 {
		port := least + rand.IntN(most-least)
		if free(port, above...) {
			return port, nil
		}
	}
	return 0, errors.New("no port is free")
}

// Address is 127.0.0.1 with such a port.
func Address(above ...int) (string, error) {
	port, err := Port(above...)
	return "127.0.0.1:" + strconv.Itoa(port), err
}

func free(port int, above ...int) bool {
	for _, more := range append([]int{0}, above...) {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+more))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
