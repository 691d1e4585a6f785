package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// account is MiniStack's.
const account = "000000000000"

// resolver gives the values of a template's intrinsic functions. With symbols it
// leaves the names of resources in them, as a reader of the template knows them:
// ${StateBucket} for the bucket's name.
type resolver struct {
	*stack
	symbols bool
}

// noValue is what AWS::NoValue resolves to: its place in a list or an object is left out.
type noValue struct{}

// value resolves a node of the template. What it does not know is an error: a
// policy that is read wrongly would be checked wrongly.
func (r resolver) value(node any) (any, error) {
	switch node := node.(type) {
	case []any:
		list := []any{}
		for _, item := range node {
			v, err := r.value(item)
			if err != nil {
				return nil, err
			}
			if v != (noValue{}) {
				list = append(list, v)
			}
		}
		return list, nil
	case map[string]any:
		if len(node) == 1 {
			for name, argument := range node {
				if name == "Ref" || strings.HasPrefix(name, "Fn::") {
					return r.function(name, argument)
				}
			}
		}
		object := map[string]any{}
		for key, item := range node {
			v, err := r.value(item)
			if err != nil {
				return nil, err
			}
			if v != (noValue{}) {
				object[key] = v
			}
		}
		return object, nil
	}
	return node, nil
}

func (r resolver) function(name string, argument any) (any, error) {
	switch name {
	case "Ref":
		return r.ref(fmt.Sprint(argument))
	case "Fn::GetAtt":
		return r.attribute(argument)
	case "Fn::Sub":
		return r.sub(argument)
	case "Fn::If":
		list, ok := argument.([]any)
		if !ok || len(list) != 3 {
			return nil, fmt.Errorf("an Fn::If of %v", argument)
		}
		holds, err := r.condition(list[0])
		if err != nil {
			return nil, err
		}
		if holds {
			return r.value(list[1])
		}
		return r.value(list[2])
	case "Fn::Join":
		separator, parts, err := r.stringAndList(argument)
		return strings.Join(parts, separator), err
	case "Fn::Split":
		list, ok := argument.([]any)
		if !ok || len(list) != 2 {
			return nil, fmt.Errorf("an Fn::Split of %v", argument)
		}
		text, err := r.text(list[1])
		parts := []any{}
		for part := range strings.SplitSeq(text, fmt.Sprint(list[0])) {
			parts = append(parts, part)
		}
		return parts, err
	}
	return nil, fmt.Errorf("%s is not known: teach local/iam", name)
}

func (r resolver) text(node any) (string, error) {
	v, err := r.value(node)
	if err != nil {
		return "", err
	}
	text, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%v is no text", v)
	}
	return text, nil
}

func (r resolver) stringAndList(argument any) (string, []string, error) {
	list, ok := argument.([]any)
	if !ok || len(list) != 2 {
		return "", nil, fmt.Errorf("an Fn::Join of %v", argument)
	}
	v, err := r.value(list[1])
	if err != nil {
		return "", nil, err
	}
	var parts []string
	switch v := v.(type) {
	case string: // a CommaDelimitedList
		parts = strings.Split(v, ",")
	case []any:
		for _, part := range v {
			parts = append(parts, fmt.Sprint(part))
		}
	}
	return fmt.Sprint(list[0]), parts, nil
}

func (r resolver) ref(name string) (any, error) {
	switch name {
	case "AWS::NoValue":
		return noValue{}, nil
	case "AWS::Partition":
		return "aws", nil
	case "AWS::URLSuffix":
		return "amazonaws.com", nil
	case "AWS::Region":
		return r.Region, nil
	case "AWS::AccountId":
		return account, nil
	case "AWS::StackName":
		return r.StackName, nil
	}
	if value, found := r.Parameters[name]; found {
		return value, nil
	}
	if _, found := r.Template.Resources[name]; !found {
		return nil, fmt.Errorf("a Ref to %s, which the template has not", name)
	}
	if r.symbols {
		return "${" + name + "}", nil
	}
	physical, found := r.Resources[name]
	if !found {
		return nil, fmt.Errorf("a Ref to %s, which is not deployed", name)
	}
	return physical, nil
}

func (r resolver) attribute(argument any) (any, error) {
	var name, attribute string
	switch argument := argument.(type) {
	case string:
		name, attribute, _ = strings.Cut(argument, ".")
	case []any:
		if len(argument) == 2 {
			name, attribute = fmt.Sprint(argument[0]), fmt.Sprint(argument[1])
		}
	}
	v, err := r.ref(name)
	if err != nil {
		return nil, err
	}
	id := fmt.Sprint(v)
	if r.symbols {
		if r.Template.Resources[name].Type == "AWS::S3::Bucket" && attribute == "Arn" {
			return "arn:aws:s3:::" + id, nil
		}
		return id, nil
	}
	switch r.Template.Resources[name].Type + " " + attribute {
	case "AWS::S3::Bucket Arn":
		return "arn:aws:s3:::" + id, nil
	case "AWS::SecretsManager::Secret Id":
		// AWS's physical id is the ARN; MiniStack's is the name, to which an ARN adds
		// six characters.
		return "arn:aws:secretsmanager:" + r.Region + ":" + account + ":secret:" + id + "-??????", nil
	case "AWS::StepFunctions::StateMachine Arn":
		return id, nil
	case "AWS::Lambda::Function Arn":
		return "arn:aws:lambda:" + r.Region + ":" + account + ":function:" + id, nil
	case "AWS::SQS::Queue Arn":
		return "arn:aws:sqs:" + r.Region + ":" + account + ":" + id[strings.LastIndex(id, "/")+1:], nil
	}
	return nil, fmt.Errorf("%s.%s is not known: teach local/iam", name, attribute)
}

var variable = regexp.MustCompile(`\$\{([^}]+)\}`)

func (r resolver) sub(argument any) (any, error) {
	text, own := "", map[string]any{}
	switch argument := argument.(type) {
	case string:
		text = argument
	case []any:
		if len(argument) != 2 {
			return nil, fmt.Errorf("an Fn::Sub of %v", argument)
		}
		text = fmt.Sprint(argument[0])
		own, _ = argument[1].(map[string]any)
	}
	var failed error
	out := variable.ReplaceAllStringFunc(text, func(match string) string {
		name := match[2 : len(match)-1]
		var v any
		var err error
		switch given, found := own[name]; {
		case found:
			v, err = r.value(given)
		case strings.Contains(name, "."):
			v, err = r.attribute(name)
		default:
			v, err = r.ref(name)
		}
		if err != nil {
			failed = err
		}
		return fmt.Sprint(v)
	})
	return out, failed
}

// condition tells whether a condition holds, named or written out.
func (r resolver) condition(node any) (bool, error) {
	if name, ok := node.(string); ok {
		named, found := r.Template.Conditions[name]
		if !found {
			return false, fmt.Errorf("no condition %s", name)
		}
		return r.condition(named)
	}
	object, ok := node.(map[string]any)
	if !ok || len(object) != 1 {
		return false, fmt.Errorf("%v is no condition", node)
	}
	for name, argument := range object {
		if name == "Condition" {
			return r.condition(argument)
		}
		list, ok := argument.([]any)
		if !ok {
			return false, fmt.Errorf("%s of %v", name, argument)
		}
		switch name {
		case "Fn::Equals":
			a, err := r.value(list[0])
			if err != nil {
				return false, err
			}
			b, err := r.value(list[1])
			return fmt.Sprint(a) == fmt.Sprint(b), err
		case "Fn::Not", "Fn::And", "Fn::Or":
			var held []bool
			for _, item := range list {
				holds, err := r.condition(item)
				if err != nil {
					return false, err
				}
				held = append(held, holds)
			}
			switch name {
			case "Fn::Not":
				return !held[0], nil
			case "Fn::And":
				return !slices.Contains(held, false), nil
			}
			return slices.Contains(held, true), nil
		}
	}
	return false, fmt.Errorf("the condition %v is not known: teach local/iam", node)
}
