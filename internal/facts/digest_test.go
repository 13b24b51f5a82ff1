package facts

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// What is written directly is what the generic encoder writes, of every field that
// facts have: a field that one of them forgets would show here.
func TestCanonicalFacts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	direct := 0
	for i := range 2000 {
		var p Proven
		populate(r, reflect.ValueOf(&p).Elem(), i%4 == 0)
		want, err := canonicalProven(p)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := canonicalFacts(p)
		if ok {
			direct++
		}
		if ok && string(got) != string(want) {
			t.Fatalf("directly\n%s\nand by the encoder\n%s", got, want)
		}
	}
	if direct < 1000 {
		t.Errorf("%d of 2000 were written directly", direct)
	}
}

// populate fills every field with something, or sometimes with nothing; odd strings
// have what JSON escapes, and what is no UTF-8.
func populate(r *rand.Rand, v reflect.Value, odd bool) {
	switch v.Type() {
	case reflect.TypeFor[json.RawMessage]():
		if r.IntN(3) > 0 {
			v.Set(reflect.ValueOf(json.RawMessage(`{"b":1,"a":"x"}`)))
		}
		return
	case reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(r.Int64N(1<<32), r.Int64N(1e9)).In(time.FixedZone("", 3600*r.IntN(3)))))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			populate(r, v.Field(i), odd)
		}
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			populate(r, v.Elem(), odd)
		}
	case reflect.Slice:
		n := r.IntN(4)
		if n == 3 {
			return // nil
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			populate(r, v.Index(i), odd)
		}
	case reflect.Map:
		n := r.IntN(4)
		if n == 3 {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range n {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			populate(r, k, odd)
			populate(r, e, odd)
			v.SetMapIndex(k, e)
		}
	case reflect.String:
		texts := []string{"", "a", "https://github.com/acme/app@refs/heads/main", "<b>&", "x y"}
		if odd {
			texts = append(texts, "é", "\"q\\", "\u2028", "\xff", "a\nb", "\x7f", "�", "日本")
		}
		v.SetString(texts[r.IntN(len(texts))])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Float64:
		v.SetFloat(float64(r.IntN(101)) / 10)
	case reflect.Int:
		v.SetInt(int64(r.IntN(1000)))
	case reflect.Int64:
		v.SetInt(r.Int64() - r.Int64())
	default:
		panic("facts have a field of type " + v.Type().String() + ", which this test does not fill")
	}
}
