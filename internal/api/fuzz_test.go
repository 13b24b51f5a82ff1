package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzVerdictRequest holds two things: the quick reader takes only what the
// strict decoder takes, with the same result; and whatever is refused is
// refused with a problem of the table that names a known status.
func FuzzVerdictRequest(f *testing.F) {
	for _, seed := range []string{
		`{"image":"nginx"}`, benchBody, ` { "image" : "a" , "refresh" : true , "context" : { } } `, `{"refresh":false,"image":""}`,
		`{"image":"a","image":"b"}`, `{"Image":"a"}`, `{"image":"\u0061"}`, `{"image":"ä"}`, `{"image":"a"}x`, `{"image":"a",}`, `{}`, `[]`, `null`, ``,
		`{"context":{"a":"1","a":"2"}}`, `{"context":{"a":"1",}}`, `{"context":null}`, `{"image":null}`, `{"refresh":truefalse}`, `{"refresh":true`, "{\"image\":\"\x7f\"}", "{\"image\":\"a\xc3\"}", "{\"image\":\"\xfe\"}",
		`{"image":"a","assessment_id":"b","labels":{"a":"b"}}`, `{"labels":{"a":1},"image":"a"}`, `{"labels":null,"assessment_id":null}`, `{"image":"a" "platform":"b"}`, `{"image":"a","platform":"linux/amd64","evidence":[]}`, `{,"image":"a"}`, `{"context":{"a":{"b":"c"}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var quick, strict verdictRequest
		taken := quick.plain(body)
		p := decode(body, &strict, verdictExample)
		if taken {
			if p != nil {
				t.Fatalf("the quick reader takes what the strict decoder refuses: %v", p)
			}
			if d := cmp.Diff(strict, quick, cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("strict (-) and quick (+) differ:\n%s", d)
			}
		}
		if p == nil {
			p = checkImage(strict.Image)
		}
		if p == nil {
			p = checkPlatform(strict.Platform)
		}
		if p == nil {
			p = checkRecorded(strict.AssessmentID, strict.Labels)
		}
		if p != nil {
			if k, ok := kinds[p.code]; !ok || k.status != 400 {
				t.Fatalf("problem %+v is not one of the table with 400", p)
			}
			if p.detail == "" || strings.ContainsAny(p.detail, "\x00\n\r\x1b") {
				t.Fatalf("the detail is empty or has control characters: %q", p.detail)
			}
			return
		}
		if strict.Image == "" || strings.HasPrefix(strings.ToLower(strict.Image), "oci-layout:") || strict.Image[0] == '/' {
			t.Fatalf("the image %q is let through", strict.Image)
		}
	})
}

func TestQuickReaderTakesTheUsual(t *testing.T) {
	for _, body := range []string{`{"image":"nginx"}`, benchBody, "{\n  \"image\": \"ghcr.io/org/app:v1\",\n  \"refresh\": true\n}\n"} {
		var req verdictRequest
		if !req.plain([]byte(body)) {
			t.Errorf("%s is left to the strict decoder", body)
		}
	}
}
