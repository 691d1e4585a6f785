"""Expands template.yaml as CloudFormation would, once for each set of parameters.

usage: expand.py TEMPLATE FOLDER

AWS's own SAM translator makes plain CloudFormation of the template, and the
conditions are then decided by the set's values, so that FOLDER/SET.json holds
exactly the resources and properties that a deploy with these values has. What a
linter finds in them is what CloudFormation would only say at that deploy.
"""

import json
import logging
import pathlib
import sys

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

KEY = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"

# Each value of a parameter that a condition asks about stands in one set or
# another, and so does each pair that meets in one resource.
SETS = {
    "defaults": {},
    "own-buckets-and-key": {
        "KmsKeyArn": KEY,
        "ExtraInputBucketArns": "arn:aws:s3:::pictures-of-ours,arn:aws:s3:::films.of.ours",
        "OutputBucketName": "results-of-ours",
        "AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:alarms",
    },
    "webhooks": {"WebhooksEnabled": "true", "InDoubt": "stop", "HoldSeconds": 0, "LogRetentionDays": 1},
    "hosts": {
        "DownloadHosts": "files.example.com,*.s3.amazonaws.com:443",
        "Architecture": "x86_64",
        "CyberunBaseUrl": "https://cyberun.example.com/api/v1",
        "HoldSeconds": 300,
    },
    "key-alone": {"KmsKeyArn": KEY, "WebhooksEnabled": "true"},
    "one-extra-bucket": {"ExtraInputBucketArns": "arn:aws:s3:::pictures-of-ours", "LogRetentionDays": 3653},
}

PSEUDO = {
    "AWS::Region": "eu-central-1",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::AccountId": "123456789012",
    "AWS::StackName": "cyberun-relay",
}

NO_VALUE = {"Ref": "AWS::NoValue"}


class Managed:
    """Stands in for the translator's look-up of managed policies by name, which needs an account."""

    def load(self):
        return {}  # the template names none


class Conditions:
    """Decides a template's conditions by the values of its parameters."""

    def __init__(self, template, values):
        self.named, self.values = template.get("Conditions", {}), values

    def value(self, node):
        """The value of an expression within a condition."""
        if not isinstance(node, dict):
            return node
        ((function, argument),) = node.items()
        if function == "Ref":
            return self.values[argument]
        if function == "Fn::Join":
            items = self.value(argument[1])
            return argument[0].join(items if isinstance(items, list) else items.split(","))
        raise SystemExit(f"expand.py knows no {function} in a condition: teach it")

    def holds(self, node):
        """Whether a condition, or the name of one, is true."""
        if isinstance(node, str):
            return self.holds(self.named[node])
        ((function, argument),) = node.items()
        if function == "Condition":
            return self.holds(argument)
        if function == "Fn::Equals":
            return self.value(argument[0]) == self.value(argument[1])
        if function == "Fn::Not":
            return not self.holds(argument[0])
        if function in ("Fn::And", "Fn::Or"):
            return (all if function == "Fn::And" else any)(self.holds(item) for item in argument)
        raise SystemExit(f"expand.py knows no condition {function}: teach it")

    def decide(self, node):
        """The node with every Fn::If decided, and without what has no value."""
        if isinstance(node, dict):
            if list(node) == ["Fn::If"]:
                name, then, otherwise = node["Fn::If"]
                return self.decide(then if self.holds(name) else otherwise)
            return {key: item for key, item in ((k, self.decide(v)) for k, v in node.items()) if item != NO_VALUE}
        if isinstance(node, list):
            return [item for item in map(self.decide, node) if item != NO_VALUE]
        return node

    def kept(self, section):
        """The members of a section whose condition is true, decided."""
        members = {}
        for name, member in section.items():
            member = dict(member)
            condition = member.pop("Condition", None)
            if condition is None or self.holds(condition):
                members[name] = self.decide(member)
        return members


def expand(text, given):
    """The template as a deploy with the given values has it."""
    template = yaml_parse(text)
    unknown = given.keys() - template["Parameters"].keys()
    if unknown:
        raise SystemExit(f"template.yaml has no parameter {', '.join(sorted(unknown))}")
    for name, value in given.items():
        template["Parameters"][name]["Default"] = value
    values = PSEUDO | {name: str(p.get("Default", "")) for name, p in template["Parameters"].items()}
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            properties["CodeUri"] = "s3://artifacts/function"
        if resource["Type"] == "AWS::Serverless::StateMachine":
            properties["DefinitionUri"] = "s3://artifacts/machine"
    expanded = json.loads(json.dumps(transform(template, values, Managed())))
    conditions = Conditions(expanded, values)
    for section in ("Resources", "Outputs"):
        expanded[section] = conditions.kept(expanded.get(section, {}))
    expanded.pop("Conditions", None)
    return expanded


def main(template, folder):
    logging.getLogger("samtranslator").setLevel(logging.ERROR)  # it warns of metrics that nobody collects
    text, folder = pathlib.Path(template).read_text(), pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for name, given in SETS.items():
        expanded = expand(text, given)
        (folder / f"{name}.json").write_text(json.dumps(expanded, indent=1, sort_keys=True) + "\n")
        print(f"{name:22} {len(expanded['Resources'])} resources: {' '.join(f'{k}={v}' for k, v in given.items()) or 'no parameter given'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
