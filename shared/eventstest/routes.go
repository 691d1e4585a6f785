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
			Type       string    `yaml:"Type"`
			Properties yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(raw, &document); err != nil {
		t.Fatal(err)
	}
	routes := map[string]string{}
	for function, resource := range document.Resources {
		if resource.Type != "AWS::Serverless::Function" {
			continue
		}
		var properties struct {
			Events map[string]struct {
				Type       string    `yaml:"Type"`
				Properties yaml.Node `yaml:"Properties"`
			} `yaml:"Events"`
		}
		if err := resource.Properties.Decode(&properties); err != nil {
			t.Fatal(err)
		}
		for name, event := range properties.Events {
			if event.Type != "HttpApi" {
				continue
			}
			var route struct {
				Method string `yaml:"Method"`
				Path   string `yaml:"Path"`
			}
			if err := event.Properties.Decode(&route); err != nil {
				t.Fatalf("%s.%s: %v", function, name, err)
			}
			key := strings.ToUpper(route.Method) + " " + route.Path
			if route.Path == "$default" {
				key = route.Path
			}
			if routes[key] != "" {
				t.Errorf("the template has %s twice", key)
			}
			routes[key] = function
		}
	}
	return routes
}
