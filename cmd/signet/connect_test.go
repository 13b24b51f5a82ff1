package main

import (
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/config"
)

// A server that accepts the last known state stays in rotation meanwhile.
func TestStoreCheck(t *testing.T) {
	for _, tt := range []struct {
		name  string
		grace config.Duration
		want  bool
	}{{"no grace", 0, false}, {"grace", config.Duration(time.Minute), true}} {
		t.Run(tt.name, func(t *testing.T) {
			list := checks(apiParts{file: config.File{Active: config.Active{Grace: tt.grace}}})
			if list[0].Name != "store" || list[0].Optional != tt.want {
				t.Errorf("check %s, optional %t; want store, %t", list[0].Name, list[0].Optional, tt.want)
			}
		})
	}
}
