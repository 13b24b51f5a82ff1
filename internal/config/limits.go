package config

import (
	"fmt"
	"reflect"

	"github.com/signet-policy/signet/internal/evidence"
)

// checkLimits refuses limits that are not positive: a limit of nothing would
// either block everything or, read as "no limit", protect nothing.
func checkLimits(l evidence.Limits) []error {
	var errs []error
	v := reflect.ValueOf(l)
	for i := range v.NumField() {
		if v.Field(i).Int() <= 0 {
			errs = append(errs, fmt.Errorf("limits.%s: must be more than 0", v.Type().Field(i).Tag.Get("yaml")))
		}
	}
	return errs
}
