"""Turns the SAM template into the plain CloudFormation that AWS would deploy.

Usage: transform.py TEMPLATE OUT [CODE]

CODE is where the functions' code is said to lie, as an S3 URL; by default a made-up one, which is
enough for linting. Works offline.
"""

import json
import os
import sys

import yaml

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

NO_CODE = "s3://no-bucket/no-key"


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, such as !Ref."""


def _short_form(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def load(path):
    """The template as written, with short forms spelled out."""
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, Loader=_Loader)


def transform(template, code=NO_CODE):
    """The CloudFormation of a SAM template, with every parameter at its default."""
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            name = os.path.basename(os.path.normpath(resource["Properties"]["CodeUri"]))
            resource["Properties"]["CodeUri"] = code.replace("{name}", name)
    parameters = {name: p["Default"] for name, p in template.get("Parameters", {}).items()}
    # No managed policies are to be looked up: the template names none, and a rule forbids them.
    translator = Translator({}, Parser())
    return translator.translate(template, parameter_values=parameters)


def main(source, target, code=NO_CODE):
    """Writes the transformed template as JSON."""
    with open(target, "w", encoding="utf-8") as file:
        json.dump(transform(load(source), code), file, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
