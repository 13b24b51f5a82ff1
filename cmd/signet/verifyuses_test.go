package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// composed writes a file for a test, and names it.
func composed(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantUses says what files ask for: one image, or the error that holds want.
func wantUses(t *testing.T, files []string, image, want string) {
	t.Helper()
	u, err := readUses(nil, files)
	switch {
	case want != "":
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v and the error %v, want one with %q", files, u.images, err, want)
		}
	case err != nil || len(u.images) == 0 || u.images[0] != image:
		t.Errorf("%q: got %v and the error %v, want %s", files, u.images, err, image)
	}
}

// Compose puts any override over any file that it takes by itself, and the first alone.
func TestOverridesOfComposeFiles(t *testing.T) {
	const compose = "services: {a: {image: r/a}}\n"
	for _, name := range composeFiles {
		for _, over := range composeOverrides {
			dir := t.TempDir()
			file, override := composed(t, filepath.Join(dir, name), compose), composed(t, filepath.Join(dir, over), compose)
			wantUses(t, []string{file}, "", over+" changes it; give it too")
			wantUses(t, []string{file, override}, "r/a", "")
			wantUses(t, []string{override, file}, "r/a", "")
			wantUses(t, []string{dir}, "r/a", "")
			wantUses(t, []string{composed(t, filepath.Join(dir, "other.yaml"), compose)}, "r/a", "")
		}
	}

	dir := t.TempDir()
	t.Chdir(dir)
	composed(t, "compose.yaml", compose)
	composed(t, "compose.override.yml", compose)
	composed(t, "docker-compose.override.yaml", compose)
	wantUses(t, []string{"compose.yaml", "docker-compose.override.yaml"}, "", "compose.override.yml changes it")
	wantUses(t, []string{"./compose.yaml", filepath.Join(dir, "compose.override.yml")}, "r/a", "")
}

// Files that are given together are one project: a service takes its image from any of
// them, and variables are those of the first one's folder, or nobody knows which.
func TestFilesOfOneProject(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("prod", 0o700); err != nil {
		t.Fatal(err)
	}
	base := composed(t, "compose.yaml", "services: {a: {image: r/a}, b: {image: 'r/b:${SIGNET_TEST_TAG:-v1}'}}\n")
	ports := composed(t, "prod/ports.yaml", "services: {a: {ports: ['80']}}\n")
	wantUses(t, []string{base, ports}, "r/a", "")
	wantUses(t, []string{ports, base}, "r/a", "")
	wantUses(t, []string{ports}, "", "prod/ports.yaml:1, service a has no image, and no other file that was given has one for it")
	wantUses(t, []string{ports, composed(t, "pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: r/a}]}\n")}, "", "has no image")

	tagged := composed(t, "prod/tagged.yaml", "services: {c: {image: 'r/c:${SIGNET_TEST_TAG:-v1}'}}\n")
	composed(t, "prod/.env", "SIGNET_TEST_TAG=v2\n")
	wantUses(t, []string{tagged}, "r/c:v2", "")
	for _, files := range [][]string{{base, tagged}, {tagged, base}} {
		wantUses(t, files, "", "the variable SIGNET_TEST_TAG is another one in")
	}
	wantUses(t, []string{"prod/tagged.yaml", "."}, "r/c:v2", "") // a folder may hold other projects
	composed(t, ".env", "SIGNET_TEST_TAG=v2\n")
	wantUses(t, []string{tagged, base}, "r/c:v2", "")
}

// What is piped in has the variables of the working directory, as with Compose.
func TestVariablesOfWhatIsPipedIn(t *testing.T) {
	t.Chdir(t.TempDir())
	composed(t, ".env", "SIGNET_TEST_TAG=v2\n")
	piped, err := os.Open(composed(t, "piped", "services: {a: {image: 'r/a:${SIGNET_TEST_TAG:-v1}'}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer piped.Close()
	stdin := os.Stdin
	os.Stdin = piped
	defer func() { os.Stdin = stdin }()
	wantUses(t, []string{"-"}, "r/a:v2", "")
}

// Variables say which file .env is read, and whether.
func TestWhichVariablesAreRead(t *testing.T) {
	const tagged = "services: {a: {image: 'r/a:${SIGNET_TEST_TAG:-v1}'}}\n"
	for _, c := range []struct{ name, dotEnv, variable, value, file, image, want string }{
		{"no variable", "SIGNET_TEST_TAG=v2\n", "", "", tagged, "r/a:v2", ""},
		{"no file, no variable", "", "", "", tagged, "r/a:v1", ""},
		{"disabled", "SIGNET_TEST_TAG=v2\n", "COMPOSE_DISABLE_ENV_FILE", "1", tagged, "r/a:v1", ""},
		{"not disabled", "SIGNET_TEST_TAG=v2\n", "COMPOSE_DISABLE_ENV_FILE", "false", tagged, "r/a:v2", ""},
		{"disabled in words", "SIGNET_TEST_TAG=v2\n", "COMPOSE_DISABLE_ENV_FILE", "yes", tagged, "", "COMPOSE_DISABLE_ENV_FILE must be true or false"},
		{"disabled by itself", "SIGNET_TEST_TAG=v2\nCOMPOSE_DISABLE_ENV_FILE=true\n", "", "", tagged, "", ".env sets COMPOSE_DISABLE_ENV_FILE"},
		{"disabled by itself, and not by the environment", "SIGNET_TEST_TAG=v2\nCOMPOSE_DISABLE_ENV_FILE=true\n", "COMPOSE_DISABLE_ENV_FILE", "0", tagged, "r/a:v2", ""},
		{"other files", "SIGNET_TEST_TAG=v2\n", "COMPOSE_ENV_FILES", "prod.env", tagged, "", "COMPOSE_ENV_FILES names other files than .env"},
		{"no other files", "SIGNET_TEST_TAG=v2\n", "COMPOSE_ENV_FILES", "", tagged, "r/a:v2", ""},
		{"other files, and nothing to replace", "", "COMPOSE_ENV_FILES", "prod.env", "services: {a: {image: r/a}}\n", "r/a", ""},
		{"the variable itself", "SIGNET_TEST_TAG=v2\n", "SIGNET_TEST_TAG", "v3", tagged, "r/a:v3", ""},
		{"a file that is none", "a b c\n", "", "", tagged, "", ".env cannot be read as Compose does"},
		{"the name of the project", "", "", "", "services: {a: {image: 'r/${COMPOSE_PROJECT_NAME-a}'}}\n", "", "COMPOSE_PROJECT_NAME is not set"},
		{"the name of the project, empty", "", "COMPOSE_PROJECT_NAME", "", "services: {a: {image: 'r/a${COMPOSE_PROJECT_NAME}'}}\n", "", "COMPOSE_PROJECT_NAME is not set"},
		{"the name of the project in the environment", "", "COMPOSE_PROJECT_NAME", "b", "services: {a: {image: 'r/${COMPOSE_PROJECT_NAME-a}'}}\n", "r/b", ""},
		{"the name of the project in .env", "COMPOSE_PROJECT_NAME=c\n", "", "", "services: {a: {image: 'r/${COMPOSE_PROJECT_NAME-a}'}}\n", "r/c", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.dotEnv != "" {
				composed(t, filepath.Join(dir, ".env"), c.dotEnv)
			}
			if c.variable != "" {
				t.Setenv(c.variable, c.value)
			}
			wantUses(t, []string{composed(t, filepath.Join(dir, "compose.yaml"), c.file)}, c.image, c.want)
		})
	}
}

// What a file calls an image begins no line of an error.
func TestImagesThatForgeLines(t *testing.T) {
	file := composed(t, filepath.Join(t.TempDir(), "pod.yaml"), "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: \"UP\\n::x\\r::y\"}]}\n")
	u, err := readUses(nil, []string{file})
	if err != nil {
		t.Fatal(err)
	}
	err = u.check(registrySource{})
	if err == nil || strings.ContainsAny(err.Error(), "\n\r") || !strings.Contains(err.Error(), `UP\u000a::x\u000d::y: invalid reference`) {
		t.Errorf("got %v, want one line", err)
	}
}
