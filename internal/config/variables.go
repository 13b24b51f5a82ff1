package config

import "reflect"

// Variables are the names of the environment variables that stand in for fields of the
// file: those of their tags.
func Variables() []string { return variablesOf(reflect.TypeFor[File]()) }

func variablesOf(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if name := f.Tag.Get("env"); name != "" {
			names = append(names, name)
		}
		of := f.Type
		if of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if of.Kind() == reflect.Struct && of.PkgPath() == t.PkgPath() {
			names = append(names, variablesOf(of)...)
		}
	}
	return names
}
