"""Checks objects against the schemas of the Kubernetes API, as strictly as they can be read.

Standard input: one JSON document a line, {"version": "1.36", "object": {...}}.
Standard output: one line for each object that is wrong.
"""

import json
import sys

import kubernetes_validate

for line in sys.stdin:
    case = json.loads(line)
    version, obj = case["version"], case["object"]
    try:
        kubernetes_validate.validate(obj, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        place = ".".join(str(step) for step in error.path)
        print(f"{obj['kind']} {obj['metadata']['name']} ({version}) {place}: {error.message}")
