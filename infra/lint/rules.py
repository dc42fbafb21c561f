"""Rules of this project that a general linter cannot know. Each reads the plain CloudFormation.

Usage: rules.py TRANSFORMED_TEMPLATE REPOSITORY

A rule is a function from the stack and what the Rust code says to findings: pairs of a resource's
name and what is wrong with it. test_rules.py sees each of them fail on a planted mistake.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

# Which of the structs in config.rs each function reads its environment into. A function's own crate
# may name no other.
READS = {
    "WebhookFunction": {"Store", "Access", "Lines", "Callers"},
    "DispatcherFunction": {"Store", "Access", "Lines", "Telling"},
    "ReconcilerFunction": {"Store", "Access", "Lines", "Telling"},
    "BackfillFunction": {"Store", "Access"},
    "ConsoleFunction": {"Store", "Lines", "Operators"},
    "AnnouncerFunction": {"Listeners"},
}
# What each function answers over HTTP, and nothing else is.
ROUTES = {
    "WebhookFunction": {"POST /vapi"},
    "ConsoleFunction": {
        "GET /status",
        "PATCH /lines",
        "PUT /reserves/{agent+}",
        "DELETE /reserves/{agent+}",
        "PUT /quotas/{name+}",
        "DELETE /quotas/{name+}",
        "GET /changes",
        "GET /why/{id+}",
        "GET /campaigns",
        "POST /campaigns",
        "GET /campaigns/{id+}",
        "PATCH /campaigns/{id+}",
        "POST /campaigns/{id+}",
        "GET /do-not-call",
        "POST /do-not-call",
        "POST /do-not-call/{part}",
    },
}
SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD")
# X-Ray has no resources that could be named.
TRACING = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
# The namespace of what the functions say of themselves, and what tells two stacks apart in it.
METRICS = ("Headroom", [{"Name": "Stack", "Value": {"Ref": "AWS::StackName"}}])


class Stack:
    """A CloudFormation template, with the few questions that the rules ask of it."""

    def __init__(self, template):
        self.resources = template["Resources"]
        self.defaults = {n: p.get("Default") for n, p in template.get("Parameters", {}).items()}

    def of(self, kind):
        """The properties of every resource of one type, by name."""
        return {n: r.get("Properties", {}) for n, r in self.resources.items() if r["Type"] == kind}

    def functions(self):
        return self.of("AWS::Lambda::Function")

    def target(self, value):
        """The resource that a Ref or a GetAtt speaks of, or None."""
        if not isinstance(value, dict):
            return None
        if "Fn::If" in value:
            # As where the condition holds: what is needed then must be there.
            return self.target(value["Fn::If"][1])
        name = value.get("Ref") or (value.get("Fn::GetAtt") or [None])[0]
        return name if name in self.resources else None

    def value(self, value):
        """A value with parameters at their defaults, conditions met; what only AWS knows stays as ${...}."""
        if isinstance(value, dict) and "Fn::If" in value:
            return self.value(value["Fn::If"][1])
        if isinstance(value, dict) and "Ref" in value:
            name = value["Ref"]
            return self.defaults[name] if name in self.defaults else "${%s}" % name
        if isinstance(value, dict) and "Fn::GetAtt" in value:
            return "${%s}" % ".".join(value["Fn::GetAtt"])
        if isinstance(value, dict) and isinstance(value.get("Fn::Sub"), str):
            return re.sub(r"\$\{([^}]+)\}", lambda m: str(self.defaults.get(m[1], m[0])), value["Fn::Sub"])
        return value

    def statements(self, role):
        """The statements of a role's policies, those under a condition too."""
        for policy in self.resources[role]["Properties"].get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield from statement["Fn::If"][1:2] if "Fn::If" in statement else [statement]

    def grants(self, function):
        """Every (action, resource) that a function's role allows."""
        role = self.target(self.functions()[function].get("Role"))
        for statement in self.statements(role) if role else []:
            for action in listed(statement.get("Action", [])):
                for resource in listed(statement.get("Resource", [])):
                    yield action, self.value(resource)

    def allows(self, function):
        """What of a handler's own calls a role allows, as infra/calls.txt spells it."""
        role = self.target(self.functions()[function].get("Role"))
        for statement in self.statements(role) if role else []:
            keys = statement.get("Condition", {}).get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", [])
            for action in listed(statement.get("Action", [])):
                if action.startswith("dynamodb:") or action == "sqs:SendMessage":
                    for resource in listed(statement.get("Resource", [])):
                        name = re.sub(r"\$\{(\w+)\.Arn\}", r"\1", str(self.value(resource)))
                        yield from (" ".join([action, name, key]) for key in keys) if keys else [f"{action} {name}"]

    def environment(self, function):
        return self.functions()[function].get("Environment", {}).get("Variables", {})

    def sources(self):
        """Every queue that runs a function: (mapping's name, its properties, queue, function)."""
        for name, mapping in self.of("AWS::Lambda::EventSourceMapping").items():
            queue = self.target(mapping.get("EventSourceArn"))
            yield name, mapping, queue, self.target(mapping.get("FunctionName"))


@dataclass
class Code:
    """What the Rust code says that the template must agree with."""

    variables: dict = field(default_factory=dict)
    reads: dict = field(default_factory=dict)
    operations: set = field(default_factory=set)
    table: dict = field(default_factory=dict)
    metrics: set = field(default_factory=set)
    runbook: set = field(default_factory=set)
    calls: dict = field(default_factory=dict)

    @classmethod
    def read(cls, repository):
        functions = Path(repository, "functions")

        def text(*parts):
            return "\n".join(f.read_text("utf-8") for f in sorted(functions.joinpath(*parts).rglob("*.rs")))

        crates = {name: text(name.removesuffix("Function").lower(), "src") for name in READS}
        config = functions.joinpath("headroom", "src", "config.rs")
        every = "\n".join([text("headroom", "src", "flows"), *crates.values()])
        return cls.parse(
            config.read_text("utf-8") if config.exists() else "",
            text("headroom", "src", "table"),
            crates,
            every,
            Path(repository, "infra", "RUNBOOK.md").read_text("utf-8"),
            Path(repository, "infra", "calls.txt").read_text("utf-8"),
        )

    @classmethod
    def parse(cls, config, table, crates, every, runbook, recorded):
        constants = dict(re.findall(r'const (\w+): &str = "(HEADROOM_\w+)"', config))
        # What each struct's `from_env` reads.
        variables = {
            struct: {variable for constant, variable in constants.items() if re.search(rf"\b{constant}\b", body)}
            for struct, body in re.findall(r"^impl (\w+) \{\n(.*?)^\}", config, re.DOTALL | re.MULTILINE)
            if "fn from_env" in body
        }
        reads = {name: set(re.findall(r"\b(\w+)::from_env\(", source)) for name, source in crates.items()}
        calls = set(re.findall(r"\.((?:batch_)?(?:get|put|update|delete|write)_items?|query|scan|transact_\w+)\(\)", table))
        operations = {"dynamodb:" + "".join(word.title() for word in call.split("_")) for call in calls}
        # A transaction has no action of its own: each of its parts is granted as if it came alone.
        if "dynamodb:TransactWriteItems" in operations:
            parts = {"Put", "Update", "Delete"} & set(re.findall(r"\b(\w+)::builder\(\)", table))
            operations = operations - {"dynamodb:TransactWriteItems"} | {f"dynamodb:{part}Item" for part in parts}
        calls = {}
        for line in recorded.splitlines():
            function, _, call = " ".join(line.split()).partition(" ")
            if call and function != "#":
                calls.setdefault(f"{function.title()}Function", set()).add(call)
        index = re.search(r'READY_INDEX: &str = "(\w+)"', table)
        keys = {"Hash": set(re.findall(r'key\("(\w+)", KeyType::Hash\)', table)),
                "Range": set(re.findall(r'key\("(\w+)", KeyType::Range\)', table))}
        figures = re.findall(r"tracing::trace!\(\s*target: METRICS,(.*?)\);", every, re.DOTALL)
        metrics = {name for body in figures for name in re.findall(r"\b([A-Z]\w+) = ", body)} - {"Rule"}
        return cls(variables, reads, operations, {
            "index": index and index[1],
            "hash": keys["Hash"],
            "range": keys["Range"],
            "types": set(re.findall(r'attribute\("(\w+)", ScalarAttributeType::(\w)\)', table)),
            "projection": set(re.findall(r'\.non_key_attributes\("(\w+)"\)', table)),
            "ttl": '"ttl"' in table,
        }, metrics, set(re.findall(r"^## (\w+)$", runbook, re.MULTILINE)), calls)


def listed(value):
    return value if isinstance(value, list) else [value]


# --- Queues and what consumes them ---


def visibility_covers_the_consumer(stack, code):
    """A message must not come back while a first consumer may still be at work on it."""
    for name, mapping, queue, function in stack.sources():
        if not queue or not function:
            yield name, "does not join a queue and a function of this template"
            continue
        timeout = stack.functions()[function].get("Timeout", 3)
        needed = 6 * timeout + mapping.get("MaximumBatchingWindowInSeconds", 0)
        has = stack.resources[queue]["Properties"].get("VisibilityTimeout", 30)
        if has < needed:
            yield queue, f"visibility of {has} s is below {needed} s, six times {function}'s time limit"


def one_bad_record_does_not_fail_its_batch(stack, code):
    for name, mapping, _, _ in stack.sources():
        if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", []):
            yield name, "does not ask for ReportBatchItemFailures"


def queues_have_a_dead_letter_queue(stack, code):
    queues = stack.of("AWS::SQS::Queue")
    dead = {n: stack.target(q.get("RedrivePolicy", {}).get("deadLetterTargetArn")) for n, q in queues.items()}
    for name, queue in queues.items():
        if not queue.get("SqsManagedSseEnabled"):
            yield name, "is not encrypted"
        if name in dead.values():
            continue
        target = dead[name]
        if not target:
            yield name, "has no dead-letter queue"
        elif queues[target].get("MessageRetentionPeriod", 0) <= queue.get("MessageRetentionPeriod", 345600):
            # A message keeps its age when it moves, so a dead one would vanish at once.
            yield target, f"keeps messages no longer than {name}"


def self_waking_is_allowed(stack, code):
    """Lambda ends a chain of a function and its own queue at the sixteenth round unless told."""
    for _, _, queue, function in stack.sources():
        sends = ("sqs:SendMessage", "${%s.Arn}" % queue) in set(stack.grants(function))
        if sends and stack.functions()[function].get("RecursiveLoop") != "Allow":
            yield function, f"may send to {queue}, which runs it, without RecursiveLoop: Allow"


# --- Permissions ---


def each_function_has_its_own_role(stack, code):
    owner = {}
    for name, function in stack.functions().items():
        role = stack.target(function.get("Role"))
        if not role or stack.resources[role]["Type"] != "AWS::IAM::Role":
            yield name, "has no role in this template"
        elif role in owner:
            yield name, f"shares {role} with {owner[role]}"
        else:
            owner[role] = name
    for role in stack.of("AWS::IAM::Role"):
        if role not in owner:
            yield role, "is no function's role"


def no_wildcards(stack, code):
    for role, properties in stack.of("AWS::IAM::Role").items():
        if properties.get("ManagedPolicyArns"):
            yield role, "uses managed policies, whose grants are not seen here"
        for statement in stack.statements(role):
            if {"NotAction", "NotResource"} & set(statement):
                yield role, "grants everything but something"
            for action in listed(statement.get("Action", [])):
                if "*" in action:
                    yield role, f"allows {action}"
            for resource in listed(statement.get("Resource", [])):
                if "*" in json.dumps(resource) and set(listed(statement.get("Action", []))) - TRACING:
                    yield role, f"allows {statement.get('Action')} on {stack.value(resource)}"
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        for name in stack.of(kind):
            yield name, "is a policy outside a function's role"


def grants_are_enough(stack, code):
    """What a function is set up to use, it may use."""
    for name, function in stack.functions().items():
        granted = set(stack.grants(name))
        needed = set()
        for _, _, queue, consumer in stack.sources():
            if consumer == name:
                for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
                    needed.add((f"sqs:{action}", "${%s.Arn}" % queue))
        for variable, value in stack.environment(name).items():
            if variable.endswith("_QUEUE_URL"):
                needed.add(("sqs:SendMessage", "${%s.Arn}" % stack.target(value)))
            if parameter_arn(stack, value):
                needed.add(("ssm:GetParameters", parameter_arn(stack, value)))
            if variable == "HEADROOM_EVENTS_SOURCE":
                needed.add(("sqs:ChangeMessageVisibility", "${%s.Arn}" % stack.target(value)))
            if variable == "HEADROOM_EVENTS_BUS":
                needed.add(("events:PutEvents", stack.value(value)))
        logs = stack.target(function.get("LoggingConfig", {}).get("LogGroup"))
        needed |= {(f"logs:{action}", "${%s.Arn}" % logs) for action in ("CreateLogStream", "PutLogEvents")}
        for action, resource in sorted(needed - granted):
            yield name, f"needs {action} on {resource}"


def parameter_arn(stack, value):
    """The ARN of the stored parameter that a variable names, or None."""
    text = str(stack.value(value))
    if not text.startswith("ssm:"):
        return None
    return "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter" + text.removeprefix("ssm:")


def grants_are_not_too_much(stack, code):
    """Nothing is granted that a function is not set up to use."""
    for name in stack.functions():
        queues = {q for _, _, q, f in stack.sources() if f == name}
        sends = {stack.target(v) for k, v in stack.environment(name).items() if k.endswith("_QUEUE_URL")}
        own = stack.target(stack.functions()[name].get("LoggingConfig", {}).get("LogGroup"))
        for action, resource in stack.grants(name):
            resource = str(resource)
            if action == "sqs:SendMessage":
                fits = resource in {"${%s.Arn}" % queue for queue in sends}
            elif action.startswith("sqs:"):
                fits = resource in {"${%s.Arn}" % queue for queue in queues}
            elif action.startswith("logs:"):
                fits = resource == "${%s.Arn}" % own
            elif action.startswith("dynamodb:"):
                fits = action in code.operations and resource.startswith("${Table.Arn}")
            elif action in TRACING:
                fits = resource == "*"
            elif action == "events:PutEvents":
                fits = resource == str(stack.value(stack.environment(name).get("HEADROOM_EVENTS_BUS")))
            elif action == "ssm:GetParameters":
                fits = resource in {parameter_arn(stack, v) for v in stack.environment(name).values()}
            else:
                fits = action == "kms:Decrypt"
            if not fits:
                yield name, f"has no use for {action} on {resource}"


def roles_allow_what_is_called(stack, code):
    """Each call that was recorded of a function is allowed, and nothing that was not."""
    for name in sorted(set(code.calls) | set(stack.functions())):
        allowed = set(stack.allows(name)) if name in stack.functions() else set()
        called = code.calls.get(name, set())
        for call in sorted(called - allowed):
            yield name, f"asks for {call}, which its role does not allow"
        for call in sorted(allowed - called):
            yield name, f"may {call}, which infra/calls.txt does not know of it"


def every_operation_is_granted_somewhere(stack, code):
    if not code.operations:
        yield "Table", "no operations were found in functions/headroom/src/table"
    granted = {action for name in stack.functions() for action, _ in stack.grants(name)}
    for operation in sorted(code.operations - granted):
        yield "Table", f"the code calls {operation}, which no function may"


def secrets_are_references(stack, code):
    for name in stack.functions():
        for variable, value in stack.environment(name).items():
            # An empty one is none.
            if SECRET.search(variable) and value != "" and not str(stack.value(value)).startswith("ssm:/"):
                yield name, f"{variable} is not the name of a stored parameter"


# --- What runs when ---


def schedules_are_valid_and_reach_their_function(stack, code):
    permissions = stack.of("AWS::Lambda::Permission").values()
    for name, rule in stack.of("AWS::Events::Rule").items():
        expression = rule.get("ScheduleExpression", "")
        if not valid_schedule(expression):
            yield name, f"'{expression}' is not a schedule"
        if rule.get("State", "ENABLED") != "ENABLED":
            yield name, "is not enabled"
        for function in [stack.target(target.get("Arn")) for target in rule.get("Targets", [])] or [None]:
            may = any(
                stack.target(p.get("FunctionName")) == function
                and p.get("Principal") == "events.amazonaws.com"
                and stack.target(p.get("SourceArn")) == name
                for p in permissions
            )
            if not function or not may:
                yield name, f"may not run {function}"
            elif expression == "rate(1 minute)" and stack.functions()[function].get("Timeout", 3) >= 60:
                yield function, "may run into the next minute's pass"


def valid_schedule(expression):
    rate = re.fullmatch(r"rate\((\d+) (minute|hour|day)(s?)\)", expression)
    if rate:
        return int(rate[1]) >= 1 and (rate[1] == "1") == (rate[3] == "")
    cron = re.fullmatch(r"cron\((.+)\)", expression)
    fields = cron[1].split(" ") if cron else []
    # One of day of month and day of week is left open, with '?'.
    return len(fields) == 6 and "" not in fields and (fields[2] == "?") != (fields[4] == "?")


def routes_are_reachable_and_bounded(stack, code):
    permissions = stack.of("AWS::Lambda::Permission").values()
    for name, stage in stack.of("AWS::ApiGatewayV2::Stage").items():
        settings = stage.get("DefaultRouteSettings", {})
        if not settings.get("ThrottlingRateLimit") or not settings.get("ThrottlingBurstLimit"):
            yield name, "is not throttled"
    answers = {}
    for name, integration in stack.of("AWS::ApiGatewayV2::Integration").items():
        function = stack.target(integration.get("IntegrationUri"))
        limit = integration.get("TimeoutInMillis", 30000)
        if not function or stack.functions()[function].get("Timeout", 3) * 1000 > limit:
            yield name, "gives up before its function does"
        answers["integrations/${%s}" % name] = function
    routes = {function: set() for function in ROUTES}
    for name, route in stack.of("AWS::ApiGatewayV2::Route").items():
        key, function = str(route.get("RouteKey")), answers.get(stack.value(route.get("Target")))
        if key not in ROUTES.get(function, set()):
            yield name, f"'{key}' is no route of {function}, as ROUTES in infra/lint/rules.py has them"
            continue
        routes[function].add(key)
        # As API Gateway spells a route in the ARN that it calls from; a name in the path is anything.
        ending = "/*/" + re.sub(r"\{\w+\+?\}", "*", key.replace(" ", ""))
        if not any(
            stack.target(p.get("FunctionName")) == function
            and p.get("Principal") == "apigateway.amazonaws.com"
            and str(stack.value(p.get("SourceArn"))).endswith(ending)
            for p in permissions
        ):
            yield name, f"may not run {function}"
    for function, keys in ROUTES.items():
        for key in sorted(keys - routes[function]):
            yield function, f"is not reached by {key}"


# --- Logs and alarms ---


def functions_have_logs_and_an_alarm(stack, code):
    watched = {
        stack.target(dimension["Value"])
        for alarm in stack.of("AWS::CloudWatch::Alarm").values()
        if (alarm.get("Namespace"), alarm.get("MetricName")) == ("AWS/Lambda", "Errors")
        for dimension in alarm.get("Dimensions", [])
    }
    groups = stack.of("AWS::Logs::LogGroup")
    for name, function in stack.functions().items():
        group = stack.target(function.get("LoggingConfig", {}).get("LogGroup"))
        if group not in groups:
            yield name, "has no log group"
        elif not groups[group].get("RetentionInDays"):
            yield group, "keeps logs for ever"
        if name not in watched:
            yield name, "has no alarm on its errors"


def lost_campaigns_raise_an_alarm(stack, code):
    watched = {
        stack.target(dimension["Value"])
        for alarm in stack.of("AWS::CloudWatch::Alarm").values()
        if alarm.get("MetricName") == "ApproximateNumberOfMessagesVisible"
        for dimension in alarm.get("Dimensions", [])
    }
    if "CampaignsDeadQueue" not in watched:
        yield "CampaignsDeadQueue", "has no alarm on what arrives in it"


def alarms_are_in_the_runbook(stack, code):
    """Whoever is woken by an alarm finds what to do, and finds nothing about alarms that are no more."""
    alarms = {name.removesuffix("Alarm") for name in stack.of("AWS::CloudWatch::Alarm")}
    for name in sorted(alarms - code.runbook):
        yield f"{name}Alarm", "has no entry in infra/RUNBOOK.md"
    for name in sorted(code.runbook - alarms):
        yield f"{name}Alarm", "has an entry in infra/RUNBOOK.md and is no alarm"


def metrics_are_those_the_code_has(stack, code):
    if not code.metrics:
        yield "Dashboard", "no metrics were found in functions"
    for name, alarm in stack.of("AWS::CloudWatch::Alarm").items():
        stats = [part["MetricStat"]["Metric"] for part in alarm.get("Metrics", []) if "MetricStat" in part]
        for metric in stats or [alarm]:
            if metric.get("Namespace") != METRICS[0]:
                continue
            if metric["MetricName"] not in code.metrics:
                yield name, f"watches {metric['MetricName']}, which no function tells"
            if metric.get("Dimensions") != METRICS[1]:
                yield name, "does not watch this stack's own metric"
    for name, dashboard in stack.of("AWS::CloudWatch::Dashboard").items():
        body = str(dashboard.get("DashboardBody", {}).get("Fn::Sub"))
        shown = set(re.findall(r'"(?:Headroom|\.)", "(\w+)"', body)) | set(re.findall(r'MetricName=\\"(\w+)', body))
        try:
            json.loads(body)
        except ValueError as error:
            yield name, f"is no JSON: {error}"
        for metric in sorted(code.metrics - shown):
            yield name, f"does not show {metric}"
        for metric in sorted(shown - code.metrics):
            yield name, f"shows {metric}, which no function tells"


# --- Agreement with the code ---


def the_table_is_kept_safe(stack, code):
    for name, table in stack.of("AWS::DynamoDB::Table").items():
        resource = stack.resources[name]
        if not table.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled"):
            yield name, "has no point-in-time recovery"
        if not table.get("SSESpecification", {}).get("SSEEnabled"):
            yield name, "is not encrypted with a key whose use is logged"
        if str(stack.value(table.get("DeletionProtectionEnabled", False))).lower() != "true":
            yield name, "can be deleted by default"
        if {resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")} != {"Retain"}:
            yield name, "goes with the stack"


def the_table_is_the_one_the_code_uses(stack, code):
    table = stack.of("AWS::DynamoDB::Table").get("Table", {})
    index = (table.get("GlobalSecondaryIndexes") or [{}])[0]
    schema = table.get("KeySchema", []) + index.get("KeySchema", [])
    ttl = table.get("TimeToLiveSpecification", {})
    here = {
        "index": index.get("IndexName"),
        "hash": {k["AttributeName"] for k in schema if k["KeyType"] == "HASH"},
        "range": {k["AttributeName"] for k in schema if k["KeyType"] == "RANGE"},
        "types": {(a["AttributeName"], a["AttributeType"]) for a in table.get("AttributeDefinitions", [])},
        "projection": set(index.get("Projection", {}).get("NonKeyAttributes", [])),
        "ttl": bool(ttl.get("Enabled")) and ttl.get("AttributeName") == "ttl",
    }
    for part, value in here.items():
        if value != code.table.get(part):
            yield "Table", f"{part}: {value} here, {code.table.get(part)} in the code"
    for name in stack.functions():
        for action, resource in stack.grants(name):
            known = ("${Table.Arn}", "${Table.Arn}/index/%s" % code.table.get("index"))
            if action.startswith("dynamodb:") and resource not in known:
                yield name, f"is granted {action} on {resource}, which the code does not know"


def the_environment_is_what_the_code_reads(stack, code):
    every = set().union(*code.variables.values())
    if not every:
        yield "Globals", "no variables were found in functions/headroom/src/config.rs"
        return
    for name in stack.functions():
        read = set().union(*(code.variables.get(struct, set()) for struct in READS.get(name, ())))
        environment = stack.environment(name)
        has = {variable for variable in environment if variable.startswith("HEADROOM_")}
        for struct in sorted(code.reads.get(name, set()) - READS.get(name, set())):
            yield name, f"reads {struct}, which READS in infra/lint/rules.py does not say"
        for variable in sorted(read - has):
            yield name, f"{variable} is read by the code and not set"
        for variable in sorted(has - every):
            yield name, f"{variable} is set and read by nothing"
        for variable in sorted(has & every - read):
            # Plain figures may be set for all alike; what asks for a permission may not.
            if variable.endswith("_QUEUE_URL") or str(stack.value(environment[variable])).startswith("ssm:"):
                yield name, f"{variable} is set for a function that has no use for it"


RULES = [
    visibility_covers_the_consumer,
    one_bad_record_does_not_fail_its_batch,
    queues_have_a_dead_letter_queue,
    self_waking_is_allowed,
    each_function_has_its_own_role,
    no_wildcards,
    grants_are_enough,
    grants_are_not_too_much,
    roles_allow_what_is_called,
    every_operation_is_granted_somewhere,
    secrets_are_references,
    schedules_are_valid_and_reach_their_function,
    routes_are_reachable_and_bounded,
    functions_have_logs_and_an_alarm,
    lost_campaigns_raise_an_alarm,
    alarms_are_in_the_runbook,
    metrics_are_those_the_code_has,
    the_table_is_kept_safe,
    the_table_is_the_one_the_code_uses,
    the_environment_is_what_the_code_reads,
]


def findings(template, code):
    """Every finding of every rule: (rule, resource, what is wrong)."""
    stack = Stack(template)
    return [(rule.__name__, *finding) for rule in RULES for finding in rule(stack, code)]


def main(template, repository):
    with open(template, encoding="utf-8") as file:
        found = findings(json.load(file), Code.read(repository))
    for rule, resource, problem in found:
        print(f"{resource}: {problem} ({rule})")
    print(f"{len(RULES)} rules, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
