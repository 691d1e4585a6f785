package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// right is one action on one resource that a policy allows or denies a function.
type right struct {
	function string // its logical id
	deny     bool
	action   string
	resource string // a pattern of ARNs
	shown    string // the same, with the template's names in it
	by       string // not empty: AWS itself uses it, never the function's code
}

// usedByAWS are rights of a function's role that are no calls of its code: no
// recording can hold them.
var usedByAWS = map[string]string{
	"sqs:SendMessage":     "Lambda, when it gives up on an event",
	"kms:Decrypt":         "S3 and Secrets Manager, for the function",
	"kms:GenerateDataKey": "S3, for the function",
	"logs:CreateLogGroup": "Lambda, for what the function logs",
}

// rights are all that a stack's functions have.
func (s *stack) rights() ([]right, error) {
	var all []right
	for id, function := range s.Template.Resources {
		if function.Type != "AWS::Lambda::Function" {
			continue
		}
		role, err := s.roleOf(function)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		documents, err := s.documents(role)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		for _, document := range documents {
			list, err := s.statements(id, document)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", id, err)
			}
			all = append(all, list...)
		}
	}
	return all, nil
}

// roleOf finds the role that a function names by Fn::GetAtt.
func (s *stack) roleOf(function resource) (resource, error) {
	reference, _ := function.Properties["Role"].(map[string]any)
	attribute, _ := reference["Fn::GetAtt"].([]any)
	if len(attribute) != 2 {
		return resource{}, fmt.Errorf("its role is %v, not one of the template's", function.Properties["Role"])
	}
	role, found := s.Template.Resources[fmt.Sprint(attribute[0])]
	if !found || role.Type != "AWS::IAM::Role" {
		return resource{}, fmt.Errorf("its role %v is not in the template", attribute[0])
	}
	return role, nil
}

// documents are a role's own policies and the template's managed ones that it has,
// as they are written. AWS's own, of which SAM gives the one for logs, are no
// business of the template.
func (s *stack) documents(role resource) ([]any, error) {
	var documents []any
	policies, err := listed(role.Properties["Policies"])
	if err != nil {
		return nil, err
	}
	for _, policy := range policies {
		if object, ok := policy.(map[string]any); ok {
			documents = append(documents, object["PolicyDocument"])
		}
	}
	managed, err := listed(role.Properties["ManagedPolicyArns"])
	if err != nil {
		return nil, err
	}
	for _, node := range managed {
		v, err := resolver{s, true}.value(node)
		if err != nil {
			return nil, err
		}
		name, own := strings.CutPrefix(fmt.Sprint(v), "${")
		if own {
			documents = append(documents, s.Template.Resources[strings.TrimSuffix(name, "}")].Properties["PolicyDocument"])
		}
	}
	return documents, nil
}

func listed(node any) ([]any, error) {
	if node == nil {
		return nil, nil
	}
	list, ok := node.([]any)
	if !ok {
		return nil, fmt.Errorf("%v is no list", node)
	}
	return list, nil
}

// statements splits a policy into one right for each action on each resource.
func (s *stack) statements(function string, document any) ([]right, error) {
	resolved, err := resolver{s, false}.value(document)
	if err != nil {
		return nil, err
	}
	named, err := resolver{s, true}.value(document)
	if err != nil {
		return nil, err
	}
	statements, shown := entries(resolved, "Statement"), entries(named, "Statement")
	var all []right
	for i, statement := range statements {
		object, ok := statement.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("the statement %v", statement)
		}
		for key := range object {
			if !slices.Contains([]string{"Sid", "Effect", "Action", "Resource", "Condition"}, key) {
				return nil, fmt.Errorf("%s in a statement is not known: teach local/iam", key)
			}
		}
		deny := object["Effect"] == "Deny"
		if deny {
			always, err := s.applies(object["Condition"])
			if err != nil {
				return nil, err
			}
			if !always {
				continue // it denies other resources than the stack's
			}
		}
		names := entries(shown[i], "Resource")
		for _, action := range entries(object, "Action") {
			for n, pattern := range entries(object, "Resource") {
				r := right{function: function, deny: deny, action: fmt.Sprint(action), resource: fmt.Sprint(pattern), shown: fmt.Sprint(names[n])}
				r.by = usedByAWS[r.action]
				if object["Condition"] != nil && !deny && r.by == "" {
					return nil, fmt.Errorf("the condition of %s on %s is not known: teach local/iam", r.action, r.shown)
				}
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// applies tells whether a Deny's condition is true for the stack's own resources.
func (s *stack) applies(condition any) (bool, error) {
	if condition == nil {
		return true, nil
	}
	operators, _ := condition.(map[string]any)
	keys, _ := operators["StringNotEquals"].(map[string]any)
	owner, found := keys["aws:ResourceAccount"]
	if len(operators) != 1 || len(keys) != 1 || !found {
		return false, fmt.Errorf("the condition %v of a Deny is not known: teach local/iam", condition)
	}
	return owner != account, nil
}

// entries is a field that may hold one value or a list of them.
func entries(node any, field string) []any {
	object, ok := node.(map[string]any)
	if !ok {
		return nil
	}
	switch v := object[field].(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

// covers tells whether the right is about an action on a resource. Actions know no
// case; * stands for any characters, ? for one.
func (r right) covers(n need) bool {
	return matches(strings.ToLower(r.action), strings.ToLower(n.action)) && matches(r.resource, n.resource)
}

func matches(pattern, text string) bool {
	quoted := regexp.QuoteMeta(pattern)
	quoted = strings.ReplaceAll(strings.ReplaceAll(quoted, `\*`, `.*`), `\?`, `.`)
	return regexp.MustCompile(`(?s)^` + quoted + `$`).MatchString(text)
}
