package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apigatewayv2"
	"github.com/aws/aws-sdk-go-v2/service/apigatewayv2/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// MiniStack makes an HTTP API from a template, but not the routes that its
// inline OpenAPI body holds: they are read from the processed template, so that
// the template stays the one place that says what they are.

type route struct {
	Key      string // "GET /runs/{id}"
	Function string // logical id
	IAM      bool
}

type processed struct {
	Resources map[string]struct {
		Type       string
		Properties struct {
			Body struct {
				Paths map[string]map[string]struct {
					Security    []map[string]any
					Integration struct {
						URI json.RawMessage
					} `json:"x-amazon-apigateway-integration"`
				}
			}
		}
	}
}

// anyMethod is how an OpenAPI body for API Gateway says ANY.
const anyMethod = "x-amazon-apigateway-any-method"

// defaultRoute is the route for all that no other is for: it has no method.
const defaultRoute = "$default"

// routeKey is a route as CreateRoute takes it.
func routeKey(method, path string) string {
	switch {
	case path == defaultRoute:
		return defaultRoute
	case method == anyMethod:
		return "ANY " + path
	}
	return strings.ToUpper(method) + " " + path
}

// functionOf finds the logical id in an integration's URI, whichever way it is written.
var functionOf = regexp.MustCompile(`functions/\$\{(\w+)\.Arn\}/invocations`)

// routes are those of the template's one HTTP API, and its logical id.
func routes(template []byte) (string, []route, error) {
	var t processed
	if err := json.Unmarshal(template, &t); err != nil {
		return "", nil, fmt.Errorf("processed template: %w", err)
	}
	for id, resource := range t.Resources {
		if resource.Type != "AWS::ApiGatewayV2::Api" {
			continue
		}
		var list []route
		for path, methods := range resource.Properties.Body.Paths {
			for method, m := range methods {
				found := functionOf.FindSubmatch(m.Integration.URI)
				if found == nil {
					return "", nil, fmt.Errorf("%s %s: no function in %s", method, path, m.Integration.URI)
				}
				iam := slices.ContainsFunc(m.Security, func(s map[string]any) bool { _, ok := s["AWS_IAM"]; return ok })
				list = append(list, route{routeKey(method, path), string(found[1]), iam})
			}
		}
		slices.SortFunc(list, func(a, b route) int { return cmp.Compare(a.Key, b.Key) })
		return id, list, nil
	}
	return "", nil, fmt.Errorf("processed template: no HTTP API in it")
}

func (s *Stack) createRoutes(ctx context.Context) error {
	name := stackName
	template, err := cloudformation.NewFromConfig(s.aws).GetTemplate(ctx, &cloudformation.GetTemplateInput{
		StackName: &name, TemplateStage: cfntypes.TemplateStageProcessed})
	if err != nil {
		return err
	}
	logical, list, err := routes([]byte(*template.TemplateBody))
	if err != nil {
		return err
	}
	client, api := apigatewayv2.NewFromConfig(s.aws), aws.String(s.State.Resources[logical])
	integrations := map[string]*string{}
	for _, r := range list {
		if integrations[r.Function] == nil {
			made, err := client.CreateIntegration(ctx, &apigatewayv2.CreateIntegrationInput{
				ApiId: api, IntegrationType: types.IntegrationTypeAwsProxy, PayloadFormatVersion: aws.String("2.0"),
				IntegrationUri: aws.String(fmt.Sprintf("arn:aws:lambda:%s:000000000000:function:%s", region, s.State.Resources[r.Function])),
			})
			if err != nil {
				return err
			}
			integrations[r.Function] = aws.String("integrations/" + *made.IntegrationId)
		}
		auth := types.AuthorizationTypeNone
		if r.IAM {
			auth = types.AuthorizationTypeAwsIam
		}
		if _, err := client.CreateRoute(ctx, &apigatewayv2.CreateRouteInput{
			ApiId: api, RouteKey: aws.String(r.Key), Target: integrations[r.Function], AuthorizationType: auth,
		}); err != nil {
			return fmt.Errorf("route %s: %w", r.Key, err)
		}
	}
	// The path form: *.localhost does not resolve everywhere.
	s.State.APIURL = s.State.Endpoint + "/_aws/execute-api/" + *api
	s.State.Outputs["ApiUrl"] = s.State.APIURL
	s.State.Outputs["WebhookUrl"] = s.State.APIURL + "/webhooks/cyberun"
	return nil
}
