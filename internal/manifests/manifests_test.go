package manifests

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// shown writes uses as "line image (where) [source]", one a line.
func shown(uses []Use) string {
	var b strings.Builder
	for _, u := range uses {
		fmt.Fprintf(&b, "%d %s", u.Line, u.Image)
		if u.Where != "" {
			fmt.Fprintf(&b, " (%s)", u.Where)
		}
		if u.Source != "" {
			fmt.Fprintf(&b, " [%s]", u.Source)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func env(name string) (string, bool) {
	v, ok := map[string]string{"TAG": "v2", "EMPTY": ""}[name]
	return v, ok
}

func TestRead(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"list", "# ours\nghcr.io/org/a:v1\n\n  ghcr.io/org/b@sha256:aa  # beta\nlocalhost:5000/c\n[::1]:5000/d:v1\n",
			"2 ghcr.io/org/a:v1\n4 ghcr.io/org/b@sha256:aa\n5 localhost:5000/c\n6 [::1]:5000/d:v1\n"},
		{"list of layouts", "oci-layout:./images/a:v1\n", "1 oci-layout:./images/a:v1\n"},
		{"list that an editor of Windows wrote", "\ufeffa/b:v1\r\nc/d\r\n", "1 a/b:v1\n2 c/d\n"},
		{"list in YAML", "- a/b:v1\n- image: c/d:v2\n  name: d\n", "1 a/b:v1\n2 c/d:v2\n"},
		{"list in JSON", `["a/b:v1", {"image": "c/d"}]`, "1 a/b:v1\n1 c/d\n"},
		{"nothing", "\n# nothing\n---\n", ""},

		{"compose", "services:\n  web:\n    image: ghcr.io/org/web:v1\n  db:\n    build: .\n    image: ghcr.io/org/db\n",
			"3 ghcr.io/org/web:v1 (service web)\n6 ghcr.io/org/db (service db)\n"},
		{"compose with variables", "services:\n  a: {image: 'r/a:${TAG}'}\n  b: {image: 'r/b:${NONE:-v9}'}\n  c: {image: 'r/c:$TAG'}\n  d: {image: 'r/d${EMPTY}'}\n  e: {image: 'r/e:${NONE-${TAG}}'}\n",
			"2 r/a:v2 (service a)\n3 r/b:v9 (service b)\n4 r/c:v2 (service c)\n5 r/d (service d)\n6 r/e:v2 (service e)\n"},
		{"compose that leaves an image to another file", "services:\n  a: {ports: ['80'], volumes: [{type: image, source: r/data, target: /data}]}\n", "2  (service a)\n2 r/data (service a, volume /data)\n"},
		{"compose with anchors", "x-base: &base\n  image: r/base:v1\nservices:\n  a: *base\n  b:\n    <<: *base\n    command: x\n  c:\n    <<: [*base]\n    image: r/c\n",
			"2 r/base:v1 (service a)\n2 r/base:v1 (service b)\n10 r/c (service c)\n"},
		{"compose with a volume of an image", "services:\n  a:\n    image: r/a\n    volumes:\n      - ./x:/x\n      - {type: image, source: 'r/data:${TAG}', target: /data}\n",
			"3 r/a (service a)\n6 r/data:v2 (service a, volume /data)\n"},

		{"pod", "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\nspec:\n  initContainers:\n  - name: i\n    image: r/i\n  containers:\n  - name: a\n    image: r/a:v1\n  ephemeralContainers:\n  - {name: e, image: r/e}\n  volumes:\n  - name: data\n    image: {reference: r/data:v1}\n",
			"7 r/i (Pod shop/p, init container i)\n10 r/a:v1 (Pod shop/p, container a)\n12 r/e (Pod shop/p, ephemeral container e)\n15 r/data:v1 (Pod shop/p, volume data)\n"},
		{"helm", "---\n# Source: shop/templates/web.yaml\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  template:\n    spec:\n      containers:\n        - name: web\n          image: \"r/web:v1\"\n---\n# Source: shop/templates/cron.yaml\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: r/c}]}}}}}\n",
			"12 r/web:v1 (Deployment web, container web) [shop/templates/web.yaml]\n18 r/c (CronJob c, container c) [shop/templates/cron.yaml]\n"},
		{"list of objects", `{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x-"}, "spec": {"containers": [{"name": "a", "image": "r/a"}]}, "status": {"containerStatuses": [{"image": "r/old"}]}}]}`,
			"1 r/a (Pod x-…, container a)\n"},
		{"kinds of others", "apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: t}\nspec:\n  steps:\n  - name: s\n    image: r/s\n---\napiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {name: p}\nspec:\n  image: r/prometheus\n  logo: {image: 'https://example.com/a.png'}\n  containers:\n  - {name: prometheus, args: []}\n",
			"7 r/s (Task t, spec.steps.image s)\n13 r/prometheus (Prometheus p, spec.image)\n"},
		{"a list that calls itself otherwise", "apiVersion: v1\nkind: ConfigMap\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a, image: r/a}]}}\n", "4 r/a (Pod p, container a)\n"},
		{"a Secret of somebody else", "apiVersion: example.com/v1\nkind: Secret\nmetadata: {name: s}\nspec: {image: r/a}\n", "4 r/a (Secret s, spec.image)\n"},
		{"the same twice", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  x: &a {image: r/a, name: a}\n  containers:\n  - {image: r/a, image: r/a, <<: *a}\n", "5 r/a (Pod p, spec.x.image a)\n7 r/a (Pod p, container a)\n"},
		{"compose, whose own keys win wherever they stand", "x-a: &a {image: r/other}\nservices:\n  a: {image: r/a, <<: *a}\n", "3 r/a (service a)\n"},
		{"compose with a type in a variable", "services:\n  a:\n    image: r/a\n    volumes: [{type: '${NONE:-image}', source: r/b, target: /b}]\n", "3 r/a (service a)\n4 r/b (service a, volume /b)\n"},
		{"a ConfigMap whose items are null", "apiVersion: v1\nkind: ConfigMap\nitems: null\ndata: {image: r/a}\n", ""},
		{"merges in merges", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  x: &a {<<: {image: r/a}, name: a}\n  containers:\n  - {<<: [*a, {image: r/b}]}\n", "5 r/a (Pod p, spec.x.image a)\n5 r/a (Pod p, container a)\n"},
		{"separators with blanks and comments", "--- # first\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: r/a}], text: '\n ---# b'}\n---\t\r\n---\r\n{apiVersion: v1, kind: List, items: []}\n--- ", "5 r/a (Pod p, container a)\n"},
		{"a name that forges lines", "apiVersion: v1\nkind: Pod\nmetadata: {name: \"p\\n::x\"}\nspec: {containers: [{name: \"a\\e[1m\", image: r/a}]}\n", "4 r/a (Pod p\ufffd::x, container a\ufffd[1m)\n"},
		{"the name of the project, in a text that Compose does not replace", "services:\n  a: {image: 'r/a:$TAG', command: '$COMPOSE_PROJECT_NAME'}\n", "2 r/a:v2 (service a)\n"},
		{"what runs nothing", "apiVersion: v1\nkind: ConfigMap\ndata:\n  containers: [{image: r/a}]\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: []}\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			uses, err := Read([]byte(c.file), env)
			if err != nil {
				t.Fatal(err)
			}
			if got := shown(uses); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

// What could hide an image is an error that names its line.
func TestReadRefuses(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"other YAML", "a: 1\n", "line 1: this has neither services"},
		{"prose", "these are some words\n", "line 1: this is neither a Compose file"},
		{"broken YAML", "services:\n  a: [\n", "line 2"},
		{"binary", "PK\x03\x04\x00", "no text in UTF-8"},
		{"include", "include: [other.yaml]\nservices: {}\n", "line 1: include takes services from other files"},
		{"extends", "services:\n  a:\n    extends: {service: b}\n", "service a extends another"},
		{"build alone", "services:\n  a:\n    build: .\n", "service a is built and names no image"},
		{"an image that says nothing", "services:\n  a:\n    image:\n", "service a has no image"},
		{"an empty service", "services:\n  a:\n", "line 2: service a must be a mapping"},
		{"services that are a list", "services: [a]\n", "line 1: services must be a mapping"},
		{"a variable that is not set", "services:\n  a: {image: 'r/a:${NONE}'}\n", "line 2: the image of service a: the variable NONE is not set"},
		{"a variable that must be set", "services:\n  a: {image: 'r/a:${NONE:?give a tag}'}\n", "give a tag"},
		{"a container without an image", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: a\n", "line 6: Pod p, container a has no image"},
		{"an image volume without a reference", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  volumes:\n  - {name: v, image: {}}\n", "Pod p, volume v has no image.reference"},
		{"items that are none", "apiVersion: v1\nkind: List\nitems: {}\n", "the items of List must be a list"},
		{"a list of other things", "- a/b\n- [c]\n", "line 2: a list must hold images"},
		{"an image that stands twice", "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - {name: a, image: r/signed, image: r/evil}\n", `line 5: "image" stands twice`},
		{"an image that stands twice, in JSON", `{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "r/signed", "image": "r/evil"}]}}`, `"image" stands twice`},
		{"a spec that stands twice", "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: r/signed}]}\nspec: {containers: [{name: a, image: r/evil}]}\n", `"spec" stands twice`},
		{"an image before what merges in another", "apiVersion: v1\nkind: Pod\nspec:\n  x: &evil {image: r/evil}\n  containers:\n  - {name: a, image: r/signed, <<: *evil}\n", `"image" stands before <<`},
		{"two merges", "apiVersion: v1\nkind: Pod\nspec:\n  x: &a {b: c}\n  containers:\n  - {name: a, image: r/a, <<: *a, <<: *a}\n", "<< stands twice"},
		{"a key that is an alias", "apiVersion: v1\nkind: Pod\nspec:\n  x: &k image\n  containers:\n  - {name: a, *k : r/evil}\n", "a key must be written out"},
		{"a key in another writing", "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, !!binary aW1hZ2U= : r/evil}]}\n", "a key must be written out"},
		{"items of any kind that are none", "apiVersion: v1\nkind: ConfigMap\nitems: {}\n", "the items of ConfigMap must be a list"},
		{"a volume of a type that is not set", "services:\n  a:\n    image: r/a\n    volumes: [{type: '${NONE}', source: r/b}]\n", "the type of a volume of service a: the variable NONE is not set"},
		{"a name that forges lines", "services: {\"x\\n::stop-commands::t\": {build: .}}\n", "service x\ufffd::stop-commands::t is built"},
		{"a key that a tag makes a merge", "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, !!merge image: {x: y}}]}\n", "line 3: a key must be written out, as a plain text without a tag"},
		{"a merge that a tag hides", "apiVersion: v1\nkind: ConfigMap\n!!str <<: {kind: Pod}\n", "line 3: a key must be written out, as a plain text without a tag"},
		{"a merge in quotes that a tag takes off", "apiVersion: v1\nkind: ConfigMap\n! \"<<\": {kind: Pod, spec: {containers: [{name: a, image: r/evil}]}}\n", "line 3: << must stand without quotes and tags"},
		{"a merge of a text", "apiVersion: v1\nkind: Pod\n<<: x\n", "line 3: << must merge in a mapping, or a list of mappings"},
		{"a merge of texts", "services:\n  a:\n    <<: [{image: r/a}, x]\n", "line 3: << must merge in a mapping, or a list of mappings"},
		{"a kind before a merge in a merge", "apiVersion: v1\n<<: {kind: ConfigMap, <<: {kind: Pod}}\nmetadata: {name: p}\nspec: {containers: [{name: a, image: r/evil}]}\n", `line 2: "kind" stands before <<`},
		{"a kind before a merge, three merges deep", "apiVersion: v1\n<<: {<<: [{<<: {kind: ConfigMap, <<: {kind: Pod}}}]}\n", `line 2: "kind" stands before <<`},
		{"a kind before a merge in the second of a list", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service}\n- {apiVersion: v1, <<: {kind: ConfigMap, <<: {kind: Pod}}, spec: {containers: [{name: a, image: r/evil}]}}\n", `line 5: "kind" stands before <<`},
		{"a separator of kubectl's alone", "apiVersion: v1\nkind: ConfigMap\ndata: {a: 'x\n---# y\n'}\n", "line 4: kubectl ends a document at ---"},
		{"a separator of kubectl's alone, in a Compose file", "services: {}\nx: 'x\n---#\n'\n", "line 3: kubectl ends a document at ---"},
		{"a separator with a blank of its own kind", "apiVersion: v1\nkind: ConfigMap\ndata: {a: 'x\n---\u00a0# y\n'}\n", "line 4: kubectl ends a document at ---"},
		{"a separator that ends with a line of YAML's", "--- #\rapiVersion: v1\rkind: ConfigMap\rdata: |\n apiVersion: v1\n kind: Pod\n", "line 1: kubectl ends a document at ---"},
		{"items that a tag calls null", "apiVersion: v1\nkind: ConfigMap\nitems: !!null [{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a}]}}]\n", "line 3: Pod p, container a has no image"},
		{"an item that is of the kind of its list", "apiVersion: v1\nkind: PodList\nitems:\n- {services: {}, spec: {containers: [{name: a, image: r/evil}]}}\n", "line 4: an item of PodList has no apiVersion and kind"},
		{"an item without a kind", "apiVersion: v1\nkind: PodList\nitems:\n- {apiVersion: v1}\n", "line 4: an item of PodList has no apiVersion and kind"},
		{"an item that is a list", "apiVersion: v1\nkind: List\nitems: [[r/a]]\n", "line 3: an item of List has no apiVersion and kind"},
		{"a list that holds itself", "&a\napiVersion: v1\nkind: List\nitems: [*a]\n", "nests deeper than 100 levels"},
		{"a binary image", "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: !!binary ci9ldmls}]}\n", `line 3: "image" is binary`},
		{"a binary kind", "apiVersion: v1\nkind: !!binary UG9k\n", `line 2: "kind" is binary`},
		{"a binary image of a volume", "apiVersion: v1\nkind: Pod\nspec: {volumes: [{name: v, image: {reference: !!binary ci9ldmls}}]}\n", `line 3: "reference" is binary`},
		{"a binary image of a service", "services:\n  a: {image: !!binary ci9ldmls}\n", `line 2: "image" is binary`},
		{"a list with a binary image", "- !!binary ci9ldmls\n", "line 1: a list must hold images"},
		{"an image that is taken away, and merged in", "x-a: &a {image: r/evil}\nservices:\n  a: {<<: *a, image: !reset r/signed}\n", `line 3: "image" is taken away by !reset`},
		{"the name of the project", "name: x\nservices:\n  a: {image: 'r/a-${COMPOSE_PROJECT_NAME:-signed}'}\n", "line 3: the image of service a: the variable COMPOSE_PROJECT_NAME is not set, and Compose sets it"},
		{"the name of the project within a default", "services:\n  a: {image: 'r/a-${NONE:-$COMPOSE_PROJECT_NAME}'}\n", "line 2: the image of service a: the variable COMPOSE_PROJECT_NAME is not set, and Compose sets it"},
		{"a pod whose name forges lines", "apiVersion: v1\nkind: Pod\nmetadata: {name: \"p\\n::x\"}\nspec: {containers: [{name: \"a\\r::y\"}]}\n", "line 4: Pod p\ufffd::x, container a\ufffd::y has no image"},
		{"a volume whose name forges lines", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {volumes: [{name: \"v\\n::x\", image: {}}]}\n", "volume v\ufffd::x has no image.reference"},
		{"a variable whose message forges lines", "services: {a: {image: \"${NONE:?x\\r::y\\e[1m}\"}}\n", "x\ufffd::y\ufffd[1m"},
		{"an alias within itself", "apiVersion: v1\nkind: Pod\nspec: &a\n  b: *a\n", "line 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			uses, err := Read([]byte(c.file), env)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v and the error %v, want one with %q", uses, err, c.want)
			}
		})
	}
}

// Each mistake is told, not the first alone.
func TestReadTellsEachMistake(t *testing.T) {
	_, err := Read([]byte("services:\n  a: {build: .}\n  b: {extends: c}\n"), env)
	if err == nil || strings.Count(err.Error(), "line ") != 2 {
		t.Errorf("got %v, want two lines", err)
	}
}

// Ten billion laughs: aliases of aliases end at a limit.
func TestReadEndsOnAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Pod\na0: &a0 [x]\n")
	for i := range 20 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	if _, err := Read([]byte(b.String()), env); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, want an error", err)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"a/b:v1\n", "services: {a: {image: 'b:${TAG}'}}", "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: a}]}", "- a\n- image: b\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, file string) {
		uses, err := Read([]byte(file), env)
		if err != nil && len(uses) > 0 {
			t.Errorf("uses beside an error: %v, %v", uses, err)
		}
		for _, u := range uses {
			if u.Image == "" || u.Line < 1 {
				t.Errorf("a use without image or line: %+v", u)
			}
		}
	})
}
