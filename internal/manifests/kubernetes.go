package manifests

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// object takes one object of Kubernetes: every list of containers in it, and every
// field image, whatever its kind, so that a kind of somebody's own that runs images
// (Tekton's steps, an operator's spec.image) is no way around. Only what runs nothing,
// and may hold the text of others, is passed over.
func (f *finder) object(n *yaml.Node, depth int) {
	if f.nodes++; f.nodes > maxNodes || depth > maxDepth {
		f.tooMuch(n)
		return
	}
	f.kubernetes = true
	kind, group := f.text(n, "kind"), f.text(n, "apiVersion")
	items := f.field(n, "items")
	switch {
	case items != nil && !isNull(items): // whatever it calls itself: so does kubectl
		if items.Kind != yaml.SequenceNode {
			f.fail(items, "the items of %s must be a list", kind)
			return
		}
		for _, item := range items.Content {
			if !f.isObject(item) { // kubectl gives it those of the list
				f.fail(item, "an item of %s has no apiVersion and kind; give it its own", kind)
				continue
			}
			f.object(item, depth+1)
		}
		return
	case group == "v1" && (kind == "ConfigMap" || kind == "Secret"),
		strings.HasPrefix(group, "apiextensions.k8s.io/") && kind == "CustomResourceDefinition":
		return
	}
	name := f.text(n, "metadata", "name")
	if name == "" {
		name = f.text(n, "metadata", "generateName") + "…"
	}
	if namespace := f.text(n, "metadata", "namespace"); namespace != "" {
		name = namespace + "/" + name
	}
	o := object{finder: f, name: kind + " " + name, builtin: slices.Contains(workloads, kind)}
	for _, key := range f.mapping(n).keys {
		if key != "status" && key != "metadata" { // what runs, or what is said about it
			o.walk(f.field(n, key), key, 1)
		}
	}
}

// isObject says whether a node says what object of Kubernetes it is.
func (f *finder) isObject(n *yaml.Node) bool {
	return f.field(n, "apiVersion") != nil && f.field(n, "kind") != nil
}

// workloads are the kinds of Kubernetes' own that have a PodSpec, in which a container
// without an image is a mistake.
var workloads = []string{
	"Pod", "PodTemplate", "Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Job", "CronJob",
}

// containers are the fields of a PodSpec that hold containers
// (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/).
var containers = map[string]string{
	"containers": "container", "initContainers": "init container", "ephemeralContainers": "ephemeral container",
}

// object is one object of Kubernetes while it is searched.
type object struct {
	*finder
	name    string // in words: "Deployment shop/web"
	builtin bool
}

// walk looks for images below a node that stands at a path such as "spec.template".
func (o object) walk(n *yaml.Node, path string, depth int) {
	if n = resolve(n); n == nil {
		return
	}
	if o.nodes++; o.nodes > maxNodes || depth > maxDepth {
		o.tooMuch(n)
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, child := range n.Content {
			o.walk(child, path, depth+1)
		}
	case yaml.MappingNode:
		for _, key := range o.mapping(n).keys {
			value, below := o.field(n, key), path+"."+key
			what, isContainers := containers[key]
			switch {
			case isContainers && value.Kind == yaml.SequenceNode:
				o.containers(value, what, below, depth)
			case key == "image" && value.Kind == yaml.ScalarNode:
				if !isNull(value) && value.Value != "" && !strings.Contains(value.Value, "://") { // the address of a picture
					o.use(value, value.Value, o.name+", "+named(below, o.text(n, "name")))
				}
			default:
				if key == "volumes" && value.Kind == yaml.SequenceNode {
					o.imageVolumes(value)
				}
				o.walk(value, below, depth+1)
			}
		}
	}
}

func named(what, name string) string {
	if name == "" {
		return what
	}
	return what + " " + name
}

// containers takes a list of them. In a kind of somebody's own one without an image
// may change a container of another's choice, and asks for none.
func (o object) containers(list *yaml.Node, what, path string, depth int) {
	for _, c := range list.Content {
		if c = resolve(c); c.Kind != yaml.MappingNode {
			continue
		}
		at := o.name + ", " + named(what, o.text(c, "name"))
		image := o.field(c, "image")
		switch {
		case image != nil && image.Kind == yaml.ScalarNode && !isNull(image) && image.Value != "":
			o.use(image, image.Value, at)
		case o.builtin:
			o.fail(c, "%s has no image; give the objects as they are applied", at)
		default:
			o.walk(c, path, depth+1)
		}
	}
}

// imageVolumes are mounted from an image (KEP-4639).
func (o object) imageVolumes(list *yaml.Node) {
	for _, v := range list.Content {
		image := o.field(v, "image")
		if image == nil || image.Kind != yaml.MappingNode {
			continue
		}
		at := o.name + ", volume " + o.text(v, "name")
		reference := o.field(image, "reference")
		if reference == nil || reference.Kind != yaml.ScalarNode || reference.Value == "" {
			o.fail(image, "%s has no image.reference", at)
			continue
		}
		o.use(reference, reference.Value, at)
	}
}
