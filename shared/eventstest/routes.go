package eventstest

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const template = "../../../template.yaml"

// Routes returns the routes of the template's HTTP API: for the key of each, as an
// event has it, such as "GET /runs/{id}", the logical id of its function.
func Routes(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(template)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Resources map[string]struct {
			Properties struct {
				Events map[string]struct {
					Type       string `yaml:"Type"`
					Properties struct {
						Method string `yaml:"Method"`
						Path   string `yaml:"Path"`
					} `yaml:"Properties"`
				} `yaml:"Events"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(raw, &document); err != nil {
		t.Fatal(err)
	}
	routes := map[string]string{}
	for function, resource := range document.Resources {
		for _, event := range resource.Properties.Events {
			if event.Type != "HttpApi" {
				continue
			}
			key := event.Properties.Path
			if key != "$default" {
				key = strings.ToUpper(event.Properties.Method) + " " + key
			}
			if routes[key] != "" {
				t.Errorf("the template has %s twice", key)
			}
			routes[key] = function
		}
	}
	return routes
}
