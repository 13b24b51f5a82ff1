package manifests

import (
	"fmt"

	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v3"
)

// compose takes a Docker Compose file (https://github.com/compose-spec/compose-spec).
// What it takes from other files cannot be seen here: `docker compose config` prints it
// as one.
func (f *finder) compose(n *yaml.Node) {
	if f.field(n, "include") != nil {
		f.fail(f.field(n, "include"), "include takes services from other files; give what `docker compose config` prints")
	}
	services := f.field(n, "services")
	if services.Kind != yaml.MappingNode {
		f.fail(services, "services must be a mapping of services by their names")
		return
	}
	for _, name := range f.mapping(services).keys {
		f.service(name, f.field(services, name))
	}
}

// service takes one service. One that is built and names no image asks for none that
// anybody has signed.
func (f *finder) service(name string, n *yaml.Node) {
	where := "service " + name
	if n.Kind != yaml.MappingNode {
		f.fail(n, "%s must be a mapping with the field image", where)
		return
	}
	if extends := f.field(n, "extends"); extends != nil {
		f.fail(extends, "%s extends another; give what `docker compose config` prints", where)
		return
	}
	image := f.field(n, "image")
	switch {
	case image == nil && f.field(n, "build") != nil:
		f.fail(n, "%s is built and names no image; give it the field image, or leave its file out", where)
	case image == nil && f.field(n, "provider") != nil: // a program of the host: no container
	case image == nil:
		f.uses = append(f.uses, Use{Line: n.Line, Where: printable(where), Service: name})
	case image.Kind != yaml.ScalarNode || image.Value == "":
		f.fail(n, "%s has no image", where)
	default:
		before := len(f.uses)
		f.interpolate(image, where)
		for i := range f.uses[before:] {
			f.uses[before+i].Service = name
		}
	}
	f.volumes(n, where)
}

// volumes of type image are mounted from an image.
func (f *finder) volumes(n *yaml.Node, where string) {
	list := f.field(n, "volumes")
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	for _, v := range list.Content {
		v = resolve(v)
		kind, err := f.substitute(f.text(v, "type"))
		switch {
		case err != nil:
			f.fail(v, "the type of a volume of %s: %s", where, err)
			continue
		case kind != "image":
			continue
		}
		if source := f.field(v, "source"); source != nil {
			f.interpolate(source, where+", volume "+f.text(v, "target"))
		} else {
			f.fail(v, "%s has a volume of type image without a source", where)
		}
	}
}

// interpolate takes an image with its variables replaced.
func (f *finder) interpolate(n *yaml.Node, where string) {
	value, err := f.substitute(n.Value)
	if err != nil {
		f.fail(n, "the image of %s: %s", where, err)
		return
	}
	f.use(n, value, where)
}

// substitute replaces the variables of a text, as Compose does. One that is not set is
// no empty text here: the image would be another. The name of the project is always set
// there, and where the environment has none it is of what is not seen here.
func (f *finder) substitute(text string) (string, error) {
	var missing string
	project := false
	value, err := template.SubstituteWithOptions(text, func(name string) (string, bool) {
		v, ok := f.env(name)
		if !ok && missing == "" {
			missing = name
		}
		project = project || name == consts.ComposeProjectName && v == ""
		return v, ok
	}, template.WithoutLogging)
	if project {
		return "", fmt.Errorf("the variable %s is not set, and Compose sets it from the name of the project or its folder; set it in the environment", consts.ComposeProjectName)
	}
	// A variable with a default is asked for too, and may be missing.
	if err == nil && missing != "" {
		err = f.unset(text)
	}
	return value, err
}

// unset finds a variable that is neither set nor has a default.
func (f *finder) unset(image string) error {
	for name, v := range template.ExtractVariables(map[string]any{"image": image}, template.DefaultPattern) {
		if _, ok := f.env(name); !ok && v.DefaultValue == "" && v.PresenceValue == "" {
			return fmt.Errorf("the variable %s is not set; set it in the environment", name)
		}
	}
	return nil
}
